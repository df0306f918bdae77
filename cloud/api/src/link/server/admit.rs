//! An unknown key: one `Enroll`, in time and in size, or nothing.

use super::super::zmtp::{receive, send};
use super::super::{Limits, LinkError};
use super::Admission;
use crate::identity::PublicKey;
use crate::{fault, proto};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes of a request around its secret.
const AROUND: usize = 64;

/// Reads the one request of an unknown key and answers it. `Ok` when the key is admitted now.
pub(super) async fn admit(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    key: &PublicKey,
    admission: &dyn Admission,
    limits: &Limits,
) -> Result<(), LinkError> {
    let (secret_bytes, time) = limits.enroll;
    let small = Limits { message: secret_bytes + AROUND, parts: 1, ..*limits };
    let request = match tokio::time::timeout(time, receive(stream, &small)).await {
        Ok(Ok(message)) => {
            let body = message.as_deref().and_then(<[_]>::first).ok_or(LinkError::Lost)?;
            proto::Request::decode(body.as_slice()).map_err(|_| LinkError::Protocol("not a request"))?
        }
        // Too late, or larger than an invitation can be: told like any other that is none.
        Ok(Err(LinkError::Protocol(_))) | Err(_) => proto::Request::default(),
        Ok(Err(error)) => return Err(error),
    };
    let admitted = match &request.body {
        Some(proto::request::Body::Enroll(enroll)) => {
            enroll.secret.len() <= secret_bytes && admission.enroll(key, &enroll.secret)
        }
        _ => false,
    };
    let body = if admitted {
        proto::reply::Body::Enrolled(proto::Enrolled {})
    } else {
        let message = "this key is not admitted here, and no valid invitation came with it".to_owned();
        proto::reply::Body::Fault(proto::Fault { code: fault::UNAUTHORISED.to_owned(), message })
    };
    send(stream, &[proto::Reply { id: request.id, body: Some(body) }.encode_to_vec()]).await?;
    if admitted { Ok(()) } else { Err(LinkError::Refused("an unknown key".into())) }
}
