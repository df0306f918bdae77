//! `aside connect URI`: uses an invitation up, and shows that the cloud there answers before anything is switched.

use std::time::Duration;

use aside_cloud_api::identity::Identity;
use aside_cloud_api::link::client::{Link, LinkConfig};
use aside_cloud_api::link::{Limits, LinkError};
use aside_cloud_api::proto::Model;
use aside_cloud_api::uri::Uri;
use aside_config::make_private_dir;
use aside_daemon_api::fault::{Fault, codes};

use super::{CloudConfig, fetch_fault, link_fault};
use crate::kit::cache;

/// How long a cloud may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(20);

/// Enrols where the URI has a secret, says hello, and fetches the kit. Nothing is stored but the kit.
///
/// # Errors
/// Faults `cloud-refused` and `cloud-away`.
pub async fn connect(config: &CloudConfig, uri: &Uri, identity: &Identity) -> Result<Model, Fault> {
    match attempt(config, uri, identity, uri.secret.is_some()).await {
        // The invitation is used up; perhaps by us.
        Err(fault) if fault.code == codes::CLOUD_REFUSED && uri.secret.is_some() => {
            attempt(config, uri, identity, false).await.map_err(|_| fault)
        }
        other => other,
    }
}

async fn attempt(config: &CloudConfig, uri: &Uri, identity: &Identity, enroll: bool) -> Result<Model, Fault> {
    let private_dir = config.paths.runtime_dir.join("enroll");
    make_private_dir(&private_dir).map_err(|error| Fault::internal(error.to_string()))?;
    let secret = uri.secret.as_ref().filter(|_| enroll).map(|secret| secret.0.clone());
    let link = Link::start(LinkConfig {
        address: uri.address.clone(),
        server_key: uri.key,
        identity: identity.clone(),
        secret,
        private_dir,
        limits: Limits::default(),
        build: config.build.clone(),
    });
    let tested = tokio::time::timeout(PATIENCE, test(config, &link)).await;
    link.close().await;
    tested.unwrap_or_else(|_| {
        let message = format!("no cloud answers at {} within {} s", uri.address, PATIENCE.as_secs());
        Err(Fault::new(codes::CLOUD_AWAY, message).repair("aside connect URI"))
    })
}

async fn test(config: &CloudConfig, link: &Link) -> Result<Model, Fault> {
    let model = link.ready().await.map_err(|error: LinkError| link_fault(&error))?;
    cache::get(&config.paths.kits_dir(), link, &model).await.map_err(|error| fetch_fault(&error))?;
    Ok(model)
}
