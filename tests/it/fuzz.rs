//! What the fuzzer of `tests/fuzz` does, under proptest and for a few seconds: chains that are nearly the examples, and
//! templates made of pieces, read, checked, compiled and run with arbitrary answers. Nothing panics, nothing hangs.

#[path = "../fuzz/breed.rs"]
mod breed;
#[path = "../fuzz/exercise.rs"]
mod exercise;

use std::{fs, path::Path, sync::LazyLock};

use proptest::prelude::*;

use self::breed::Choices;

/// The texts that are bred from.
static EXAMPLES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_str().is_some_and(|path| path.ends_with(".yaml") && !path.ends_with(".test.yaml")));
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_chain_bred_from_the_examples_panics_or_hangs(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut choices = Choices::of(&bytes);
        let text = breed::chain(&EXAMPLES, &mut choices);
        exercise::chain(&text, &mut choices);
    }

    #[test]
    fn no_text_taken_for_a_chain_panics_or_hangs(text in "\\PC{0,300}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        exercise::chain(&text, &mut Choices::of(&bytes));
    }

    #[test]
    fn no_template_made_of_pieces_panics_hangs_or_fills_the_memory(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut choices = Choices::of(&bytes);
        let text = breed::template(&mut choices);
        let data = breed::data(&mut choices, 4);
        exercise::template(&text, &data, &mut choices);
    }
}

#[test]
fn most_of_what_is_bred_can_run() {
    let (mut ran, total) = (0, 400_u32);
    for seed in 0..total {
        // Any stream will do, if it is the same every time.
        let bytes: Vec<u8> = (0..200_u32)
            .map(|at| (seed.wrapping_mul(2_654_435_761).wrapping_add(at * at * 40_503) >> 11) as u8)
            .collect();
        let mut choices = Choices::of(&bytes);
        assert!(!choices.is_over());
        let text = breed::chain(&EXAMPLES, &mut choices);
        let read = penstock::dialect::yaml::decode(&text);
        ran += u32::from(read.is_ok_and(|read| penstock::engine::check(&read.value).is_valid()));
    }
    assert!(ran * 4 > total, "only {ran} of {total} compile");
}
