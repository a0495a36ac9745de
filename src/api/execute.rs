//! `POST /execute`: one prompt (`docs/api.md`, execution).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Api, Reply, failure, fields};
use crate::{
    domain::{
        chat::{ChatCall, ChatTurn, Finish, Sampling},
        model::Capability,
        provider::ProviderKind,
        route::ModelRoute,
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

/// Asks the default or the named model for an answer.
///
/// # Errors
/// 400, 500 when the call failed, 503 when nothing can serve it.
pub async fn execute(api: &Api, input: ExecuteInput) -> Result<Reply, Error> {
    if input.prompt.trim().is_empty() {
        return Err(Error::invalid("field 'prompt' is required and must not be empty"));
    }
    let providers = match input.model_provider.trim() {
        "" => Vec::new(),
        name => vec![ProviderKind::parse(name).ok_or_else(|| {
            Error::invalid(format!("field 'model_provider' must be ollama, vllm, openai or gemini, not '{name}'"))
        })?],
    };
    fields::at_most("model_name", &input.model_name, fields::MAX_TEXT_BYTES)?;
    let names: Vec<String> =
        [input.model_name.trim()].into_iter().filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let route = ModelRoute::of(Capability::Prompt, &names, &providers);
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
