//! What a task is answered in a test: instead of a model's reply, a vector or a hook's reply.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::cases::unknown_class;
use crate::domain::{
    failure::{Failure, FailureClass},
    spelling::folded,
};

/// The answers to one task.
#[derive(Debug)]
pub(super) enum Mock {
    /// The same to every call.
    Always(Answer),
    /// To each call its own, attempts included; there is none for a call more.
    InTurn(Vec<Answer>),
}

/// The answer to one call.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// What is replied.
    Reply(Json),
    /// The call fails.
    Fail(Failure),
}

impl Mock {
    /// Reads a mock as it is written.
    ///
    /// # Errors
    /// A `fail` that is not what it should be.
    pub(super) fn read(json: &Json) -> Result<Self, String> {
        match json {
            Json::Array(answers) => answers.iter().map(Answer::read).collect::<Result<_, _>>().map(Self::InTurn),
            one => Answer::read(one).map(Self::Always),
        }
    }

    /// The answer to this call, counted from 0.
    pub(super) fn answer(&self, call: usize) -> Option<&Answer> {
        match self {
            Self::Always(answer) => Some(answer),
            Self::InTurn(answers) => answers.get(call),
        }
    }

    /// The numbers of a mock that is a list of nothing else: one vector, and not a number to each call.
    pub(super) fn vector(&self) -> Option<Vec<f64>> {
        let Self::InTurn(answers) = self else { return None };
        let number = |answer: &Answer| match answer {
            Answer::Reply(json) => json.as_f64(),
            Answer::Fail(_) => None,
        };
        answers.iter().map(number).collect()
    }
}

impl Answer {
    fn read(json: &Json) -> Result<Self, String> {
        match json.get("fail") {
            Some(fail) if json.as_object().is_some_and(|object| object.len() == 1) => failure(fail).map(Self::Fail),
            _ => Ok(Self::Reply(json.clone())),
        }
    }
}

/// The text a model replies.
pub(super) fn text_of(reply: &Json) -> String {
    match reply {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The body a hook replies: as it is when it has the form of one, else with this as its output.
pub(super) fn body_of(reply: &Json) -> Json {
    const FIELDS: [&str; 4] = ["output", "dataType", "transition", "error"];
    match reply.as_object() {
        Some(body) if !body.is_empty() && body.keys().all(|name| FIELDS.contains(&name.as_str())) => reply.clone(),
        _ => json!({"output": reply}),
    }
}

fn failure(fail: &Json) -> Result<Failure, String> {
    let fields = fail.as_object().ok_or("fail should be an object: {class, message, retry_after}")?;
    let (mut class, mut message, mut retry_after) = (None, "the test lets it fail".to_owned(), None);
    for (name, value) in fields {
        let text = value.as_str();
        match folded(name).as_str() {
            "class" => {
                let name = text.ok_or("class should be a text, such as timeout")?;
                class = Some(FailureClass::parse(name).ok_or_else(|| unknown_class(name))?);
            }
            "message" => message = text.ok_or("message should be a text")?.to_owned(),
            "retryafter" => {
                let seconds = value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                retry_after = Some(seconds.ok_or("retry_after should be a number of seconds")?);
            }
            _ => return Err(format!("unknown field '{name}' of fail; its fields are class, message, retry_after")),
        }
    }
    let class = class.ok_or("fail needs a class, such as timeout")?;
    Ok(Failure { retry_after, ..Failure::new(class, message) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_repeats_and_a_list_ends() {
        let once = Mock::read(&json!("yes")).expect("a mock");
        assert!(once.answer(0).is_some() && once.answer(7).is_some());
        let twice = Mock::read(&json!(["yes", {"fail": {"class": "timeout", "retryAfter": 2}}])).expect("a mock");
        assert!(matches!(twice.answer(0), Some(Answer::Reply(json)) if json == "yes"));
        let Some(Answer::Fail(failure)) = twice.answer(1) else { panic!("it fails") };
        assert_eq!((failure.class, failure.retry_after), (FailureClass::Timeout, Some(Duration::from_secs(2))));
        assert!(twice.answer(2).is_none());
    }

    #[test]
    fn a_failure_must_be_one() {
        for (fail, part) in [
            (json!("timeout"), "an object"),
            (json!({}), "needs a class"),
            (json!({"class": "oops"}), "unknown class 'oops'"),
            (json!({"class": "timeout", "massage": "x"}), "unknown field 'massage'"),
            (json!({"class": "timeout", "retry_after": -1}), "number of seconds"),
        ] {
            let refused = Mock::read(&json!({"fail": fail})).expect_err("no failure");
            assert!(refused.contains(part), "{refused}");
        }
        assert!(Mock::read(&json!({"fail": 1, "other": 2})).is_ok(), "it is a value with such a field");
    }

    #[test]
    fn a_hook_replies_its_body_or_a_value() {
        assert_eq!(body_of(&json!({"output": 1, "transition": "x"})), json!({"output": 1, "transition": "x"}));
        assert_eq!(body_of(&json!({"output": 1, "more": "x"})), json!({"output": {"output": 1, "more": "x"}}));
        assert_eq!(body_of(&json!("x")), json!({"output": "x"}));
    }
}
