//! Where the members of a JSON object stand, found without decoding any of them: for requests of which a part is known by
//! its bytes.

use std::ops::Range;

use super::head::Members;

/// Where the members of these names stand in the object that a text is; `None` unless it is an object that has no others
/// and none of them twice. What they hold is not looked at: whoever takes a part has to know or to read it.
pub fn exactly<const N: usize>(text: &[u8], names: [&str; N]) -> Option<[Option<Range<usize>>; N]> {
    let mut found = [const { None }; N];
    let mut members = Members::of_document(text, 0).ok()??;
    while let Some((key, value)) = members.next().ok()? {
        let name = &text[key.start + 1..key.end - 1];
        let at = names.iter().position(|wanted| wanted.as_bytes() == name)?;
        if found[at].replace(value).is_some() {
            return None;
        }
    }
    members.end_of_document().ok()?;
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Option<[Option<&str>; 2]> {
        let found = exactly(text.as_bytes(), ["a", "b"])?;
        Some(found.map(|place| place.map(|place| &text[place])))
    }

    #[test]
    fn members_are_found_in_any_order_and_may_be_missing() {
        assert_eq!(
            texts(r#" { "b" : [1, {"a": "}"}] , "a":"x\"" } "#),
            Some([Some(r#""x\"""#), Some(r#"[1, {"a": "}"}]"#)])
        );
        assert_eq!(texts(r#"{"a":1}"#), Some([Some("1"), None]));
        assert_eq!(texts("{}"), Some([None, None]));
    }

    #[test]
    fn other_names_names_twice_and_what_is_no_object_are_for_others_to_read() {
        for text in [
            r#"{"a":1,"c":2}"#,
            r#"{"A":1}"#,
            r#"{"\u0061":1}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":1} x"#,
            r#"{"a":1"#,
            r#"{"a" 1}"#,
            "[1]",
            "",
        ] {
            assert_eq!(texts(text), None, "{text}");
        }
    }
}
