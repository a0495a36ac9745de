//! Looks at a whole answer that is relayed as it is: whether it is all there, no error in an answer's place, and what it tells of
//! its tokens. At the speed of memory, in one walk over its top.

use super::{Dialect, error_body::parse_error, head::Members, reply::ReplyError, told_usage::Told};
use crate::domain::chat::Usage;

/// Looks at it: the tokens that it tells of.
///
/// # Errors
/// What is no JSON object, or not all of one: it ends where the connection did. An error in place of an answer.
pub fn check(dialect: Dialect, body: &[u8]) -> Result<Usage, ReplyError> {
    let malformed = |words: String| ReplyError::Malformed(words);
    let members = Members::of_document(body, 0).map_err(|error| malformed(error.to_string()))?;
    let mut members = members.ok_or_else(|| malformed("it is no JSON object".to_owned()))?;
    let (mut is_error, mut told) = (false, Told::new(dialect));
    while let Some((key, value)) = members.next().map_err(|error| malformed(error.to_string()))? {
        told.note(&body[key.clone()], &body[value.clone()]);
        is_error |= match &body[key] {
            // Some servers tell in every answer that there is none.
            b"\"error\"" => matches!(body[value], [b'{', ..] | [b'"', _, _, ..]),
            // Older versions of vLLM, and Mistral.
            b"\"object\"" => body[value] == *b"\"error\"",
            _ => false,
        };
    }
    members.end_of_document().map_err(|error| malformed(error.to_string()))?;
    if is_error { Err(ReplyError::Explained(Box::new(parse_error(body)))) } else { Ok(told.usage()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_whole_answer_is_one_whatever_it_holds() {
        for body in [
            "{}",
            " {\"error\":null,\"choices\":[{\"message\":{\"error\":{}}}],\"x\":1.0e5}\r\n",
            "{\"error\":\"\",\"object\":\"list\"}",
        ] {
            assert_eq!(check(Dialect::Openai, body.as_bytes()), Ok(Usage::default()), "{body}");
        }
    }

    #[test]
    fn what_breaks_off_at_any_byte_is_malformed() {
        let whole = r#"{"choices":[{"message":{"content":"a \" ä"}}],"n":[1,{}]}"#;
        for cut in 0..whole.len() {
            assert!(matches!(check(Dialect::Openai, &whole.as_bytes()[..cut]), Err(ReplyError::Malformed(_))), "{cut}");
        }
        for body in ["[]", "<html>", "null", "{}{}"] {
            assert!(matches!(check(Dialect::Openai, body.as_bytes()), Err(ReplyError::Malformed(_))), "{body}");
        }
    }

    #[test]
    fn an_error_in_the_place_of_an_answer_is_explained() {
        for body in [
            r#"{"error":{"message":"full","code":503}}"#,
            r#"{"id":"x","error":"full"}"#,
            r#"{"object":"error","message":"full","code":503}"#,
        ] {
            let Err(ReplyError::Explained(error)) = check(Dialect::Openai, body.as_bytes()) else { panic!("{body}") };
            assert_eq!(error.message, "full", "{body}");
        }
    }

    #[test]
    fn the_tokens_of_an_answer_are_found_at_its_top_alone() {
        let told = |dialect, answer: &str| {
            let usage = check(dialect, answer.as_bytes()).unwrap();
            (usage.input_tokens, usage.output_tokens)
        };
        for (answer, tokens) in [
            (
                r#"{"choices":[{"message":{"content":"\"usage\":{}"}}],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#,
                (Some(7), Some(3)),
            ),
            (
                r#"{"data":[{"usage":{"prompt_tokens":1}}],"usage":{"prompt_tokens":5,"total_tokens":5}}"#,
                (Some(5), None),
            ),
            (r#"{"usage":null}"#, (None, None)),
            (r#"{"usage":"7"}"#, (None, None)),
        ] {
            assert_eq!(told(Dialect::Openai, answer), tokens, "{answer}");
        }
        for (answer, tokens) in [
            (r#"{"response":"a","done":true,"prompt_eval_count":5,"eval_count":1}"#, (Some(5), Some(1))),
            (r#"{"embeddings":[[0.5]],"prompt_eval_count":2}"#, (Some(2), None)),
            (r#"{"prompt_eval_count":-2,"eval_count":"1"}"#, (None, None)),
        ] {
            assert_eq!(told(Dialect::Ollama, answer), tokens, "{answer}");
        }
    }

    #[test]
    fn how_long_a_backend_worked_is_told_with_its_tokens() {
        let worked = |dialect, answer: &str| check(dialect, answer.as_bytes()).unwrap().worked;
        let answer = r#"{"timings":{"prompt_ms":5.0,"predicted_ms":20.0}}"#;
        assert_eq!(worked(Dialect::Openai, answer), Some(Duration::from_millis(25)));
        let answer = r#"{"load_duration":1,"prompt_eval_duration":20,"eval_duration":300}"#;
        assert_eq!(worked(Dialect::Ollama, answer), Some(Duration::from_nanos(321)));
    }
}
