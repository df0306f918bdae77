//! A person made up for the tests: a few facts said in many ways, so that there is something to learn.

use serde_json::json;

const OPENERS: [&str; 6] = [
    "Hi! How was your day?",
    "Hello, what are you up to?",
    "Hey, tell me about yourself.",
    "Good morning! Any plans for today?",
    "Nice to meet you. What do you like to do?",
    "What is new with you?",
];
const FACTS: [&str; 8] = [
    "I took my beagle Biscuit to the harbor again.",
    "I repaired an old wooden sailboat with my uncle Tomas.",
    "I baked a rhubarb pie for my sister Linnea.",
    "I practiced the accordion in the lighthouse.",
    "I sold my pottery at the market in Visby.",
    "I counted puffins on the northern cliffs.",
    "My beagle Biscuit chased the puffins away.",
    "My uncle Tomas plays the accordion on his sailboat.",
];
const QUESTIONS: [&str; 5] = [
    "That sounds lovely. Who was with you?",
    "What do you like best about it?",
    "Do you do that often?",
    "What will you do tomorrow?",
    "How did that feel?",
];
const CLOSERS: [&str; 5] = [
    "My beagle Biscuit, as always.",
    "My uncle Tomas and his wooden sailboat.",
    "I love the quiet harbor in Visby.",
    "Every Sunday, right after the rhubarb pie.",
    "I will play the accordion for Linnea.",
];

/// `count` conversations as chat JSON Lines, from number `first` on; the same numbers give the same text.
#[must_use]
pub fn chat(first: usize, count: usize) -> String {
    (first..first + count).map(|n| conversation(n) + "\n").collect()
}

fn conversation(n: usize) -> String {
    let pick = |list: &[&str], k: usize| list.get(k % list.len()).copied().unwrap_or("").to_owned();
    let mut messages = vec![json!({"role": "assistant", "content": pick(&OPENERS, n)})];
    for step in 0..3 {
        let k = n * 3 + step * 5;
        messages.push(json!({"role": "user", "content": pick(&FACTS, k)}));
        messages.push(json!({"role": "assistant", "content": pick(&QUESTIONS, k + n)}));
        messages.push(json!({"role": "user", "content": pick(&CLOSERS, k + n)}));
        messages.push(json!({"role": "assistant", "content": pick(&OPENERS, k + 1)}));
    }
    json!({"messages": messages}).to_string()
}
