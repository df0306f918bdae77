//! Sessions, encoding, limits, the kit, and who may come in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod service_support;

use aside_cloud::service::invite;
use aside_cloud_api::codec::Layout;
use aside_cloud_api::fault;
use aside_cloud_api::identity::Identity;
use aside_cloud_api::link::LinkError;
use aside_cloud_api::proto::{self, GateMode, reply, request};
use ring::digest::{SHA256, digest};
use service_support::{Cloud, answer, closed, code, generate, greedy, open, position, prompt};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encoding_gives_the_states_that_open_positions_ship() {
    let cloud = Cloud::start().await;
    let link = cloud.link(0).await;
    let model = link.ready().await.unwrap();
    let state = Layout { hidden: model.hidden as usize, layer_taps: model.taps.len() }.bytes();
    let prompt = prompt(90, 1);
    open(&link, 1, GateMode::Open, None).await.unwrap();
    let shipped = answer(&link, generate(1, &prompt, greedy(), 70), |p| p.choice).await.unwrap();
    let tokens = [&prompt[..], &shipped.tokens[..69]].concat();
    let encode = proto::Encode { tokens: tokens.clone(), from: 89 };
    let mut exchange = link.open(request::Body::Encode(encode)).await.unwrap();
    let mut states = Vec::new();
    loop {
        match exchange.next().await.unwrap() {
            reply::Body::EncodeChunk(chunk) => {
                assert_eq!(chunk.first as usize, 89 + states.len() / state);
                assert!((1..=64).contains(&chunk.count));
                assert_eq!(chunk.states.len(), chunk.count as usize * state);
                states.extend(chunk.states);
            }
            reply::Body::EncodeDone(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(states, shipped.opened.iter().flat_map(|p| p.state.clone()).collect::<Vec<u8>>());
    let stats = link.call(request::Body::Stats(proto::StatsRequest {})).await.unwrap();
    let reply::Body::Stats(stats) = stats else { panic!("{stats:?}") };
    assert_eq!((stats.sessions, stats.tokens_generated, stats.open_positions), (1, 70, 70));
    assert_eq!(stats.tokens_encoded, tokens.len() as u64);
    assert_eq!(stats.mean_batch_milli, 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_outlives_its_connection_and_belongs_to_its_client() {
    let cloud = Cloud::start().await;
    let link = cloud.link(0).await;
    let start = prompt(80, 2);
    let first = closed(&link, 1, generate(1, &start, greedy(), 4)).await;
    link.close().await;

    let link = cloud.link(0).await;
    // The last token was chosen and never fed.
    let longer = [&start[..], &first.tokens, &prompt(20, 3)].concat();
    let next = generate(1, &longer, greedy(), 3);
    let second = answer(&link, next.clone(), |_| unreachable!()).await.unwrap();
    assert_eq!((second.done.cached_tokens, second.done.prefill_tokens), (83, 21));
    assert_eq!(second.tokens, service_support::direct(&longer, &greedy(), 3));

    // Opened again: another gate, the same cache, cut to what is shared.
    open(&link, 1, GateMode::Open, None).await.unwrap();
    let third = answer(&link, generate(1, &longer[..50], greedy(), 2), |p| p.choice).await.unwrap();
    assert_eq!((third.done.cached_tokens, third.opened.len()), (49, 2));
    assert_eq!(third.tokens, service_support::direct(&longer[..50], &greedy(), 2));

    let stranger = cloud.link(1).await;
    assert_eq!(code(answer(&stranger, next, |p| p.choice).await), fault::NO_SESSION);
    let close = request::Body::CloseSession(proto::CloseSession { session: 1 });
    link.call(close).await.unwrap();
    assert_eq!(code(answer(&link, generate(1, &start, greedy(), 1), |p| p.choice).await), fault::NO_SESSION);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_the_rules_is_told_so() {
    let cloud = Cloud::start().await;
    let link = cloud.link(0).await;
    let model = link.ready().await.unwrap();
    open(&link, 1, GateMode::Open, None).await.unwrap();
    let too_long = prompt(model.context as usize + 1, 1);
    let mut nan = greedy();
    nan.temperature = f32::NAN;
    for (request, wanted) in [
        (generate(1, &[], greedy(), 4), fault::BAD_REQUEST),
        (generate(1, &[3, model.vocab], greedy(), 4), fault::BAD_REQUEST),
        (proto::Generate { generated: vec![u32::MAX], ..generate(1, &[3], greedy(), 4) }, fault::BAD_REQUEST),
        (generate(1, &[3], nan, 4), fault::BAD_REQUEST),
        (generate(1, &too_long, greedy(), 4), fault::CONTEXT_FULL),
        (generate(9, &[3], greedy(), 4), fault::NO_SESSION),
    ] {
        assert_eq!(code(answer(&link, request, |p| p.choice).await), wanted);
    }
    assert_eq!(
        code(answer(&link, generate(1, &[3], greedy(), 4), |_| model.vocab).await),
        fault::BAD_REQUEST
    );
    let mut exchange = link.open(request::Body::Generate(generate(1, &[3], greedy(), 4))).await.unwrap();
    position(&mut exchange).await;
    exchange.send(request::Body::Choose(proto::Choose { index: 1, id: 3 })).unwrap();
    assert_eq!(code(exchange.next().await), fault::BAD_REQUEST);

    let short = proto::Gate { weight: vec![0.0; 3], bias: vec![0.0; 2], threshold: 0.5, budget: 0.0 };
    assert_eq!(code(open(&link, 2, GateMode::Gated, Some(short)).await), fault::BAD_REQUEST);
    assert_eq!(code(open(&link, 2, GateMode::Gated, None).await), fault::BAD_REQUEST);
    for (tokens, from, wanted) in [
        (vec![], 0, fault::BAD_REQUEST),
        (vec![1], 1, fault::BAD_REQUEST),
        (too_long, 0, fault::CONTEXT_FULL),
    ] {
        let encode = request::Body::Encode(proto::Encode { tokens, from });
        assert_eq!(code(link.call(encode).await), wanted);
    }
    let hello = request::Body::Hello(proto::Hello { protocol: 999, build: String::new() });
    assert_eq!(code(link.call(hello).await), fault::PROTOCOL);
    // After all that it still works.
    let fine = answer(&link, generate(1, &[3, 4], greedy(), 2), |p| p.choice).await.unwrap();
    assert_eq!(fine.tokens, service_support::direct(&[3, 4], &greedy(), 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_has_eight_sessions_and_eight_requests() {
    let cloud = Cloud::start().await;
    let link = cloud.link(0).await;
    for session in 0..9 {
        open(&link, session, GateMode::Open, None).await.unwrap();
    }
    let gone = answer(&link, generate(0, &[3], greedy(), 1), |p| p.choice).await;
    assert_eq!(code(gone), fault::NO_SESSION, "the one idle for longest has made room");

    let mut waiting = Vec::new();
    for session in 1..9 {
        let mut exchange =
            link.open(request::Body::Generate(generate(session, &[3], greedy(), 4))).await.unwrap();
        position(&mut exchange).await;
        waiting.push(exchange);
    }
    let encode = || request::Body::Encode(proto::Encode { tokens: vec![1, 2], from: 0 });
    assert_eq!(code(link.call(encode()).await), fault::BUSY);
    assert_eq!(code(open(&link, 9, GateMode::Open, None).await), fault::BUSY);
    assert_eq!(code(answer(&link, generate(1, &[3], greedy(), 1), |p| p.choice).await), fault::BUSY);
    // Others are not held up.
    let other = cloud.link(1).await;
    assert_eq!(closed(&other, 1, generate(1, &[3], greedy(), 2)).await.tokens.len(), 2);

    let mut last = waiting.pop().unwrap();
    last.send(request::Body::Cancel(proto::Cancel {})).unwrap();
    assert!(matches!(last.next().await.unwrap(), reply::Body::Done(_)));
    assert!(matches!(link.call(encode()).await.unwrap(), reply::Body::EncodeChunk(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kit_comes_from_any_offset() {
    let cloud = Cloud::start().await;
    let link = cloud.link(0).await;
    let model = link.ready().await.unwrap();
    let fetch = async |offset: u64| {
        let body = request::Body::FetchKit(proto::FetchKit { sha256: model.kit.clone(), offset });
        let mut exchange = link.open(body).await.unwrap();
        let mut bytes = Vec::new();
        while offset + (bytes.len() as u64) < model.kit_bytes {
            let reply::Body::KitChunk(chunk) = exchange.next().await.unwrap() else { panic!("no chunk") };
            assert_eq!((chunk.offset, chunk.total), (offset + bytes.len() as u64, model.kit_bytes));
            assert!(chunk.data.len() <= 256 << 10);
            bytes.extend(chunk.data);
        }
        bytes
    };
    let whole = fetch(0).await;
    let hash: String = digest(&SHA256, &whole).as_ref().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hash, model.kit);
    assert_eq!(fetch(300_001).await, whole[300_001..]);
    for (sha256, offset) in [("00".to_owned(), 0), (model.kit.clone(), model.kit_bytes)] {
        let body = request::Body::FetchKit(proto::FetchKit { sha256, offset });
        assert_eq!(code(link.call(body).await), fault::UNKNOWN_KIT);
    }
    assert!(matches!(link.call(request::Body::Ping(proto::Ping {})).await.unwrap(), reply::Body::Pong(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invitation_admits_one_client() {
    let cloud = Cloud::start().await;
    let uri = invite(&cloud.state_dir(), Duration::from_secs(60)).unwrap();
    assert_eq!((&uri.address, uri.key), (&cloud.uri.address, cloud.uri.key));
    assert_eq!(uri.to_string().parse::<aside_cloud_api::uri::Uri>().unwrap(), uri);
    let secret = uri.secret.unwrap().0;
    let (guest, thief) = (Identity::generate().unwrap(), Identity::generate().unwrap());

    let refused = cloud.connect(&guest, None).ready().await;
    assert!(matches!(refused, Err(LinkError::Refused(_))), "{refused:?}");
    let refused = cloud.connect(&guest, Some(b"a guess".to_vec())).ready().await;
    assert!(matches!(refused, Err(LinkError::Refused(_))), "{refused:?}");
    cloud.connect(&guest, Some(secret.clone())).ready().await.unwrap();
    cloud.connect(&guest, None).ready().await.unwrap();
    let refused = cloud.connect(&thief, Some(secret)).ready().await;
    assert!(matches!(refused, Err(LinkError::Refused(_))), "{refused:?}");

    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&cloud.state_dir()), 0o700);
    for file in std::fs::read_dir(cloud.state_dir()).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}
