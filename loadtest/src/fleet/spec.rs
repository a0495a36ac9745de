//! A simulated backend as it is written in a scenario.

use std::time::Duration;

use serde::Deserialize;

use crate::sim::{Batching, Delay, Engine, Profile, Rule};

/// One `[[backends]]` of a scenario, or several alike.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendSpec {
    /// What Penstock calls it; its type and number if it has none.
    pub name: Option<String>,
    /// Which server it is.
    pub dialect: Dialect,
    /// So many alike.
    #[serde(default = "one")]
    pub count: usize,
    /// Models that it serves.
    #[serde(default = "models")]
    pub models: Vec<String>,
    /// Calls that it works on at once, others wait; and what Penstock is told of it.
    pub slots: Option<usize>,
    /// How long an answer takes before its first byte; no time if it is left out.
    pub delay: Option<DelaySpec>,
    /// Words of an answer.
    #[serde(default = "words")]
    pub words: usize,
    /// Pause before each word of a stream, in milliseconds.
    pub chunk_ms: Option<f64>,
    /// An engine that works on several answers at once, in place of `slots`, `delay` and `chunk_ms`.
    pub batching: Option<BatchingSpec>,
    /// What some of its answers meet.
    #[serde(default)]
    pub faults: Vec<FaultSpec>,
    /// When nobody can connect to it.
    pub down: Option<Down>,
    /// Of what is random.
    #[serde(default)]
    pub seed: u64,
}

fn one() -> usize {
    1
}

fn models() -> Vec<String> {
    vec!["chat:1b".to_owned(), "embed:1b".to_owned()]
}

fn words() -> usize {
    20
}

/// Which server a backend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Ollama.
    Ollama,
    /// OpenAI's own.
    Openai,
    /// vLLM.
    Vllm,
    /// llama.cpp's server.
    Llamacpp,
    /// Gemini.
    Gemini,
}

impl Dialect {
    /// What Penstock calls its type.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::Openai | Self::Llamacpp => "openai",
            Self::Vllm => "vllm",
            Self::Gemini => "gemini",
        }
    }
}

/// How long answers take.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DelaySpec {
    /// Always the same, in milliseconds.
    FixedMs(f64),
    /// Mostly short, sometimes long.
    Lognormal {
        /// Half of them are shorter.
        median_ms: f64,
        /// The standard deviation of its logarithm.
        sigma: f64,
    },
}

/// See [`Batching`].
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchingSpec {
    /// Answers at once.
    pub slots: usize,
    /// Microseconds to read a token of a prompt.
    pub prefill_us_per_token: f64,
    /// Tokens that are read in a step, at most.
    pub prefill_tokens_per_step: usize,
    /// Milliseconds of a step with one answer.
    pub step_ms: f64,
    /// Per cent that each further answer adds to it.
    pub slower_percent: f64,
}

/// What a share of the answers meets: one of the fields besides `share`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// How many of the answers, 0 to 1.
    pub share: f64,
    /// They have this status,
    pub status: Option<u16>,
    /// with this `Retry-After`;
    pub retry_after_s: Option<u64>,
    /// or the connection closes after so many words;
    pub cut_after_words: Option<usize>,
    /// or it closes before the answer;
    #[serde(default)]
    pub close: bool,
    /// or nothing ever comes.
    #[serde(default)]
    pub hang: bool,
}

/// When nobody can connect: for so long at the end of each period.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Down {
    /// The period in seconds.
    pub every_s: f64,
    /// The part of it in which it is down.
    pub for_s: f64,
}

impl BackendSpec {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// With the field that does not.
    pub fn check(&self) -> Result<(), String> {
        let milliseconds = |value: f64| (0.0..=600_000.0).contains(&value);
        let ensure = |fits: bool, why: &str| if fits { Ok(()) } else { Err(why.to_owned()) };
        ensure((1..=256).contains(&self.count), "`count` must be 1 to 256")?;
        ensure((1..=100_000).contains(&self.words), "`words` must be 1 to 100000")?;
        ensure(!self.models.is_empty(), "`models` is empty")?;
        ensure(self.slots != Some(0), "`slots` is 0: nothing would be answered")?;
        ensure(self.chunk_ms.is_none_or(milliseconds), "`chunk_ms` must be 0 to 600000")?;
        match self.delay {
            Some(DelaySpec::FixedMs(delay)) => ensure(milliseconds(delay), "`delay.fixed_ms` must be 0 to 600000")?,
            Some(DelaySpec::Lognormal { median_ms, sigma }) => {
                ensure(milliseconds(median_ms), "`delay.lognormal.median_ms` must be 0 to 600000")?;
                ensure((0.0..=3.0).contains(&sigma), "`delay.lognormal.sigma` must be 0 to 3")?;
            }
            None => {}
        }
        if let Some(batching) = self.batching {
            ensure(batching.slots > 0, "`batching.slots` is 0: nothing would be answered")?;
            ensure(batching.prefill_tokens_per_step > 0, "`batching.prefill_tokens_per_step` is 0")?;
            ensure(milliseconds(batching.step_ms), "`batching.step_ms` must be 0 to 600000")?;
            ensure(milliseconds(batching.prefill_us_per_token), "`batching.prefill_us_per_token` must be 0 to 600000")?;
            ensure((0.0..=1000.0).contains(&batching.slower_percent), "`batching.slower_percent` must be 0 to 1000")?;
            let alone = self.slots.is_none() && self.delay.is_none() && self.chunk_ms.is_none();
            ensure(alone, "`batching` stands in place of `slots`, `delay` and `chunk_ms`")?;
        }
        for fault in &self.faults {
            ensure((0.0..=1.0).contains(&fault.share), "`faults.share` must be 0 to 1")?;
            let kinds = [fault.status.is_some(), fault.cut_after_words.is_some(), fault.close, fault.hang];
            let kinds = kinds.into_iter().filter(|kind| *kind).count();
            ensure(kinds == 1, "`faults`: one of `status`, `cut_after_words`, `close`, `hang` each")?;
            ensure(
                fault.status.is_none_or(|status| (400..600).contains(&status)),
                "`faults.status` must be 400 to 599",
            )?;
            ensure(fault.retry_after_s.is_none() || fault.status.is_some(), "`faults.retry_after_s` needs a `status`")?;
        }
        ensure(
            self.faults.iter().map(|fault| fault.share).sum::<f64>() <= 1.0,
            "`faults`: the shares are more than 1 in all",
        )?;
        if let Some(Down { every_s, for_s }) = self.down {
            let fits = for_s > 0.0 && every_s > for_s && every_s <= 86_400.0;
            ensure(fits, "`down`: `for_s` must be above 0 and less than `every_s`")?;
        }
        Ok(())
    }

    /// Calls that it works on at once, if that is bounded.
    pub(crate) fn bound(&self) -> Option<usize> {
        self.slots.or(self.batching.map(|batching| batching.slots))
    }

    /// How it behaves; needs a runtime if it has an engine.
    pub(crate) fn profile(&self, seed: u64) -> Profile {
        let millis = |millis: f64| Duration::from_secs_f64(millis / 1000.0);
        let delay = match self.delay {
            None => Delay::None,
            Some(DelaySpec::FixedMs(delay)) => Delay::Fixed(millis(delay)),
            Some(DelaySpec::Lognormal { median_ms, sigma }) => Delay::Lognormal { median: millis(median_ms), sigma },
        };
        let profile = Profile::new(delay, self.words, self.chunk_ms.map(millis), seed);
        let profile = self.faults.iter().fold(profile, |profile, fault| profile.fault(fault.share, self.rule(fault)));
        match self.batching {
            None => profile,
            Some(batching) => profile.engine(Engine::start(Batching {
                slots: batching.slots,
                prefill_per_token: millis(batching.prefill_us_per_token / 1000.0),
                prefill_tokens_per_step: batching.prefill_tokens_per_step,
                step: millis(batching.step_ms),
                slower: batching.slower_percent / 100.0,
            })),
        }
    }

    fn rule(&self, fault: &FaultSpec) -> Rule {
        let mut rule = Rule::always();
        if let Some(pause) = self.chunk_ms {
            rule = rule.chunk_delay(Duration::from_secs_f64(pause / 1000.0));
        }
        if let Some(status) = fault.status {
            rule = rule.status(status);
        }
        if let Some(seconds) = fault.retry_after_s {
            rule = rule.header("retry-after", seconds.to_string());
        }
        if let Some(words) = fault.cut_after_words {
            rule = rule.cut_after(words);
        }
        if fault.close {
            rule = rule.close_before_headers();
        }
        if fault.hang {
            rule = rule.hang_before_headers();
        }
        rule
    }
}
