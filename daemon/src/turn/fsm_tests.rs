//! The answer's state machine against hand-made and random clouds.

use super::*;
use proptest::prelude::*;

fn token(index: u32, id: u32) -> Input {
    Input::Token { index, id, p: Some(0.2), cloud_us: 5 }
}

fn open(index: u32, choice: u32) -> Input {
    Input::Open { index, choice, p: Some(0.9), state: vec![1], cloud_us: 7 }
}

fn chosen(id: u32) -> Input {
    Input::Chosen { id, side: true, p: None }
}

fn done(cloud_us: u64) -> Input {
    Input::Done { ended: Ended::Stop, cloud_us }
}

#[test]
fn closed_tokens_stream_and_open_ones_wait_for_the_device() {
    let (mut answer, first) = Answer::start();
    assert_eq!(first, [Effect::Generate { generated: vec![] }]);
    let spoken = Spoken { index: 0, id: 11, side: false, changed: false, p: Some(0.2) };
    assert_eq!(answer.handle(token(0, 11)), [Effect::Speak(spoken)]);
    let choose = Effect::Choose { index: 1, choice: 12, p: Some(0.9), state: vec![1] };
    assert_eq!(answer.handle(open(1, 12)), [choose]);
    let spoken = Spoken { index: 1, id: 13, side: true, changed: true, p: Some(0.9) };
    assert_eq!(answer.handle(chosen(13)), [Effect::Speak(spoken), Effect::Send { index: 1, id: 13 }]);
    assert_eq!(answer.handle(done(40)), [Effect::Finish(Ended::Stop)]);
    let account = *answer.account();
    assert_eq!((account.tokens, account.transmissions, account.side, account.changed), (2, 1, 1, 1));
    assert_eq!(account.cloud_us, 40, "the exchange's own sum, prefill included, and nothing twice");
}

#[test]
fn a_side_token_that_base_would_have_said_is_not_changed() {
    let (mut answer, _) = Answer::start();
    answer.handle(open(0, 12));
    let effects = answer.handle(chosen(12));
    assert!(matches!(effects[0], Effect::Speak(Spoken { side: true, changed: false, .. })));
}

#[test]
fn a_gate_at_home_that_stays_closed_says_the_clouds_token() {
    let (mut answer, _) = Answer::start();
    answer.handle(Input::Open { index: 0, choice: 4, p: None, state: vec![], cloud_us: 1 });
    let effects = answer.handle(Input::Chosen { id: 4, side: false, p: Some(0.1) });
    let spoken = Spoken { index: 0, id: 4, side: false, changed: false, p: Some(0.1) };
    assert_eq!(effects[0], Effect::Speak(spoken));
    assert_eq!((answer.account().transmissions, answer.account().side), (1, 0));
}

#[test]
fn a_lost_link_resumes_with_what_was_said() {
    let (mut answer, _) = Answer::start();
    answer.handle(token(0, 1));
    answer.handle(open(1, 2));
    assert_eq!(answer.handle(Input::Lost), [Effect::Wait]);
    assert_eq!(answer.handle(chosen(9)), [], "a choice for the broken connection is dropped");
    let back = answer.handle(Input::Back);
    assert_eq!(back, [Effect::Resumed, Effect::Generate { generated: vec![1] }]);
    answer.handle(open(1, 2));
    answer.handle(chosen(3));
    answer.handle(done(100));
    // 5 + 7 of the first exchange, 100 of the second.
    assert_eq!(answer.account().cloud_us, 112);
    assert_eq!(answer.generated(), [1, 3]);
}

#[test]
fn cancelling_keeps_what_was_said_and_ends_once() {
    let (mut answer, _) = Answer::start();
    answer.handle(token(0, 1));
    assert_eq!(answer.handle(Input::Cancel), [Effect::Abort, Effect::Finish(Ended::Cancelled)]);
    assert_eq!(answer.handle(Input::Cancel), []);
    assert_eq!(answer.handle(token(1, 1)), []);
    let (mut away, _) = Answer::start();
    away.handle(Input::Lost);
    assert_eq!(away.handle(Input::Cancel), [Effect::Finish(Ended::Cancelled)]);
}

#[test]
fn a_cloud_that_breaks_the_rules_ends_the_answer() {
    for wrong in [token(1, 1), open(7, 1), Input::Back, chosen(1)] {
        let (mut answer, _) = Answer::start();
        assert!(matches!(answer.handle(wrong.clone())[1], Effect::Broken(_)), "{wrong:?}");
        assert!(answer.over());
    }
    let (mut answer, _) = Answer::start();
    answer.handle(open(0, 1));
    assert!(matches!(answer.handle(token(1, 1))[1], Effect::Broken(_)));
}

proptest! {
    /// A cloud that follows the rules, cut at random places, always gives the very tokens of an uncut one.
    #[test]
    fn cuts_change_nothing_that_is_said(
        script in proptest::collection::vec((any::<bool>(), 0u32..50, 0u32..50), 0..40),
        cuts in proptest::collection::vec(0usize..60, 0..6),
    ) {
        let (mut answer, mut todo) = Answer::start();
        let mut said = Vec::new();
        let mut step = 0;
        let mut at = 0;
        while !answer.over() {
            step += 1;
            let mut inputs = Vec::new();
            for effect in todo.drain(..) {
                match effect {
                    Effect::Speak(spoken) => said.push(spoken),
                    Effect::Generate { generated } => {
                        prop_assert_eq!(&generated, &said.iter().map(|s: &Spoken| s.id).collect::<Vec<_>>());
                        at = generated.len();
                    }
                    Effect::Choose { index, .. } => inputs.push(chosen(script[index as usize].2)),
                    Effect::Wait => inputs.push(Input::Back),
                    Effect::Broken(why) => prop_assert!(false, "{}", why),
                    Effect::Send { .. } | Effect::Resumed | Effect::Abort | Effect::Finish(_) => {}
                }
            }
            let input = if cuts.contains(&step) {
                inputs.insert(0, Input::Lost);
                inputs.remove(0)
            } else if let Some(input) = inputs.pop() {
                input
            } else {
                let index = at as u32;
                match script.get(at) {
                    None => done(0),
                    Some((true, choice, _)) => open(index, *choice),
                    Some((false, id, _)) => { at += 1; token(index, *id) }
                }
            };
            if let Input::Chosen { .. } = input { at += 1; }
            let away = todo.is_empty() && matches!(input, Input::Lost);
            todo = answer.handle(input);
            if away && todo.is_empty() { todo = answer.handle(Input::Back); }
        }
        let wanted: Vec<u32> = script.iter().map(|(o, a, b)| if *o { *b } else { *a }).collect();
        prop_assert_eq!(said.iter().map(|s| s.id).collect::<Vec<_>>(), wanted);
        let indices: Vec<u32> = said.iter().map(|s| s.index).collect();
        prop_assert_eq!(indices, (0..said.len() as u32).collect::<Vec<_>>());
    }
}
