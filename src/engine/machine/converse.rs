//! What `model_execution` sends (`docs/workflow-spec.md`, chat handlers).

use super::{
    Conversation, Machine,
    attempt::{invalid, prompt, within_limit},
};
use crate::{
    domain::{
        failure::Failure,
        message::{ChatCall, ChatMessage, Sampling},
        route::{Capability, ModelRoute},
        time::Timestamp,
        value::{OpenaiChat, OpenaiMessage, Value},
    },
    engine::{
        program::{Program, Step},
        tokens,
    },
};

impl Machine {
    /// The call for a conversation, and what its reply will be added to. The input itself is never changed.
    pub(super) fn converse(
        &self,
        program: &Program,
        step: &Step,
        input: &Value,
        now: Timestamp,
    ) -> Result<(ChatCall, ModelRoute, Conversation), Failure> {
        let mut sampling = Sampling::default();
        let mut wanted_model = None;
        let (mut messages, model) = match input {
            Value::ChatHistory(history) => (history.messages.clone(), history.model.clone()),
            Value::OpenaiChat(chat) => {
                sampling = requested_sampling(chat);
                wanted_model = Some(chat.model.clone()).filter(|model| !model.is_empty());
                let message =
                    |message: &OpenaiMessage| ChatMessage::new(message.role.clone(), message.content.clone(), now);
                (chat.messages.iter().map(message).collect(), chat.model.clone())
            }
            Value::String(_) => (vec![ChatMessage::new("user", prompt(input)?, now)], String::new()),
            other => {
                let found = other.data_type();
                return Err(invalid(format!(
                    "model_execution needs a chat_history, openai_chat or string, not {found}"
                )));
            }
        };
        let instruction = &step.system_instruction;
        let is_told = |message: &ChatMessage| message.role == "system" && message.content == *instruction;
        if !instruction.is_empty() && !messages.iter().any(is_told) {
            messages.insert(0, ChatMessage::new("system", instruction.clone(), now));
        }
        if messages.is_empty() {
            return Err(invalid("the conversation has no messages"));
        }
        let input_tokens = messages.iter().map(|message| tokens::count(&message.content)).sum();
        within_limit(program, Some(input_tokens))?;
        sampling.temperature = step.model.temperature.or(sampling.temperature);
        let bound = step.model.max_tokens.or(sampling.max_tokens);
        sampling.max_tokens = Some(bound.unwrap_or(self.settings.max_output_tokens));
        let mut route = step.model.route(Capability::Chat, program, Some(input_tokens));
        if route.names.is_empty() {
            route.names.extend(wanted_model);
        }
        let call = ChatCall { messages: messages.clone(), sampling, constraint: None, single_prompt: false };
        Ok((call, route, Conversation { messages, model, input_tokens }))
    }
}

fn requested_sampling(chat: &OpenaiChat) -> Sampling {
    Sampling {
        temperature: chat.temperature,
        top_p: chat.top_p,
        max_tokens: (chat.max_tokens > 0).then_some(chat.max_tokens),
        stop: chat.stop.clone(),
    }
}
