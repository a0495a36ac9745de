//! What is asked: a kind of request, how large it is, and how its client behaves.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

/// A question as it is written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Which route, and in which form.
    pub kind: Kind,
    /// How many of these there are among the others.
    #[serde(default = "one")]
    pub share: u32,
    /// Bytes of the prompt.
    #[serde(default = "kilobyte")]
    pub prompt_bytes: usize,
    /// Of chains: the chain's file, JSON or YAML, beside the scenario.
    pub chain: Option<String>,
    /// A slow reader: kilobytes of the answer that it reads in a second.
    pub read_kb_per_s: Option<f64>,
    /// A client that leaves: after so many milliseconds, answered or not.
    pub hang_up_after_ms: Option<u64>,
    /// More headers, such as a deadline.
    #[serde(default)]
    pub headers: std::collections::BTreeMap<String, String>,
    /// The chain, read from its file.
    #[serde(skip)]
    pub chain_body: Option<Value>,
}

fn one() -> u32 {
    1
}

fn kilobyte() -> usize {
    1024
}

/// Which route, and in which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `POST /v1/chat/completions`, answered whole.
    Chat,
    /// The same as a stream of events.
    ChatStream,
    /// `POST /api/chat`, answered whole.
    OllamaChat,
    /// The same as a stream of lines.
    OllamaChatStream,
    /// `POST /v1/embeddings`.
    Embeddings,
    /// `POST /execute`; Penstock only.
    Prompt,
    /// `POST /tasks`; Penstock only.
    Chain,
}

/// The most bytes of a prompt.
const MOST_PROMPT_BYTES: usize = 8 << 20;
/// What the prompt ends in: a number of its own for every request, that the answer must bring back.
pub(crate) const MARKER: &str = "~00000000";
/// Lines of text with the escapes that prompts have.
const LINE: &str = "She said \"the sky is blue\", and went on to the next line of the text.\n";

impl Kind {
    /// Whether the answer is a stream.
    pub fn streams(self) -> bool {
        matches!(self, Self::ChatStream | Self::OllamaChatStream)
    }
}

impl Question {
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.share > 0, "`share` is 0: it would never be asked");
        let bytes = self.prompt_bytes;
        ensure!(self.read_kb_per_s.is_none_or(|rate| rate > 0.0 && rate < 1e9), "`read_kb_per_s` must be above 0");
        ensure!((1..=MOST_PROMPT_BYTES).contains(&bytes), "`prompt_bytes` must be 1 to {MOST_PROMPT_BYTES}");
        ensure!(
            (self.kind == Kind::Chain) == self.chain.is_some(),
            "`chain` is for questions of kind \"chain\", and they need it"
        );
        Ok(())
    }

    /// Reads the chain's file.
    pub(crate) fn load_chain(&mut self, folder: &Path) -> Result<()> {
        if let Some(file) = &self.chain {
            let path = folder.join(file);
            let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
            let chain = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
            self.chain_body = Some(chain);
        }
        Ok(())
    }

    /// Where it goes.
    pub fn path(&self) -> &'static str {
        match self.kind {
            Kind::Chat | Kind::ChatStream => "/v1/chat/completions",
            Kind::OllamaChat | Kind::OllamaChatStream => "/api/chat",
            Kind::Embeddings => "/v1/embeddings",
            Kind::Prompt => "/execute",
            Kind::Chain => "/tasks",
        }
    }

    /// The body, with `MARKER` once in it. The names are those that the target knows the models by.
    pub fn body(&self, chat_model: &str, embed_model: &str) -> String {
        let prompt = self.prompt();
        let messages = json!([{"role": "user", "content": prompt}]);
        match self.kind {
            Kind::Chat => json!({"model": chat_model, "messages": messages}),
            Kind::ChatStream => json!({"model": chat_model, "messages": messages, "stream": true}),
            Kind::OllamaChat => json!({"model": chat_model, "messages": messages, "stream": false}),
            Kind::OllamaChatStream => json!({"model": chat_model, "messages": messages, "stream": true}),
            Kind::Embeddings => json!({"model": embed_model, "input": prompt}),
            Kind::Prompt => json!({"prompt": prompt}),
            Kind::Chain => json!({"input": prompt, "inputType": "string", "chain": self.chain_body}),
        }
        .to_string()
    }

    /// Whether only Penstock has this route.
    pub fn is_of_penstock_alone(&self) -> bool {
        matches!(self.kind, Kind::Prompt | Kind::Chain)
    }

    /// The prompt, but for the number at its end.
    pub(crate) fn prompt_without_number(&self) -> String {
        let mut prompt = LINE.repeat(self.prompt_bytes / LINE.len() + 1);
        prompt.truncate(self.prompt_bytes.saturating_sub(MARKER.len() + 1));
        prompt.push(' ');
        prompt
    }

    fn prompt(&self) -> String {
        self.prompt_without_number() + MARKER
    }
}
