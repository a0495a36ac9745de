//! A model's reply before it is used: thoughts and white space around it removed (`docs/workflow-spec.md`, handlers).

/// The reply without leading `<think>…</think>` blocks and without white space around it.
pub(crate) fn cleaned(reply: &str) -> &str {
    let mut text = reply.trim();
    while let Some((_, after)) = text.strip_prefix("<think>").and_then(|thoughts| thoughts.split_once("</think>")) {
        text = after.trim_start();
    }
    text
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
    fn an_excerpt_is_cut_between_characters() {
        assert_eq!(excerpt("short"), "short");
        let cut = excerpt(&"ä".repeat(500));
        assert_eq!(cut.chars().count(), 121);
        assert!(cut.ends_with('…'));
    }
}
