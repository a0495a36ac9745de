//! Checks of what goes beyond a plain chain: retries, catches, schemas, fallback models and the bounds of a run.

use std::time::Duration;

use serde_json::Value as Json;

use super::{Check, END};
use crate::{
    domain::{
        chain::{self, Chain, FallbackModel, RetryPolicy, Task},
        failure::FailureClass,
        provider::ProviderKind,
    },
    engine::{
        duration,
        finding::{Code, Severity},
        machine::MAX_STEPS,
        path::Path,
        program::{Bounds, Catch, Fallback, Work},
        retry::{Backoff, LONGEST_WAIT, Retry, USUAL_CLASSES, is_final},
        schema::Schema,
    },
};

/// Attempts a policy may ask for, as many as `retry_on_failure` may.
const MOST_ATTEMPTS: i64 = 101;
const MOST_STEPS: i64 = 100_000;
const MOST_REPAIRS: i64 = 10;

impl Check<'_> {
    /// What one run may take.
    pub(super) fn bounds(&mut self, chain: &Chain) -> Bounds {
        let steps = self.whole("max_steps", chain.max_steps, 0, MOST_STEPS);
        let tokens = self.whole("token_budget", chain.token_budget, 0, i64::MAX);
        Bounds {
            max_steps: match steps {
                0 => MAX_STEPS,
                steps => u32::try_from(steps).unwrap_or(MAX_STEPS),
            },
            timeout: self.duration("timeout", &chain.timeout, Duration::MAX),
            tokens: u64::try_from(tokens).ok().filter(|tokens| *tokens > 0),
        }
    }

    /// A schema, where one is written.
    pub(super) fn schema(&mut self, field: &str, schema: Option<&Json>) -> Option<Schema> {
        let schema = schema?;
        let compiled = self.allowance.pattern(schema).and_then(|largest| Schema::compile(schema, largest));
        let compiled = compiled.map_err(|error| format!("{field} is no JSON Schema that can be used: {error}"));
        self.take(Code::SchemaInvalid, field, compiled)
    }

    pub(super) fn parse_json(&mut self, task: &Task, constrain: bool) -> Option<Work> {
        let repairs = self.whole("repair_attempts", task.repair_attempts.unwrap_or(1), 0, MOST_REPAIRS);
        let schema = self.schema("output_schema", task.output_schema.as_ref());
        Some(Work::ParseJson { schema, repairs: u32::try_from(repairs).unwrap_or(1), constrain })
    }

    /// How a task is tried again.
    pub(super) fn retry(&mut self, task: &Task) -> Retry {
        let Some(policy) = &task.retry_policy else {
            return Retry::at_once(u32::try_from(task.retry_on_failure).unwrap_or(0));
        };
        if task.retry_on_failure > 0 {
            let message =
                "retry_on_failure has no effect beside retry_policy, whose max_attempts counts the first attempt too";
            self.tell(Severity::Warning, Code::UnusedField, "retry_on_failure", message);
        }
        let attempts = self.whole("retry_policy/max_attempts", policy.max_attempts.unwrap_or(3), 1, MOST_ATTEMPTS);
        Retry { attempts: u32::try_from(attempts).unwrap_or(1), backoff: Some(self.backoff(policy)) }
    }

    fn backoff(&mut self, policy: &RetryPolicy) -> Backoff {
        let initial = self.duration("retry_policy/initial_backoff", &policy.initial_backoff, LONGEST_WAIT);
        let longest = self.duration("retry_policy/max_backoff", &policy.max_backoff, LONGEST_WAIT);
        let classes = self.classes("retry_policy/retry_on", &policy.retry_on);
        for (at, class) in classes.iter().enumerate().filter(|(_, class)| is_final(**class)) {
            let message = format!("failures of class {} are never tried again", class.as_str());
            self.tell(Severity::Warning, Code::UnusedField, &format!("retry_policy/retry_on/{at}"), message);
        }
        Backoff {
            initial: initial.unwrap_or(Duration::from_millis(500)),
            rate: self.number("retry_policy/backoff_rate", policy.backoff_rate.unwrap_or(2.0), 1.0, 100.0),
            longest: longest.unwrap_or(Duration::from_secs(30)),
            jitter: self.number("retry_policy/jitter", policy.jitter.unwrap_or(1.0), 0.0, 1.0),
            classes: if policy.retry_on.is_empty() { USUAL_CLASSES.to_vec() } else { classes },
        }
    }

    pub(super) fn max_visits(&mut self, visits: i64) -> Option<u32> {
        let visits = self.whole("max_visits", visits, 0, i64::MAX);
        u32::try_from(visits).ok().filter(|visits| *visits > 0)
    }

    pub(super) fn catches(&mut self, catches: &[chain::Catch]) -> Vec<Catch> {
        let compiled = catches.iter().enumerate().filter_map(|(at, catch)| {
            let field = |name: &str| format!("transition/catch/{at}/{name}");
            let classes = self.classes(&field("errors"), &catch.errors);
            if classes.len() < catch.errors.len() {
                return None;
            }
            let (field, called) = (field("goto"), format!("catch {}: goto", at + 1));
            let goto = match catch.goto.as_str() {
                "" | END => {
                    let message = format!("{called} needs the task that takes over; 'end' is none");
                    self.find(Code::UnknownGoto, &field, message);
                    None
                }
                target => self.place(&field, &called, target),
            };
            goto.map(|goto| Catch { classes, goto })
        });
        compiled.collect()
    }

    pub(super) fn variable(&mut self, text: &str) -> Option<Path> {
        if text.trim().is_empty() {
            return None;
        }
        let path = Path::parse(text);
        let path =
            path.ok_or_else(|| format!("transition.variable is '{text}', which is no path such as extract.intent"));
        self.take(Code::UnknownValue, "transition/variable", path)
    }

    pub(super) fn fallbacks(&mut self, models: &[FallbackModel]) -> Vec<Fallback> {
        let compiled = models.iter().enumerate().filter_map(|(at, fallback)| {
            let field = format!("execute_config/fallback_models/{at}");
            if fallback.model.trim().is_empty() {
                self.find(Code::MissingField, &field, format!("fallback model {} has no name", at + 1));
                return None;
            }
            let provider = match fallback.provider.trim() {
                "" => None,
                name => {
                    let known = || ProviderKind::ALL.map(ProviderKind::as_str).join(", ");
                    let kind = ProviderKind::parse(name);
                    let kind = kind.ok_or_else(|| format!("unknown provider '{name}'; the providers are {}", known()));
                    Some(self.take(Code::UnknownValue, &format!("{field}/provider"), kind)?)
                }
            };
            Some(Fallback { model: fallback.model.clone(), provider })
        });
        compiled.collect()
    }

    /// The classes of a list; unknown ones are found and left out.
    fn classes(&mut self, field: &str, names: &[String]) -> Vec<FailureClass> {
        let read = names.iter().enumerate().filter_map(|(at, name)| {
            let class = FailureClass::parse(name).ok_or_else(|| {
                let known = FailureClass::ALL.map(FailureClass::as_str).join(", ");
                format!("unknown error class '{name}'; the classes are {known}")
            });
            self.take(Code::UnknownValue, &format!("{field}/{at}"), class)
        });
        read.collect()
    }

    /// A whole number between bounds; else a finding and the lower bound.
    fn whole(&mut self, field: &str, number: i64, least: i64, most: i64) -> i64 {
        if (least..=most).contains(&number) {
            return number;
        }
        let range = if most == i64::MAX { format!("at least {least}") } else { format!("from {least} to {most}") };
        self.find(Code::BadRange, field, format!("{} is {number}, it can be {range}", dotted(field)));
        least
    }

    /// A number between bounds; else a finding and the lower bound.
    fn number(&mut self, field: &str, number: f64, least: f64, most: f64) -> f64 {
        if (least..=most).contains(&number) {
            return number;
        }
        self.find(Code::BadRange, field, format!("{} is {number}, it can be from {least} to {most}", dotted(field)));
        least
    }

    /// A positive duration up to a bound, where one is written.
    fn duration(&mut self, field: &str, text: &str, most: Duration) -> Option<Duration> {
        let text = match text.trim() {
            "" => return None,
            text => text,
        };
        let name = dotted(field);
        match duration::parse(text).filter(|duration| !duration.is_zero()) {
            None => {
                let message = format!("{name} '{text}' is no positive duration such as 500ms, 10s or 1m30s");
                self.find(Code::BadDuration, field, message);
                None
            }
            Some(duration) if duration > most => {
                self.find(Code::BadRange, field, format!("{name} is {text}, the most is {}h", most.as_secs() / 3600));
                None
            }
            duration => duration,
        }
    }
}

fn dotted(field: &str) -> String {
    field.replace('/', ".")
}

#[cfg(test)]
mod tests;
