//! What a remote hook is sent and what its reply means (`docs/hooks.md`). The HTTP call itself is somebody else's.

use std::sync::Arc;

use serde::{Serialize, Serializer, ser::SerializeStruct};
use serde_json::{Map, Value as Json};

use crate::{
    domain::{
        chain::HookCall,
        failure::{Failure, FailureClass},
        ids::RequestId,
        time::Timestamp,
        value::{DataType, Value},
    },
    engine::{reply, transition::Evaluation},
};

/// One call of a hook. Its serialised form is the body to send.
#[derive(Debug, Clone, PartialEq)]
pub struct HookInvocation {
    /// Which hook, and the author's arguments.
    pub call: Arc<HookCall>,
    /// The task's input.
    pub input: Value,
    /// When the run started.
    pub started_at: Timestamp,
    /// Goes along as `X-Request-ID`.
    pub request_id: RequestId,
}

impl HookInvocation {
    /// The registered name of the hook.
    pub fn name(&self) -> &str {
        &self.call.name
    }
}

impl Serialize for HookInvocation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut body = serializer.serialize_struct("HookInvocation", 5)?;
        body.serialize_field("startingTime", &self.started_at)?;
        body.serialize_field("input", &self.input)?;
        body.serialize_field("dataType", &self.input.data_type())?;
        body.serialize_field("transition", "")?;
        body.serialize_field("args", &*self.call)?;
        body.end()
    }
}

/// The output and transition value of a hook's reply.
///
/// # Errors
/// When the reply reports an error, or is not of the agreed form.
pub(crate) fn read_reply(reply: Json, now: Timestamp) -> Result<(Value, Evaluation), Failure> {
    let Json::Object(mut fields) = reply else {
        return Err(failure("the hook's reply is not a JSON object"));
    };
    let error = text(&fields, "error")?;
    if !error.is_empty() {
        return Err(failure(error));
    }
    let transition = text(&fields, "transition")?;
    let data_type = text(&fields, "dataType")?;
    let output = fields.remove("output").unwrap_or(Json::Null);
    let output = if data_type.is_empty() {
        Value::infer(output)
    } else {
        let wanted: DataType = data_type.parse().map_err(|error| failure(format!("the hook's dataType: {error}")))?;
        Value::from_json(output, wanted, now).map_err(|error| failure(format!("the hook's output {error}")))?
    };
    Ok((output, Evaluation::of(transition)))
}

/// A text of the reply; numbers and booleans as text, absent and null as nothing.
fn text(fields: &Map<String, Json>, name: &str) -> Result<String, Failure> {
    match fields.get(name) {
        None | Some(Json::Null) => Ok(String::new()),
        Some(Json::String(text)) => Ok(text.clone()),
        Some(scalar @ (Json::Number(_) | Json::Bool(_))) => Ok(scalar.to_string()),
        Some(Json::Array(_) | Json::Object(_)) => Err(failure(format!("the hook's {name} is not a text"))),
    }
}

fn failure(message: impl AsRef<str>) -> Failure {
    Failure::new(FailureClass::HookError, reply::shortened(message.as_ref(), 500))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOON: Timestamp = Timestamp::from_micros(1_754_654_400_000_000);

    #[test]
    fn the_body_sent_is_the_documented_one() {
        let args = [("k".to_owned(), "v".to_owned())].into();
        let invocation = HookInvocation {
            call: Arc::new(HookCall { name: "my-hook".to_owned(), args }),
            input: Value::string("hello"),
            started_at: NOON,
            request_id: RequestId::new("r"),
        };
        let body = json!({"startingTime": "2025-08-08T12:00:00.000000Z", "input": "hello", "dataType": "string",
            "transition": "", "args": {"name": "my-hook", "args": {"k": "v"}}});
        assert_eq!(serde_json::to_value(&invocation).expect("serialises"), body);
        let bare = HookInvocation { call: Arc::new(HookCall::default()), input: Value::json(json!([1])), ..invocation };
        let body = serde_json::to_value(&bare).expect("serialises");
        assert_eq!(
            (&body["args"]["args"], &body["input"], &body["dataType"]),
            (&json!({}), &json!([1]), &json!("json"))
        );
    }

    #[test]
    fn a_reply_is_converted_to_its_type_or_to_the_one_it_shows() {
        for (reply, output, transition) in [
            (json!({"output": "7", "dataType": "int", "transition": "ok"}), Value::Int(7), "ok"),
            (json!({"output": 0, "dataType": "Bool"}), Value::Bool(false), ""),
            (json!({"output": "a"}), Value::string("a"), ""),
            (json!({"output": 7, "transition": 7, "error": null}), Value::Int(7), "7"),
            (json!({"output": 0.5, "dataType": ""}), Value::Float(0.5), ""),
            (json!({"output": {"a": null}, "error": ""}), Value::json(json!({"a": null})), ""),
            (json!({"dataType": "string"}), Value::string(""), ""),
        ] {
            assert_eq!(read_reply(reply.clone(), NOON), Ok((output, Evaluation::of(transition))), "{reply}");
        }
    }

    #[test]
    fn a_reply_that_reports_an_error_or_has_no_such_form_fails() {
        for (reply, part) in [
            (json!({"output": 1, "error": "no stock"}), "no stock"),
            (json!([]), "not a JSON object"),
            (json!({"output": "x", "dataType": "int"}), "output cannot be read as int"),
            (json!({"output": "x", "dataType": "text"}), "unknown data type 'text'"),
            (json!({"transition": {}}), "transition is not a text"),
        ] {
            let failed = read_reply(reply.clone(), NOON).expect_err("fails");
            assert!(failed.message.contains(part), "{reply}: {failed}");
            assert_eq!(failed.class, FailureClass::HookError);
        }
    }
}
