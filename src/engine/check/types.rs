//! Lints of types: a handler or a `compose` that gets what it can never use.
//!
//! Each task may yield some types; what leads to a task decides what it may get. Only when none of the possible types can
//! be used something is told: hooks and the chain's own input may be anything.

use std::collections::VecDeque;

use super::outline::{By, Node, Outline, hinted};
use crate::{
    domain::{
        finding::{Code, Finding},
        value::DataType,
    },
    engine::{
        compose::Strategy,
        handler::Handler,
        variables::{INPUT, PREVIOUS_OUTPUT},
    },
};

/// Tasks with an `input_var` whose types are followed; with more of them each may get anything.
const MOST_NAMED: usize = 200;

/// A set of types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Types(u16);

impl Types {
    const NONE: Self = Self(0);
    const ALL: Self = Self(u16::MAX);

    fn one(of: DataType) -> Self {
        Self::of(&[of])
    }

    fn of(types: &[DataType]) -> Self {
        let bit = |wanted: &DataType| DataType::ALL.iter().position(|known| known == wanted).unwrap_or(15);
        Self(types.iter().fold(0, |set, of| set | 1 << bit(of)))
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn is_none(self) -> bool {
        self.0 == 0
    }

    fn named(self) -> String {
        let names = DataType::ALL.iter().filter(|of| !self.and(Self::one(**of)).is_none());
        names.map(|of| of.as_str()).collect::<Vec<_>>().join(" or ")
    }
}

/// All of them.
pub(super) fn lint(outline: &Outline<'_>) -> Vec<Finding> {
    let (inputs, outputs) = flow(outline);
    let mut found = Vec::new();
    if outline.nodes.iter().filter(|node| !node.task.input_var.is_empty()).count() > MOST_NAMED {
        found.push(Outline::incomplete(&format!(
            "more than {MOST_NAMED} tasks have an input_var: what types they get was not followed"
        )));
    }
    for (at, node) in outline.nodes.iter().enumerate().filter(|(at, _)| !inputs[*at].is_none()) {
        let input = inputs[at];
        if let Some((takes, hint)) = takes(node)
            && input.and(takes).is_none()
        {
            let field = if node.task.input_var.is_empty() { "handler" } else { "input_var" };
            let message =
                format!("{} takes {}, and gets {} here", node.task.handler.trim(), takes.named(), input.named());
            found.push(hinted(outline.warning(at, Code::TypeMismatch, field, message), hint));
        }
        found.extend(composed(outline, at, input, &outputs));
    }
    found
}

fn takes(node: &Node<'_>) -> Option<(Types, &'static str)> {
    let chats = [DataType::ChatHistory, DataType::OpenaiChat];
    match node.handler? {
        Handler::ModelExecution => Some((
            Types::of(&chats).or(Types::one(DataType::String)),
            "give it a prompt_template, or an input_var that holds a conversation or a text",
        )),
        Handler::ConvertToOpenaiChatResponse => {
            Some((Types::one(DataType::ChatHistory), "put it behind a model_execution, or name one in input_var"))
        }
        _ => None,
    }
}

/// What a task's handler gives, before compose.
fn yields(node: &Node<'_>, input: Types) -> Types {
    match node.handler {
        Some(Handler::RawString | Handler::ConditionKey | Handler::ParseRange) => Types::one(DataType::String),
        Some(Handler::ParseNumber) => Types::one(DataType::Int),
        Some(Handler::ParseScore) => Types::one(DataType::Float),
        Some(Handler::ParseJson) => Types::one(DataType::Json),
        Some(Handler::Embedding) => Types::one(DataType::Vector),
        Some(Handler::ModelExecution) => Types::one(DataType::ChatHistory),
        Some(Handler::ConvertToOpenaiChatResponse) => Types::one(DataType::OpenaiChatResponse),
        Some(Handler::Noop | Handler::ParseTransition) => input,
        Some(Handler::RaiseError) => Types::NONE,
        Some(Handler::Hook) | None => Types::ALL,
    }
}

/// What a task gives.
fn output(node: &Node<'_>, input: Types) -> Types {
    let plain = yields(node, input);
    let Some(compose) = &node.task.compose else { return plain };
    match Strategy::parse(&compose.strategy) {
        Some(Strategy::Override) => Types::one(DataType::Json),
        Some(Strategy::AppendStringToChatHistory) => Types::one(DataType::ChatHistory),
        Some(Strategy::MergeChatHistories) => Types::of(&[DataType::ChatHistory, DataType::OpenaiChat]),
        Some(Strategy::ByType) => Types::of(&[DataType::Json, DataType::ChatHistory, DataType::OpenaiChat]),
        None => Types::ALL,
    }
}

fn variable(outline: &Outline<'_>, name: &str, outputs: &[Types]) -> Types {
    match outline.places.get(name) {
        Some(at) => outputs[*at],
        None if name == PREVIOUS_OUTPUT => outputs.iter().fold(Types::NONE, |all, one| all.or(*one)),
        None if name == INPUT => Types::ALL,
        None => match name.strip_suffix("_composed").and_then(|id| outline.places.get(id)) {
            Some(at) => outputs[*at],
            None => Types::ALL,
        },
    }
}

/// What each task may get and give; sets only grow, so it ends.
fn flow(outline: &Outline<'_>) -> (Vec<Types>, Vec<Types>) {
    let count = outline.nodes.len();
    let (mut inherited, mut inputs, mut outputs) =
        (vec![Types::NONE; count], vec![Types::NONE; count], vec![Types::NONE; count]);
    let (mut seen, mut waits) = (vec![false; count], vec![false; count]);
    let by_name = |at: &usize| !outline.nodes[*at].task.input_var.is_empty();
    let named: Vec<usize> = (0..count).filter(by_name).collect();
    let mut open: VecDeque<usize> = VecDeque::from_iter((count > 0).then_some(0));
    if let Some(first) = inherited.first_mut() {
        *first = Types::ALL;
    }
    while let Some(at) = open.pop_front() {
        (seen[at], waits[at]) = (true, false);
        let node = &outline.nodes[at];
        let input = if !node.task.prompt_template.is_empty() {
            Types::one(DataType::String)
        } else if by_name(&at) {
            match named.len() <= MOST_NAMED {
                true => variable(outline, &node.task.input_var, &outputs),
                false => Types::ALL,
            }
        } else {
            inherited[at]
        };
        let given = output(node, input);
        // What is named is looked at again when it has changed.
        let news: &[usize] = if given != outputs[at] && named.len() <= MOST_NAMED { &named } else { &[] };
        (inputs[at], outputs[at]) = (input, given);
        let again = news.iter().copied().filter(|named| seen[*named]).collect::<Vec<_>>();
        let mut look = |at: usize| {
            if !std::mem::replace(&mut waits[at], true) {
                open.push_back(at);
            }
        };
        again.into_iter().for_each(&mut look);
        for exit in &node.exits {
            let Some(to) = exit.to else { continue };
            // A failing task hands on what it got.
            let all = inherited[to].or(if matches!(exit.by, By::Branch(_)) { given } else { input });
            if all != inherited[to] || !seen[to] {
                inherited[to] = all;
                look(to);
            }
        }
    }
    (inputs, outputs)
}

fn composed(outline: &Outline<'_>, at: usize, input: Types, outputs: &[Types]) -> Option<Finding> {
    let node = &outline.nodes[at];
    let compose = node.task.compose.as_ref()?;
    let (output, with) = (yields(node, input), variable(outline, &compose.with_var, outputs));
    if output.is_none() || with.is_none() {
        return None;
    }
    let chats = Types::of(&[DataType::ChatHistory, DataType::OpenaiChat]);
    let scalars =
        [DataType::String, DataType::Bool, DataType::Int, DataType::Float, DataType::Vector, DataType::SearchResults];
    let is_scalar = |types: Types| Types(types.0 & !Types::of(&scalars).0).is_none();
    let (text, history) = (Types::one(DataType::String), Types::one(DataType::ChatHistory));
    let needs = match Strategy::parse(&compose.strategy)? {
        Strategy::Override | Strategy::ByType => (is_scalar(output) || is_scalar(with)).then_some("needs two objects"),
        Strategy::MergeChatHistories => {
            (output.and(chats).is_none() || with.and(chats).is_none()).then_some("needs two chats")
        }
        Strategy::AppendStringToChatHistory => {
            let fits = |one: Types, other: Types| !one.and(text).is_none() && !other.and(history).is_none();
            (!fits(output, with) && !fits(with, output)).then_some("needs a string and a chat_history")
        }
    }?;
    let short = |types: Types| if types == Types::ALL { "anything".to_owned() } else { types.named() };
    let message = format!("compose {needs}, and gets {} and {}", short(output), short(with));
    Some(outline.warning(at, Code::TypeMismatch, "compose", message))
}
