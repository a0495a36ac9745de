//! A scenario: who answers, what is asked, how much of it, and what must come of it. One TOML file, with its purpose.
//!
//! `scenarios/` has those that come along; `docs/performance.md` says how to write another.

mod bound;
mod load;
mod question;

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

pub(crate) use self::question::MARKER;
pub use self::{
    bound::{Bound, Reference},
    load::{Arrivals, Load},
    question::{Kind, Question},
};
use crate::fleet::BackendSpec;

/// A scenario as it is written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The file's name without its ending.
    #[serde(skip)]
    pub name: String,
    /// What it is for: which question its figures answer.
    pub purpose: String,
    /// Simulated backends, in a process of their own.
    pub backends: Vec<BackendSpec>,
    /// How Penstock is set up; other targets have settings of their own.
    #[serde(default)]
    pub server: ServerSettings,
    /// What is asked.
    pub questions: Vec<Question>,
    /// How much of it.
    pub load: Load,
    /// What does not void a turn.
    #[serde(default)]
    pub allow: Allowances,
    /// Memory is watched for so long after a turn, in seconds.
    #[serde(default)]
    pub rest_seconds: f64,
    /// At most so many rounds count, whatever is asked for: of long scenarios.
    pub rounds: Option<usize>,
    /// What must come of it.
    #[serde(default)]
    pub bounds: Vec<Bound>,
}

/// How Penstock is set up.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// Its settings, as environment variables.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Fields of its pool for texts, as `PUT /pools/{id}` takes them.
    pub pool: Option<serde_json::Map<String, serde_json::Value>>,
}

/// What may happen besides whole answers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowances {
    /// Statuses other than 200: these requests count as refused.
    #[serde(default)]
    pub statuses: Vec<u16>,
    /// Streams that end in an error they tell of, and connections that are lost: these requests count as failed.
    #[serde(default)]
    pub failures: bool,
}

impl Scenario {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// With the file's name, and the field that is wrong.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("{shown} cannot be read"))?;
        let name = path.file_stem().and_then(|stem| stem.to_str()).context("a scenario's file needs a name")?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(name, &text, folder).with_context(|| format!("{shown} is no scenario"))
    }

    /// Reads and checks a text; files that it names are looked for in the folder.
    ///
    /// # Errors
    /// With the field that is wrong.
    pub fn parse(name: &str, text: &str, folder: &Path) -> Result<Self> {
        let mut scenario: Self = toml::from_str(text)?;
        name.clone_into(&mut scenario.name);
        scenario.check()?;
        scenario.questions.iter_mut().try_for_each(|question| question.load_chain(folder))?;
        Ok(scenario)
    }

    fn check(&self) -> Result<()> {
        ensure!(!self.purpose.trim().is_empty(), "`purpose` is empty: say which question this scenario answers");
        ensure!(!self.backends.is_empty(), "`backends` is empty: nothing would answer");
        ensure!(!self.questions.is_empty(), "`questions` is empty: nothing would be asked");
        ensure!(self.rounds != Some(0), "`rounds` is 0: nothing would count");
        ensure!((0.0..=3600.0).contains(&self.rest_seconds), "`rest_seconds` must be between 0 and 3600");
        for backend in &self.backends {
            backend.check().map_err(|wrong| anyhow::anyhow!("`backends`: {wrong}"))?;
        }
        for question in &self.questions {
            question.check().context("`questions`")?;
        }
        self.load.check().context("`load`")?;
        for bound in &self.bounds {
            bound.check(&self.load).context("`bounds`")?;
        }
        if self.allow.statuses.contains(&200) {
            bail!("`allow.statuses`: 200 is always allowed");
        }
        Ok(())
    }

    /// Words that each answer has; the same of all backends, so that any of them can be checked.
    pub fn words(&self) -> Option<usize> {
        let mut words = self.backends.iter().map(|backend| backend.words);
        let first = words.next()?;
        words.all(|other| other == first).then_some(first)
    }

    /// Whether both can be played on the same servers.
    pub fn shares_servers_with(&self, other: &Self) -> bool {
        self.backends == other.backends && self.server == other.server
    }
}
