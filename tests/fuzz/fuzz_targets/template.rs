//! Templates over arbitrary data. The first byte of the input decides whether the rest is the template itself or chooses
//! the pieces of one.
#![no_main]

#[path = "../breed.rs"]
mod breed;
#[path = "../exercise.rs"]
mod exercise;

use breed::Choices;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let mut choices = Choices::of(rest);
    if first % 2 == 0 {
        let text = breed::template(&mut choices);
        let data = breed::data(&mut choices, 4);
        exercise::template(&text, &data, &mut choices);
    } else if let Ok(text) = std::str::from_utf8(rest) {
        let data = breed::data(&mut choices, 4);
        exercise::template(text, &data, &mut choices);
    }
});
