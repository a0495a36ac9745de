//! What golden cases see of a run, as JSON that is easy to write by hand: whatever is as always is left out.
#![cfg(test)]

use serde_json::{Map, Value as Json, json};

use super::play::{MAX_TOKENS, STEP_TIMEOUT};
use crate::{
    domain::{
        chat::ChatCall,
        message::Constraint,
        route::{Capability, ModelRoute},
    },
    engine::{Effect, RunOutcome},
};

/// The effects of a run.
#[derive(Default)]
pub(super) struct Seen {
    sent: Vec<Json>,
    counted: Vec<Json>,
    waits: Vec<Json>,
    alerts: Vec<Json>,
    prints: Vec<Json>,
}

impl Seen {
    pub(super) fn note(&mut self, effect: &Effect) {
        match effect {
            Effect::AskModel { call, route, timeout, .. } => {
                let mut shown = asked(call);
                show_route(&mut shown, route);
                // The two go together: one prompt, or a conversation.
                let as_always = call.single_prompt == (route.capability == Capability::Prompt);
                put(&mut shown, "single_prompt", (!as_always).then(|| json!(call.single_prompt)));
                put(&mut shown, "timeout", (*timeout != STEP_TIMEOUT).then(|| json!(format!("{timeout:?}"))));
                self.sent.push(Json::Object(shown));
            }
            Effect::Embed { text, route, timeout, .. } => {
                let mut shown = Map::new();
                put(&mut shown, "embed", Some(json!(text)));
                show_route(&mut shown, route);
                put(&mut shown, "timeout", (*timeout != STEP_TIMEOUT).then(|| json!(format!("{timeout:?}"))));
                self.sent.push(Json::Object(shown));
            }
            Effect::CallHook { hook, timeout, .. } => {
                let mut shown = Map::new();
                put(&mut shown, "hook", Some(serde_json::to_value(hook).expect("serialises")));
                put(&mut shown, "request_id", Some(json!(hook.request_id.as_str())));
                put(&mut shown, "timeout", (*timeout != STEP_TIMEOUT).then(|| json!(format!("{timeout:?}"))));
                self.sent.push(Json::Object(shown));
            }
            Effect::CountTokens { texts, .. } => self.counted.push(json!(texts)),
            Effect::Wait { least, most, .. } if least == most => self.waits.push(json!(format!("{most:?}"))),
            Effect::Wait { least, most, .. } => self.waits.push(json!(format!("{least:?} to {most:?}"))),
            Effect::RaiseAlert(alert) => {
                let mut shown = json!({"message": alert.message});
                for (name, text) in &alert.metadata {
                    shown[name] = json!(text);
                }
                self.alerts.push(shown);
            }
            Effect::Print { task, text } => self.prints.push(match text {
                Ok(text) => json!(format!("{task}: {text}")),
                Err(error) => json!({"task": &**task, "error": error}),
            }),
            Effect::Yield | Effect::Finish(_) => {}
        }
    }

    /// `sent`, `counted`, `waits`, `alerts`, `prints`, `warnings`, `path` (the task of each attempt), `state`, `transition` (of the last
    /// attempt), and `output` with `outputType`, or `error`.
    pub(super) fn into_json(self, outcome: RunOutcome) -> Map<String, Json> {
        let mut seen = Map::new();
        put(&mut seen, "sent", Some(Json::Array(self.sent)));
        put(&mut seen, "counted", Some(Json::Array(self.counted)));
        put(&mut seen, "waits", Some(Json::Array(self.waits)));
        put(&mut seen, "alerts", Some(Json::Array(self.alerts)));
        put(&mut seen, "prints", Some(Json::Array(self.prints)));
        put(&mut seen, "warnings", Some(json!(outcome.warnings)));
        put(&mut seen, "path", Some(outcome.state.iter().map(|unit| json!(&*unit.task_id)).collect()));
        put(&mut seen, "transition", outcome.state.last().map(|unit| json!(unit.transition)));
        put(&mut seen, "state", serde_json::to_value(&outcome.state).ok());
        match outcome.result {
            Ok(output) => {
                put(&mut seen, "outputType", Some(json!(output.data_type())));
                put(&mut seen, "output", Some(output.to_json()));
            }
            Err(failed) => {
                let text = failed.to_string();
                put(&mut seen, "error", Some(json!({"class": failed.failure.class, "message": text})));
            }
        }
        seen
    }
}

fn put(shown: &mut Map<String, Json>, name: &str, value: Option<Json>) {
    if let Some(value) = value {
        shown.insert(name.to_owned(), value);
    }
}

fn asked(call: &ChatCall) -> Map<String, Json> {
    let mut shown = Map::new();
    let said = call.messages.iter().map(|said| {
        let mut message = Map::new();
        message.insert(said.role.clone(), json!(said.joined_text()));
        Json::Object(message)
    });
    put(&mut shown, "ask", Some(said.collect()));
    let sampling = &call.sampling;
    let whole = |number: f64| {
        if number.fract() == 0.0 { json!(format!("{number:.0}").parse::<i64>().ok()) } else { json!(number) }
    };
    put(&mut shown, "temperature", sampling.temperature.map(whole));
    put(&mut shown, "top_p", sampling.top_p.map(whole));
    put(&mut shown, "stop", (!sampling.stop.is_empty()).then(|| json!(sampling.stop)));
    let max_tokens = sampling.max_tokens.filter(|tokens| *tokens != MAX_TOKENS);
    put(&mut shown, "max_tokens", max_tokens.map(|tokens| json!(tokens)));
    let constraint = call.constraint.as_ref().map(|constraint| match constraint {
        Constraint::OneOf(keys) => json!({"one_of": keys}),
        Constraint::Integer => json!("integer"),
        Constraint::Number => json!("number"),
        Constraint::Range => json!("range"),
        Constraint::Json => json!("json"),
        Constraint::Schema(schema) => json!({"schema": **schema}),
    });
    put(&mut shown, "constraint", constraint);
    shown
}

fn show_route(shown: &mut Map<String, Json>, route: &ModelRoute) {
    let capability = match route.capability {
        Capability::Prompt | Capability::Embed => None,
        other => Some(json!(format!("{other:?}").to_lowercase())),
    };
    put(shown, "capability", capability);
    put(shown, "models", route.names().next().map(|_| route.names().collect()));
    let providers = route.targets.first().map_or(&[][..], |target| target.providers.as_slice());
    let providers: Vec<_> = providers.iter().map(|kind| kind.as_str()).collect();
    put(shown, "providers", (!providers.is_empty()).then(|| json!(providers)));
    let pool = route.targets.first().and_then(|target| target.pool.as_deref());
    put(shown, "pool", pool.map(|pool| json!(pool)));
    put(shown, "require", (!route.require.is_empty()).then(|| json!(route.require)));
    put(shown, "strategy", route.strategy.map(|strategy| json!(strategy.as_str())));
    put(shown, "tokens", route.tokens.map(|tokens| json!(tokens)));
}
