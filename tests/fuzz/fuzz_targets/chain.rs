//! Texts taken for chains: read as JSON and YAML, checked, compiled, run. The first byte of the input decides whether the
//! rest is the text itself or breeds one from the examples.
#![no_main]

#[path = "../breed.rs"]
mod breed;
#[path = "../exercise.rs"]
mod exercise;

use breed::Choices;
use libfuzzer_sys::fuzz_target;

const EXAMPLES: [&str; 7] = [
    include_str!("../../../deploy/examples/extract_invoice.yaml"),
    include_str!("../../../deploy/examples/moderation_gate.yaml"),
    include_str!("../../../deploy/examples/rag_hook.yaml"),
    include_str!("../../../deploy/examples/score_until_good.yaml"),
    include_str!("../../../deploy/examples/shout.yaml"),
    include_str!("../../../deploy/examples/sky_question.yaml"),
    include_str!("../../../deploy/examples/triage.yaml"),
];

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    if first % 2 == 0 {
        let mut choices = Choices::of(rest);
        let text = breed::chain(&EXAMPLES.map(str::to_owned), &mut choices);
        exercise::chain(&text, &mut choices);
    } else if let Ok(text) = std::str::from_utf8(rest) {
        exercise::chain(text, &mut Choices::of(rest));
    }
});
