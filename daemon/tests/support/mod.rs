//! The real cloud service in this process, on a Unix socket: aborting its task is what kill -9 is to a process.

use std::path::Path;

use aside_cloud::service::{ModelSource, ServeConfig, serve};
use aside_cloud_api::identity::PublicKey;
use aside_cloud_api::link::Address;
use aside_config::make_private_dir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Starts it in `folder`, which keeps its identity, for one client; gives its URI.
pub(crate) async fn cloud(folder: &Path, client: PublicKey) -> (JoinHandle<()>, String) {
    let private_dir = folder.join("p");
    make_private_dir(&private_dir).unwrap();
    let config = ServeConfig {
        model: ModelSource::Bundled,
        address: Address::Unix(folder.join("c.sock")),
        state_dir: folder.join("state"),
        allow: vec![client],
        private_dir,
        parent_pipe: false,
    };
    let (ready, uri) = oneshot::channel();
    let service = tokio::spawn(async move {
        serve(config, |uri| drop(ready.send(uri.to_string()))).await.unwrap();
    });
    (service, uri.await.unwrap())
}
