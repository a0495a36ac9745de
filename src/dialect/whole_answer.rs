//! Looks at a whole answer that is relayed as it is: whether it is all there, and no error in an answer's place. At the
//! speed of memory: nothing below its top is decoded.

use super::{error_body::parse_error, head::Members, reply::ReplyError};

/// Looks at it.
///
/// # Errors
/// What is no JSON object, or not all of one: it ends where the connection did. An error in place of an answer.
pub fn check(body: &[u8]) -> Result<(), ReplyError> {
    let malformed = |words: String| ReplyError::Malformed(words);
    let members = Members::of_document(body, 0).map_err(|error| malformed(error.to_string()))?;
    let mut members = members.ok_or_else(|| malformed("it is no JSON object".to_owned()))?;
    let mut is_error = false;
    while let Some((key, value)) = members.next().map_err(|error| malformed(error.to_string()))? {
        is_error |= match &body[key] {
            // Some servers tell in every answer that there is none.
            b"\"error\"" => matches!(body[value], [b'{', ..] | [b'"', _, _, ..]),
            // Older versions of vLLM, and Mistral.
            b"\"object\"" => body[value] == *b"\"error\"",
            _ => false,
        };
    }
    members.end_of_document().map_err(|error| malformed(error.to_string()))?;
    if is_error { Err(ReplyError::Explained(Box::new(parse_error(body)))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_answer_is_one_whatever_it_holds() {
        for body in [
            "{}",
            " {\"error\":null,\"choices\":[{\"message\":{\"error\":{}}}],\"x\":1.0e5}\r\n",
            "{\"error\":\"\",\"object\":\"list\"}",
        ] {
            assert_eq!(check(body.as_bytes()), Ok(()), "{body}");
        }
    }

    #[test]
    fn what_breaks_off_at_any_byte_is_malformed() {
        let whole = r#"{"choices":[{"message":{"content":"a \" ä"}}],"n":[1,{}]}"#;
        for cut in 0..whole.len() {
            assert!(matches!(check(&whole.as_bytes()[..cut]), Err(ReplyError::Malformed(_))), "{cut}");
        }
        for body in ["[]", "<html>", "null", "{}{}"] {
            assert!(matches!(check(body.as_bytes()), Err(ReplyError::Malformed(_))), "{body}");
        }
    }

    #[test]
    fn an_error_in_the_place_of_an_answer_is_explained() {
        for body in [
            r#"{"error":{"message":"full","code":503}}"#,
            r#"{"id":"x","error":"full"}"#,
            r#"{"object":"error","message":"full","code":503}"#,
        ] {
            let Err(ReplyError::Explained(error)) = check(body.as_bytes()) else { panic!("{body}") };
            assert_eq!(error.message, "full", "{body}");
        }
    }
}
