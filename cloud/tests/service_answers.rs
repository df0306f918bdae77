//! Answers over the real link and the bundled backbone: the same tokens whatever the way they come by.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod service_support;

use aside_cloud_api::codec::Layout;
use aside_cloud_api::proto::{self, DoneReason, GateMode, reply, request};
use service_support::{Cloud, answer, closed, direct, generate, greedy, open, position, prompt, seeded};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_that_of_a_plain_loop_and_repeats() {
    let cloud = Cloud::start().await;
    let link = cloud.link(0).await;
    let prompt = prompt(150, 1);
    for (session, sampling) in [(1, greedy()), (2, seeded(7)), (3, seeded(7)), (4, seeded(8))] {
        let answer = closed(&link, session, generate(session, &prompt, sampling, 12)).await;
        assert_eq!(answer.tokens, direct(&prompt, &sampling, 12), "{sampling:?}");
        assert_eq!(answer.reason(), DoneReason::Length);
        assert_eq!((answer.done.prefill_tokens, answer.done.cached_tokens), (150, 0));
        assert!(answer.p.iter().all(Option::is_none), "no gate runs in a closed session");
    }
    assert_ne!(direct(&prompt, &seeded(7), 12), direct(&prompt, &seeded(8), 12));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_goes_on_from_any_point_in_a_new_session() {
    let cloud = Cloud::start().await;
    let link = cloud.link(0).await;
    let prompt = prompt(70, 2);
    let whole = closed(&link, 1, generate(1, &prompt, seeded(5), 10)).await.tokens;
    for at in 0..=10 {
        let generated = whole[..at].to_vec();
        let request = proto::Generate { generated, ..generate(2, &prompt, seeded(5), 10) };
        link.call(request::Body::CloseSession(proto::CloseSession { session: 2 })).await.unwrap();
        let rest = closed(&link, 2, request).await;
        assert_eq!(rest.tokens, whole[at..], "split at {at}");
        assert_eq!(rest.reason(), DoneReason::Length);
        assert_eq!(rest.done.cached_tokens, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_and_gated_sessions_that_take_the_clouds_choice_give_the_closed_answer() {
    let cloud = Cloud::start().await;
    let link = cloud.link(0).await;
    let model = link.ready().await.unwrap();
    let layout = Layout { hidden: model.hidden as usize, layer_taps: model.taps.len() };
    let prompt = prompt(40, 3);
    let whole = closed(&link, 1, generate(1, &prompt, seeded(5), 24)).await.tokens;

    open(&link, 2, GateMode::Open, None).await.unwrap();
    let all = answer(&link, generate(2, &prompt, seeded(5), 24), |p| p.choice).await.unwrap();
    assert_eq!(all.tokens, whole);
    assert_eq!(all.opened.len(), 24);
    assert!(all.p.iter().all(Option::is_none), "no gate was given");

    // A gate that splits this answer in the middle: its logit is one coordinate of z less their median.
    let z = |p: &proto::OpenPosition| layout.decode(&p.state).unwrap().z;
    let mut values: Vec<f32> = all.opened.iter().map(|p| z(p)[0]).collect();
    values.sort_by(f32::total_cmp);
    let mut weight = vec![0.0; 2 * layout.hidden];
    weight[layout.hidden] = 1.0;
    let gate = proto::Gate {
        weight,
        bias: vec![0.0, -f32::midpoint(values[11], values[12])],
        threshold: 0.3,
        budget: 1.0,
    };
    open(&link, 3, GateMode::Gated, Some(gate.clone())).await.unwrap();
    let gated = answer(&link, generate(3, &prompt, seeded(5), 24), |p| p.choice).await.unwrap();
    assert_eq!(gated.tokens, whole);
    let opened: Vec<u32> = gated.opened.iter().map(|p| p.index).collect();
    let expected: Vec<u32> = all.opened.iter().filter(|p| z(p)[0] > -gate.bias[1]).map(|p| p.index).collect();
    assert_eq!(opened, expected);
    assert!(!expected.is_empty() && expected.len() < 24);
    for (index, p) in gated.p.iter().enumerate() {
        assert_eq!(p.unwrap() > 0.5, expected.contains(&(index as u32)));
    }
    for open in &gated.opened {
        assert_eq!(open.state, all.opened[open.index as usize].state);
    }

    // A budget counts within an answer, and a resumed one goes on counting.
    let wide = proto::Gate { bias: vec![0.0, 1e6], budget: 0.25, ..gate };
    open(&link, 4, GateMode::Gated, Some(wide)).await.unwrap();
    let held = answer(&link, generate(4, &prompt, seeded(5), 24), |p| p.choice).await.unwrap();
    let opened: Vec<u32> = held.opened.iter().map(|p| p.index).collect();
    let expected: Vec<u32> = (0..10).chain([11, 15, 19, 23]).collect();
    assert_eq!((held.tokens.as_slice(), &opened), (&whole[..], &expected));
    let resumed = proto::Generate {
        generated: whole[..12].to_vec(),
        opened: 11,
        ..generate(4, &prompt, seeded(5), 24)
    };
    let resumed = answer(&link, resumed, |p| p.choice).await.unwrap();
    assert_eq!(resumed.opened.iter().map(|p| p.index).collect::<Vec<_>>(), expected[11..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_choice_is_gone_on_from() {
    let cloud = Cloud::start().await;
    let link = cloud.link(0).await;
    let prompt = prompt(30, 4);
    open(&link, 1, GateMode::Open, None).await.unwrap();
    let other = |p: &proto::OpenPosition| if p.index == 2 { p.top[3].id } else { p.choice };
    let changed = answer(&link, generate(1, &prompt, greedy(), 8), other).await.unwrap();
    let before = direct(&prompt, &greedy(), 8);
    assert_eq!(changed.tokens[..2], before[..2]);
    assert_ne!(changed.tokens[2], before[2]);
    let longer = [&prompt[..], &changed.tokens[..3]].concat();
    assert_eq!(changed.tokens[3..], direct(&longer, &greedy(), 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_ends_at_a_stop_token_at_its_bound_and_at_the_context() {
    let cloud = Cloud::start().await;
    let link = cloud.link(0).await;
    let start = prompt(20, 5);
    let whole = direct(&start, &seeded(1), 10);
    let first = whole.iter().position(|t| *t == whole[5]).unwrap();
    let stopping = proto::Generate { stop: vec![whole[5]], ..generate(1, &start, seeded(1), 10) };
    let stopped = closed(&link, 1, stopping.clone()).await;
    assert_eq!((stopped.tokens.as_slice(), stopped.reason()), (&whole[..=first], DoneReason::Stop));

    let again = proto::Generate { generated: stopped.tokens, ..stopping };
    let again = closed(&link, 1, again).await;
    assert_eq!((again.tokens.len(), again.reason()), (0, DoneReason::Stop));
    let full = proto::Generate { generated: whole.clone(), ..generate(1, &start, seeded(1), 10) };
    let full = closed(&link, 1, full).await;
    assert_eq!((full.tokens.len(), full.reason()), (0, DoneReason::Length));

    let context = link.ready().await.unwrap().context as usize;
    let last = closed(&link, 2, generate(2, &prompt(context - 2, 6), greedy(), 50)).await;
    assert_eq!((last.tokens.len(), last.reason()), (2, DoneReason::ContextFull));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_ends_an_answer_and_leaves_its_session_usable() {
    let cloud = Cloud::start().await;
    let link = cloud.link(0).await;
    let prompt = prompt(30, 7);
    open(&link, 1, GateMode::Open, None).await.unwrap();
    let mut exchange = link.open(request::Body::Generate(generate(1, &prompt, greedy(), 9))).await.unwrap();
    position(&mut exchange).await;
    exchange.send(request::Body::Cancel(proto::Cancel {})).unwrap();
    let reply::Body::Done(done) = exchange.next().await.unwrap() else { panic!("no Done") };
    assert_eq!(done.reason(), DoneReason::Cancelled);
    let after = answer(&link, generate(1, &prompt, greedy(), 9), |p| p.choice).await.unwrap();
    assert_eq!(after.tokens, direct(&prompt, &greedy(), 9));
    assert_eq!((after.done.prefill_tokens, after.done.cached_tokens), (1, 29));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_the_same_name_takes_the_place_of_the_running_one() {
    let cloud = Cloud::start().await;
    let link = cloud.link(0).await;
    let prompt = prompt(30, 8);
    open(&link, 1, GateMode::Open, None).await.unwrap();
    let first = generate(1, &prompt, seeded(2), 6);
    let mut exchange = link.open(request::Body::Generate(first.clone())).await.unwrap();
    let chosen = position(&mut exchange).await.choice;
    exchange.send(request::Body::Choose(proto::Choose { index: 0, id: chosen })).unwrap();
    position(&mut exchange).await;
    let again = proto::Generate { generated: vec![chosen], ..first };
    let rest = answer(&link, again, |p| p.choice).await.unwrap();
    assert_eq!(rest.tokens, direct(&prompt, &seeded(2), 6)[1..]);
    let reply::Body::Done(done) = exchange.next().await.unwrap() else { panic!("no Done") };
    assert_eq!(done.reason(), DoneReason::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_side_by_side_get_what_they_get_alone() {
    let cloud = Cloud::start().await;
    let (one, two) = (cloud.link(0).await, cloud.link(1).await);
    let (a, b) = (prompt(200, 9), prompt(33, 10));
    let encode = request::Body::Encode(proto::Encode { tokens: prompt(256, 11), from: 0 });
    let mut encoding = two.open(encode).await.unwrap();
    let encoded = async { while !matches!(encoding.next().await.unwrap(), reply::Body::EncodeDone(_)) {} };
    // The same number names another session for each client.
    let (left, right, ()) = tokio::join!(
        closed(&one, 1, generate(1, &a, seeded(3), 16)),
        closed(&two, 1, generate(1, &b, seeded(4), 16)),
        encoded
    );
    assert_eq!(left.tokens, direct(&a, &seeded(3), 16));
    assert_eq!(right.tokens, direct(&b, &seeded(4), 16));
}
