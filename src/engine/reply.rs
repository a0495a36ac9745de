//! A model's reply before it is used: thoughts and white space around it removed, something left
//! (`docs/workflow-spec.md`, handlers).

use std::borrow::Cow;

use crate::domain::failure::{Failure, FailureClass};

/// The answer in a reply: without leading `<think>…</think>` blocks and without white space around it.
///
/// # Errors
/// When nothing is left: a model that only thought has not answered.
pub fn answer(reply: &str) -> Result<&str, Failure> {
    match cleaned(reply) {
        "" => Err(Failure::new(FailureClass::InvalidOutput, "the model's reply is empty")),
        text => Ok(text),
    }
}

fn cleaned(reply: &str) -> &str {
    let mut text = reply.trim();
    while let Some((_, after)) = text.strip_prefix("<think>").and_then(|thoughts| thoughts.split_once("</think>")) {
        text = after.trim_start();
    }
    text
}

/// What may stand around an answer that is quoted or emphasised.
pub(crate) const QUOTES: [char; 11] = ['"', '\'', '`', '*', '“', '”', '‘', '’', '„', '«', '»'];

/// A reply without the quotes around it; of a JSON string, what it says.
pub(crate) fn unquoted(reply: &str) -> Cow<'_, str> {
    match serde_json::from_str::<String>(reply) {
        Ok(decoded) => Cow::Owned(decoded.trim().to_owned()),
        Err(_) => Cow::Borrowed(reply.trim_matches(QUOTES).trim()),
    }
}

/// A text short enough to be quoted in an error message.
pub(crate) fn excerpt(text: &str) -> String {
    shortened(text, 120)
}

/// A text cut after so many characters.
pub(crate) fn shortened(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A text cut so that what is left of it has at most so many bytes.
pub(crate) fn within(text: &str, most: usize) -> String {
    if text.len() <= most { text.to_owned() } else { format!("{}…", &text[..text.floor_char_boundary(most)]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thoughts_and_white_space_around_a_reply_are_removed() {
        for (reply, text) in [
            ("  yes \n", "yes"),
            ("<think>hm\n</think>\n\nyes", "yes"),
            (" <think></think> <think>b</think>yes", "yes"),
            ("yes <think>no</think>", "yes <think>no</think>"),
            ("<think>never closed", "<think>never closed"),
            ("", ""),
        ] {
            assert_eq!(cleaned(reply), text, "{reply}");
        }
    }

    #[test]
    fn a_reply_without_an_answer_is_a_failure() {
        for reply in ["", " \n\t", "<think>hm</think>", "\n<think>hm</think>\n<think></think> \n"] {
            let failed = answer(reply).expect_err("nothing is left");
            assert_eq!(
                (failed.class, failed.message.as_str()),
                (FailureClass::InvalidOutput, "the model's reply is empty")
            );
        }
        assert_eq!(answer("<think>hm</think> 4 "), Ok("4"));
    }

    #[test]
    fn an_excerpt_is_cut_between_characters() {
        assert_eq!(excerpt("short"), "short");
        let cut = excerpt(&"ä".repeat(500));
        assert_eq!(cut.chars().count(), 121);
        assert!(cut.ends_with('…'));
        assert_eq!((within("ää", 4), within("ää", 3)), ("ää".to_owned(), "ä…".to_owned()));
    }
}
