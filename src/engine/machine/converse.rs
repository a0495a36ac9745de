//! What `model_execution` sends (`docs/workflow-spec.md`, chat handlers).

use super::{
    Conversation, Machine,
    attempt::{Asking, Begun, invalid, prompt, within_limit},
};
use crate::{
    domain::{
        chat::{ChatCall, ChatTurn, Sampling},
        failure::Failure,
        message::ChatMessage,
        route::Capability,
        value::{OpenaiChat, OpenaiMessage, Value},
    },
    engine::tokens,
};

impl Machine {
    /// The call for a conversation, and what its reply will be added to. The input itself is never changed.
    pub(super) fn converse(&self, asking: Asking<'_>) -> Result<Begun, Failure> {
        let Asking { program, step, visit, counted, now } = asking;
        let input = &visit.input;
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
        self.within_budget()?;
        let mut route = step.model.route(visit.choice, Capability::Chat, program, None);
        if let Some(name) = wanted_model {
            route.prefer(name);
        }
        let texts = || messages.iter().map(|message| message.content.as_str());
        if counted.is_none() && self.counts_first(program, texts().map(str::len).sum()) {
            return Ok(Begun::Counts { texts: texts().map(str::to_owned).collect(), route });
        }
        let input_tokens = counted.unwrap_or_else(|| texts().map(tokens::count).sum());
        within_limit(program, Some(input_tokens))?;
        route.tokens = Some(input_tokens);
        sampling.temperature = step.model.temperature.or(sampling.temperature);
        let bound = step.model.max_tokens.or(sampling.max_tokens);
        sampling.max_tokens = Some(bound.unwrap_or(self.settings.max_output_tokens));
        let said = messages.iter().map(ChatTurn::from).collect();
        let call = ChatCall { messages: said, sampling, ..ChatCall::default() };
        let conversation = Some(Conversation { messages, model, input_tokens });
        Ok(Begun::Asks { call: Box::new(call), route, conversation, sent: program.bounds.tokens.map(|_| input_tokens) })
    }
}

fn requested_sampling(chat: &OpenaiChat) -> Sampling {
    Sampling {
        temperature: chat.temperature,
        top_p: chat.top_p,
        max_tokens: (chat.max_tokens > 0).then_some(chat.max_tokens),
        stop: chat.stop.clone(),
        presence_penalty: chat.presence_penalty,
        frequency_penalty: chat.frequency_penalty,
        ..Sampling::default()
    }
}
