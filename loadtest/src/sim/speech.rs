//! What the simulated model says: the scripted reply, a value that fits a schema, or the user's own words.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::sim::{
    call::{Fields, token_count},
    pattern, schema,
    script::Effect,
};

/// The longest piece of the user's words that is repeated, in bytes: large prompts must not make large answers.
const ECHO_BYTES: usize = 1_000;

/// What the request demands of the answer's form.
pub(crate) enum Form<'a> {
    Free,
    /// Any JSON object.
    Json,
    /// JSON of this schema.
    Schema(&'a Value),
    /// One of these bare texts (vLLM).
    Choice(&'a [Value]),
    /// A bare text that this pattern matches (vLLM).
    Pattern(&'a str),
}

/// An answer in the model's own units, before any dialect frames it.
pub(crate) struct Speech {
    /// What it thought first; empty for none.
    pub(crate) thinking: String,
    /// The tokens of the answer: streamed one by one.
    pub(crate) chunks: Vec<String>,
    /// `stop` or `length`, or what the script says; none when it is to be left out.
    pub(crate) finish: Option<String>,
    pub(crate) prompt_tokens: usize,
    /// Tools it calls; only where the dialect asked for them with [`Speech::with_calls`].
    pub(crate) calls: Vec<ToolCall>,
}

/// One call of a tool.
pub(crate) struct ToolCall {
    pub(crate) name: String,
    /// JSON text, or what the script has in its place.
    pub(crate) arguments: String,
}

/// Whether tools must be called, may be, or must not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calling<'a> {
    Freely,
    Never,
    Always,
    Only(&'a str),
}

impl Speech {
    /// Speaks under the request's form and bound, and the script's wishes.
    pub(crate) fn compose(fields: &Fields, form: &Form<'_>, effect: &Effect) -> Self {
        let mut chunks = match (&effect.reply, form) {
            (Some(reply), form) => fitted(reply, form),
            (None, Form::Schema(schema)) => words(&schema::sample(schema).to_string()),
            (None, Form::Choice(texts)) => words(texts.first().and_then(Value::as_str).unwrap_or_default()),
            (None, Form::Pattern(pattern)) => words(&pattern::sample(pattern).unwrap_or_default()),
            (None, Form::Json) => words(r#"{"answer": "ok"}"#),
            (None, Form::Free) => words(&echo(&fields.last_said())),
        };
        let limit = fields.answer_limit().unwrap_or(usize::MAX);
        let natural = if chunks.len() > limit { "length" } else { "stop" };
        chunks.truncate(limit);
        let finish = effect.finish.clone().unwrap_or_else(|| natural.to_owned());
        Self {
            thinking: effect.thinking.clone().unwrap_or_default(),
            chunks,
            finish: (!effect.no_finish).then_some(finish),
            prompt_tokens: fields.prompt_tokens(),
            calls: Vec::new(),
        }
    }

    /// The same with calls of tools: those of the script, else one of the first tool that is offered, or of the one that
    /// must be called, with arguments that fit. A model that calls says nothing beside it unless the script has it so.
    pub(crate) fn with_calls(mut self, fields: &Fields, calling: Calling<'_>, effect: &Effect) -> Self {
        let scripted = effect.calls.iter().map(|(name, arguments)| (name.clone(), arguments.clone()));
        let mut calls: Vec<_> = scripted.collect();
        if calls.is_empty() {
            let wants = match calling {
                Calling::Never => false,
                Calling::Freely => effect.reply.is_none() && fields.user_spoke_last(),
                Calling::Always | Calling::Only(_) => true,
            };
            let offered = fields.offered();
            let chosen = offered.iter().find(|(name, _)| !matches!(calling, Calling::Only(only) if only != *name));
            calls.extend(chosen.filter(|_| wants).map(|(name, parameters)| {
                let arguments = parameters.map_or_else(|| json!({}), schema::sample);
                ((*name).to_owned(), arguments.to_string())
            }));
        }
        if !calls.is_empty() && effect.reply.is_none() {
            self.chunks.clear();
        }
        self.calls = calls.into_iter().map(|(name, arguments)| ToolCall { name, arguments }).collect();
        self
    }

    /// The whole answer.
    pub(crate) fn text(&self) -> String {
        self.chunks.concat()
    }

    /// Tokens made, thoughts included.
    pub(crate) fn answer_tokens(&self) -> usize {
        let calls = self.calls.iter().map(|call| token_count(&call.arguments) + token_count(&call.name));
        self.chunks.len() + token_count(&self.thinking) + calls.sum::<usize>()
    }
}

/// Splits a text into words that keep the white space before them, so that they join to the same text.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut in_word = false;
    for (at, character) in text.char_indices() {
        if character.is_whitespace() && in_word {
            words.push(text[start..at].to_owned());
            start = at;
        }
        in_word = !character.is_whitespace();
    }
    if start < text.len() {
        words.push(text[start..].to_owned());
    }
    words
}

/// A held model cannot say a bare word where the schema wants that word as a JSON string, nor leave out the object
/// around the only thing it is asked for.
fn fitted(reply: &[String], form: &Form<'_>) -> Vec<String> {
    let Form::Schema(schema) = form else { return reply.to_vec() };
    let text: Cow<'_, str> = match reply {
        [only] => Cow::Borrowed(only),
        several => Cow::Owned(several.concat()),
    };
    if schema::allows(schema, &text) {
        return words(&Value::from(text).to_string());
    }
    let value = serde_json::from_str::<Value>(&text).ok();
    match schema::only_property(schema) {
        Some(_) if value.as_ref().is_some_and(Value::is_object) => reply.to_vec(),
        Some((name, property)) if schema::allows(property, &text) => words(&json!({ name: text }).to_string()),
        Some((name, _)) => value.map_or_else(|| reply.to_vec(), |value| words(&json!({ name: value }).to_string())),
        None => reply.to_vec(),
    }
}

fn echo(said: &str) -> String {
    format!("You said: {}", &said[..said.floor_char_boundary(ECHO_BYTES)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: Value) -> Fields {
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn words_join_to_the_same_text() {
        assert_eq!(words("You said: hi\n there "), ["You", " said:", " hi", "\n there", " "]);
        assert!(words("").is_empty());
    }

    #[test]
    fn repeats_the_user_and_keeps_the_bound() {
        let asked = fields(json!({"messages": [{"role": "user", "content": "a b"}], "max_tokens": 3}));
        let speech = Speech::compose(&asked, &Form::Free, &Effect::default());
        assert_eq!((speech.text().as_str(), speech.finish.as_deref()), ("You said: a", Some("length")));
        assert_eq!((speech.prompt_tokens, speech.answer_tokens()), (1, 3));
    }

    #[test]
    fn a_schema_quotes_a_scripted_word() {
        let schema = json!({"type": "string", "enum": ["yes", "no"]});
        let effect = Effect { reply: Some(vec!["no".into()]), ..Effect::default() };
        let speak = |effect: &Effect| Speech::compose(&Fields::default(), &Form::Schema(&schema), effect).text();
        assert_eq!(speak(&effect), r#""no""#);
        assert_eq!(speak(&Effect::default()), r#""yes""#);
    }

    #[test]
    fn what_is_asked_for_in_an_object_is_said_in_it() {
        for (property, reply, said) in [
            (json!({"enum": ["yes", "no"]}), "no", r#"{"answer":"no"}"#),
            (json!({"type": "integer"}), "4", r#"{"answer":4}"#),
            (json!({"type": "integer"}), r#"{"answer": 4}"#, r#"{"answer": 4}"#),
            (json!({"type": "integer"}), "no number", "no number"),
        ] {
            let schema = json!({"type": "object", "properties": {"answer": property}});
            let effect = Effect { reply: Some(vec![reply.into()]), ..Effect::default() };
            assert_eq!(Speech::compose(&Fields::default(), &Form::Schema(&schema), &effect).text(), said);
        }
    }

    #[test]
    fn tools_are_called_where_they_may_be_and_the_script_does_not_speak() {
        let tool = |name: &str| {
            json!({"function": {"name": name, "parameters": {"type": "object", "properties": {
            "n": {"type": "integer"}}}}})
        };
        let asked = fields(json!({"messages": [{"role": "user", "content": "a"}], "tools": [tool("f"), tool("g")]}));
        let called = |calling, effect: &Effect| {
            let speech = Speech::compose(&asked, &Form::Free, effect).with_calls(&asked, calling, effect);
            let calls = speech.calls.iter().map(|call| format!("{}{}", call.name, call.arguments));
            (speech.chunks.concat(), calls.collect::<Vec<_>>())
        };
        let said = Effect { reply: Some(vec!["no".into()]), ..Effect::default() };
        let scripted = Effect { calls: vec![("h".into(), "{".into())], ..Effect::default() };
        for (calling, effect, text, calls) in [
            (Calling::Freely, &Effect::default(), "", vec![r#"f{"n":0}"#]),
            (Calling::Only("g"), &Effect::default(), "", vec![r#"g{"n":0}"#]),
            (Calling::Never, &Effect::default(), "You said: a", vec![]),
            (Calling::Freely, &said, "no", vec![]),
            (Calling::Freely, &scripted, "", vec!["h{"]),
        ] {
            let calls = calls.into_iter().map(str::to_owned).collect();
            assert_eq!(called(calling, effect), (text.to_owned(), calls));
        }
    }

    #[test]
    fn bare_forms_are_kept() {
        let speak = |form: &Form<'_>| Speech::compose(&Fields::default(), form, &Effect::default()).text();
        assert_eq!(speak(&Form::Choice(&[json!("valid"), json!("invalid")])), "valid");
        assert_eq!(speak(&Form::Pattern("[0-9]+-[0-9]+")), "1-1");
    }
}
