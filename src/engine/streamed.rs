//! Which steps of a chain may be told while they are made, decided when it is compiled (`docs/workflow-spec.md`, streamed
//! steps): those after which no model is asked any more and nothing touches the text. Pure.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use crate::engine::{
    answer_stream::StreamedText,
    program::{Step, Work},
    transition::{self, Evaluation, Operator},
    variables::PREVIOUS_OUTPUT,
};

/// Branches that are looked at for one chain; steps that would take more are not streamed.
const MOST_LOOKS: usize = 200_000;

/// A step whose text is that of the run's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Streamed {
    /// How the text is made of the reply.
    pub(crate) text: StreamedText,
    /// Whether the run's output is a response of OpenAI's chat API, whichever way it goes.
    pub(crate) in_response: bool,
    /// The model that a response shows, where the chain names it.
    pub(crate) shown: Option<Arc<str>>,
}

/// The value that holds the text on its way to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Carried {
    Text,
    History,
    Response,
}

/// For each step whether and how it is streamed.
pub(crate) fn of(steps: &[Step], output_var: Option<&str>) -> Vec<Option<Streamed>> {
    let leads_to_model = leading_to_a_model(steps);
    let output_var = output_var.filter(|name| *name != PREVIOUS_OUTPUT);
    let mut tails = Tails { steps, output_var, looks: MOST_LOOKS };
    (0..steps.len()).map(|place| if leads_to_model[place] { None } else { tails.behind(place) }).collect()
}

/// The steps from which a run may come to a step that asks a model, by any way out.
fn leading_to_a_model(steps: &[Step]) -> Vec<bool> {
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
    for (place, step) in steps.iter().enumerate() {
        let branches = step.branches.iter().filter_map(|branch| branch.goto);
        let failures = step.catches.iter().map(|catch| catch.goto).chain(step.on_failure);
        for next in branches.chain(failures) {
            if let Some(before) = before.get_mut(next)
                && before.last() != Some(&place)
            {
                before.push(place);
            }
        }
    }
    let mut leads = vec![false; steps.len()];
    let mut looked_at: VecDeque<usize> = (0..steps.len()).filter(|place| steps[*place].asks_a_model()).collect();
    while let Some(place) = looked_at.pop_front() {
        for earlier in &before[place] {
            if !leads[*earlier] {
                leads[*earlier] = true;
                looked_at.push_back(*earlier);
            }
        }
    }
    leads
}

/// What follows the steps that may be streamed.
struct Tails<'a> {
    steps: &'a [Step],
    /// The variable that is the output, where it is not the last task's.
    output_var: Option<&'a str>,
    looks: usize,
}

/// Where a run stands behind a step: the next task, its input, and what the output variable holds.
type Standing = (usize, Carried, Option<Carried>);

impl<'a> Tails<'a> {
    fn behind(&mut self, place: usize) -> Option<Streamed> {
        let first = self.steps.get(place)?;
        let (text, given) = match first.work {
            Work::RawString => (StreamedText::Answer, Carried::Text),
            Work::ModelExecution => (StreamedText::Verbatim, Carried::History),
            _ => return None,
        };
        let (mut seen, mut ahead, mut in_response) = (HashSet::new(), Vec::new(), true);
        let (mut step, mut carried, mut output) = (first, given, None);
        // Chunks of a response name the model before the way to its end is known.
        let mut shown: Option<Option<&str>> = None;
        loop {
            if step.compose.is_some() {
                return None;
            }
            if self.output_var == Some(&*step.id) {
                output = Some(carried);
            }
            if let Work::ConvertToOpenaiChatResponse { model } = &step.work
                && *shown.get_or_insert(model.as_deref()) != model.as_deref()
            {
                return None;
            }
            for next in self.ways(step)? {
                match next {
                    Some(next) => {
                        if seen.insert((next, carried, output)) {
                            ahead.push((next, carried, output));
                        }
                    }
                    None if self.output_var.is_none() => in_response &= carried == Carried::Response,
                    None => in_response &= output? == Carried::Response,
                }
            }
            let Some(standing) = ahead.pop() else {
                return Some(Streamed { text, in_response, shown: shown.flatten().map(Into::into) });
            };
            (step, carried, output) = self.passed(first, given, standing)?;
        }
    }

    /// A task behind the streamed step, and what it gives, where it neither changes the text nor can fail.
    fn passed(&self, first: &Step, given: Carried, standing: Standing) -> Option<(&'a Step, Carried, Option<Carried>)> {
        let (place, inherited, output) = standing;
        let step = self.steps.get(place)?;
        let input = match step.input_var.as_deref() {
            None | Some(PREVIOUS_OUTPUT) => inherited,
            Some(name) if *name == *first.id => given,
            Some(_) => return None,
        };
        if step.prompt.is_some() || step.max_visits.is_some() {
            return None;
        }
        match (&step.work, input) {
            (Work::Noop, input) => Some((step, input, output)),
            (Work::ConvertToOpenaiChatResponse { .. }, Carried::History) => Some((step, Carried::Response, output)),
            _ => None,
        }
    }

    /// The ways out of a step that has succeeded. `None` where there may be none: what fails a run after its text was told
    /// would have kept that text from being told.
    fn ways(&mut self, step: &Step) -> Option<Vec<Option<usize>>> {
        self.looks = self.looks.checked_sub(step.branches.len())?;
        let value = match step.work {
            Work::ModelExecution => Some("executed"),
            Work::Noop => Some("noop"),
            Work::ConvertToOpenaiChatResponse { .. } => Some("converted"),
            _ => None,
        };
        match value.filter(|_| step.variable.is_none()) {
            Some(value) => {
                let way = transition::choose(&step.branches, |branch| &branch.operator, &Evaluation::of(value))?;
                Some(vec![way.goto])
            }
            None if step.branches.iter().any(|branch| branch.operator == Operator::Default) => {
                Some(step.branches.iter().map(|branch| branch.goto).collect())
            }
            None => None,
        }
    }
}
