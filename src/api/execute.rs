//! `POST /execute`: one prompt (`docs/api.md`, execution).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api, Reply, failure, fields,
    scope::{self, Scope},
};
use crate::{
    domain::{
        chat::{ChatCall, ChatTurn, Finish, Sampling},
        model::Capability,
        provider::ProviderKind,
        slip::Slip,
    },
    engine,
    error::Error,
};

/// Body of the request.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default)]
pub struct ExecuteInput {
    #[schema(required)]
    prompt: String,
    model_name: String,
    model_provider: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ExecuteReply<'a> {
    id: String,
    response: &'a str,
}

/// Asks the default or the named model for an answer, where `scope` allows it.
///
/// # Errors
/// 400, 404 for an unknown pool, 500 when the call failed, 503 when nothing can serve it.
pub async fn execute(api: &Api, input: ExecuteInput, mut scope: Scope) -> Result<Reply, Error> {
    if input.prompt.trim().is_empty() {
        return Err(Error::invalid("field 'prompt' is required and must not be empty"));
    }
    if !input.model_provider.trim().is_empty() {
        scope.providers = vec![provider(input.model_provider.trim(), &scope)?];
    }
    fields::at_most("model_name", &input.model_name, fields::MAX_TEXT_BYTES)?;
    let route = match input.model_name.trim() {
        "" => scope::default_route(api, &scope, Capability::Prompt)?,
        name => scope::route_of(api, &scope, name, Capability::Prompt)?,
    };
    let call = prompt_call(api, input.prompt);
    let (completion, served) = api.runtime.dispatcher.generate(&route, &call).await?;
    let response = engine::answer_in(&completion.text).map_err(|failure| {
        failure::from_failure(&failure, failure.message.clone()).with_served(Some(Box::new(served.clone())))
    })?;
    let reply = ExecuteReply { id: uuid::Uuid::new_v4().to_string(), response };
    let is_cut = completion.finish == Finish::Length;
    let warning = is_cut.then(|| {
        let bound = api.defaults.max_output_tokens;
        format!("the reply was cut at {bound} tokens (MAX_OUTPUT_TOKENS)")
    });
    Ok(Reply::json(&reply)?.served_by(Some(served)).warning(warning))
}

/// The kind that the body names. The headers may name it, too, but not only others.
fn provider(name: &str, scope: &Scope) -> Result<ProviderKind, Error> {
    let kind = ProviderKind::parse(name).ok_or_else(|| {
        Error::invalid(format!("field 'model_provider' must be ollama, vllm, openai or gemini, not {}", Slip(name)))
    })?;
    if !scope.providers.is_empty() && !scope.providers.contains(&kind) {
        let message = format!("field 'model_provider' is {kind}, which header X-Penstock-Provider does not name");
        return Err(Error::invalid(message));
    }
    Ok(kind)
}

/// The prompt behind the instruction that only the answer is wanted.
fn prompt_call(api: &Api, prompt: String) -> ChatCall {
    let instruction = api.defaults.system_instruction.as_str();
    let system = (!instruction.is_empty()).then(|| ChatTurn::text("system", instruction));
    ChatCall {
        messages: system.into_iter().chain([ChatTurn::text("user", prompt)]).collect(),
        sampling: Sampling {
            temperature: Some(0.0),
            max_tokens: Some(api.defaults.max_output_tokens),
            ..Sampling::default()
        },
        single_prompt: true,
        ..ChatCall::default()
    }
}
