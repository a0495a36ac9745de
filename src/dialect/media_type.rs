//! What kind of picture base64 is, where nobody said: the servers that take one want to know.

/// The type that was told, else what the first bytes are, else the commonest.
pub fn media_type_of<'a>(told: &'a str, base64: &str) -> &'a str {
    /// Three bytes are four letters, so the start of a file is the start of its base64.
    const MARKS: [(&str, &str); 5] = [
        ("iVBORw0KGgo", "image/png"),
        ("/9j/", "image/jpeg"),
        ("R0lGOD", "image/gif"),
        ("UklGR", "image/webp"),
        ("Qk", "image/bmp"),
    ];
    if !told.is_empty() {
        return told;
    }
    let known = MARKS.iter().find(|(mark, _)| base64.starts_with(mark));
    known.map_or("image/jpeg", |(_, media_type)| media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_known_by_their_first_bytes_unless_their_type_is_told() {
        assert_eq!(media_type_of("", "iVBORw0KGgoAAAANSUhEUg"), "image/png");
        assert_eq!(media_type_of("", "/9j/4AAQSkZJRg"), "image/jpeg");
        assert_eq!(media_type_of("image/avif", "/9j/4AAQ"), "image/avif");
        assert_eq!(media_type_of("", "AAAA"), "image/jpeg");
    }
}
