//! Embedding vectors; called by the dialects, and by tests that want to know what a text must give.

use crate::sim::hash::Stream;

/// The vector every simulated backend gives for `text`: it depends on the text only and has length 1.
///
/// A shorter vector is the longer one cut and scaled again, as with models that can be cut.
pub fn embedding(text: &str, dimension: usize) -> Vec<f32> {
    let mut stream = Stream::of(text);
    // The upper 24 bits fill an f32 exactly; the half step keeps every number away from zero.
    let raw: Vec<f32> = (0..dimension).map(|_| ((stream.next() >> 40) as f32 + 0.5) / 8_388_608.0 - 1.0).collect();
    let length = raw.iter().map(|number| number * number).sum::<f32>().sqrt();
    raw.into_iter().map(|number| number / length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_on_the_text_and_has_length_one() {
        let vector = embedding("a", 8);
        assert_eq!(vector, embedding("a", 8));
        assert_ne!(vector, embedding("b", 8));
        let length: f32 = vector.iter().map(|number| number * number).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
        assert!(embedding("a", 0).is_empty());
    }
}
