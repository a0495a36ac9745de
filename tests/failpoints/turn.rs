//! What is done while something breaks, and what each request may be told then.

use penstock::{faults::Kind, runtime::SystemActor};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

/// One kind of work of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// More calls than there are slots, streamed and not, in both dialects.
    Calls,
    /// One that leaves while it waits.
    Leave,
    /// One that waits too long.
    Expire,
    /// Embeddings that are made in batches.
    Embed,
    /// Identical calls that are made once.
    Share,
    /// Chains that end, that are cancelled and that are left.
    Runs,
    /// A look at a run.
    Snapshot,
    /// A change of the configuration.
    Change,
    /// A change, while the store cannot be read.
    FailToRead,
    /// A model that is downloaded, and one whose download is cancelled.
    Download,
    /// Somebody listens to downloads.
    Listen,
    /// A backend that fails and refuses.
    Trouble,
    /// The actor of the main backend crashes.
    CrashBackend,
    /// The actor of the main pool crashes.
    CrashPool,
    /// An actor of the top crashes.
    Crash(SystemActor),
}

/// How much a request has to do with what breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stake {
    /// Nothing: it must succeed.
    None,
    /// It may fail.
    Some,
    /// It must fail like this, if nothing breaks.
    Fails(u16),
    /// It may be refused, or fail, although nothing breaks.
    Refusable,
}

/// What a request was told.
pub struct Told {
    what: String,
    stake: Stake,
    /// The status, why it was refused, whether it was told when to come back, and the body.
    answer: Result<(u16, String, bool, String), String>,
}

impl Told {
    /// Sends a request and reads its answer, as far as it comes.
    pub async fn of(what: impl Into<String>, stake: Stake, request: RequestBuilder) -> Self {
        let answer = async {
            let answer = request.send().await?;
            let status = answer.status().as_u16();
            let header =
                |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap_or_default().to_owned());
            let (reason, comes_back) =
                (header("x-penstock-reason").unwrap_or_default(), header("retry-after").is_some());
            Ok::<_, reqwest::Error>((status, reason, comes_back, answer.text().await?))
        };
        let answer = answer.await.map_err(|error| format!("{error:?}"));
        Self { what: what.into(), stake, answer }
    }

    /// Nobody waits for it.
    pub fn nothing() -> Self {
        Self { what: String::new(), stake: Stake::Some, answer: Ok((200, String::new(), false, "{}".to_owned())) }
    }

    /// Whether all went as if nothing had broken.
    pub fn is_well(&self) -> Result<(), String> {
        let well = match (&self.answer, self.stake) {
            (Ok((status, ..)), Stake::Fails(wanted)) => *status == wanted,
            (Ok(_), Stake::Refusable) => return self.verdict(),
            (Ok((200..300, .., text)), _) => ending(text) == Ending::Whole,
            _ => false,
        };
        if well { Ok(()) } else { Err(format!("{}: {:?}", self.what, self.answer)) }
    }

    /// Panics unless the request got one answer that is whole or says that it is not.
    #[track_caller]
    pub fn check(&self, stage: &str, kind: Kind) {
        self.check_last(stage, kind);
        if self.stake == Stake::None {
            self.is_well().unwrap_or_else(|told| panic!("{kind:?} at {stage} was told to another: {told}"));
        }
    }

    /// The same at the end of a process, which ends everybody.
    #[track_caller]
    pub fn check_last(&self, stage: &str, kind: Kind) {
        self.verdict().unwrap_or_else(|told| panic!("{kind:?} at {stage}: {told}"));
    }

    fn verdict(&self) -> Result<(), String> {
        let told = match &self.answer {
            Err(error) => Err(format!("no answer: {error}")),
            Ok((200..300, .., text)) if ending(text) == Ending::Cut => Err(format!("cut without a word: {text:?}")),
            Ok((200..300, ..)) => Ok(()),
            Ok((503, reason, true, text)) if !reason.is_empty() && says_why(text) => Ok(()),
            Ok((500 | 502, _, _, text)) if says_why(text) => Ok(()),
            Ok((status, _, _, text)) if self.stake == Stake::Fails(*status) && says_why(text) => Ok(()),
            Ok(other) => Err(format!("{other:?}")),
        };
        told.map_err(|told| format!("{}: {told}", self.what))
    }
}

fn says_why(body: &str) -> bool {
    serde_json::from_str::<Value>(body).is_ok_and(|body| match &body["error"] {
        Value::String(words) => !words.is_empty(),
        Value::Object(error) => error["message"].as_str().is_some_and(|words| !words.is_empty()),
        _ => false,
    })
}

/// How a body ends.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    Whole,
    /// In words that say it is not whole.
    Broken,
    Cut,
}

fn ending(body: &str) -> Ending {
    let last = body.trim_end().lines().last().unwrap_or_default();
    if last == "data: [DONE]" {
        return Ending::Whole;
    }
    let is_event = last.starts_with("data: ");
    let Ok(value) = serde_json::from_str::<Value>(last.trim_start_matches("data: ")) else { return Ending::Cut };
    let is_piece = is_event || value.get("done").is_some();
    match (value.get("error").is_some_and(|error| !error.is_null()), is_piece) {
        (true, _) => Ending::Broken,
        (false, true) if value["done"] != true => Ending::Cut,
        (false, _) => Ending::Whole,
    }
}

/// A request with a JSON body, perhaps to one pool.
pub fn json(client: &crate::support::Client, method: Method, path: &str, pool: &str, body: &Value) -> RequestBuilder {
    let request = client.request(method, path).header("content-type", "application/json").body(body.to_string());
    if pool.is_empty() { request } else { request.header("x-penstock-pool", pool) }
}
