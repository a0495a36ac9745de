//! `penstock keys …`: API tokens of a server, and the secret that its stored keys are encrypted with
//! (`docs/operations.md`, tokens and secrets). Everything is asked of the running server.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value as Json, json};

use super::{
    client::{self, Answer, Call, CallError, Method, ServerArguments},
    output::{Color, complain, err, out},
};
use crate::domain::{time::Timestamp, token::Scope};

/// The server has refused it.
const EXIT_FAILED: u8 = 1;
/// The command is used in a way that makes no sense.
const EXIT_USAGE: u8 = 2;
/// There is no server, or none that answers as one.
const EXIT_NO_SERVER: u8 = 3;
/// Tokens a page.
const PAGE: usize = 1000;

#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a token and print it, this once: it is not kept.
    Create {
        /// What to call its owner.
        name: String,
        /// What it lets its owner do; may be given again.
        #[arg(long = "scope", value_enum, required = true)]
        scopes: Vec<ScopeName>,
        /// For how long, such as 90d, 12h or 30m; without it for ever.
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        /// Requests a minute that ask a model.
        #[arg(long, value_name = "REQUESTS")]
        rpm: Option<u64>,
        /// Of these at once.
        #[arg(long, value_name = "REQUESTS", requires = "rpm")]
        burst: Option<u64>,
        /// Tokens a minute, of prompts and answers.
        #[arg(long, value_name = "TOKENS")]
        tpm: Option<u64>,
        #[command(flatten)]
        server: ServerArguments,
    },
    /// List the tokens, without the tokens.
    List {
        /// As the server answers it.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArguments,
    },
    /// Make a token open nothing any more.
    Revoke {
        /// Its name or its id.
        #[arg(value_name = "TOKEN")]
        which: String,
        #[command(flatten)]
        server: ServerArguments,
    },
    /// Encrypt all stored keys with the new secret.
    ///
    /// The new secret is SECRET_KEY of the server, the former one SECRET_KEY_PREVIOUS; where a key file counts, it gets a
    /// new key.
    Rotate {
        #[command(flatten)]
        server: ServerArguments,
    },
}

/// A scope, as the command line spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScopeName {
    /// Ask models and run chains.
    Run,
    /// Look at the configuration and at what happens.
    Read,
    /// Everything.
    Admin,
}

impl ScopeName {
    const fn scope(self) -> Scope {
        match self {
            Self::Run => Scope::Run,
            Self::Read => Scope::Read,
            Self::Admin => Scope::Admin,
        }
    }
}

/// Why it was not done.
enum Problem {
    /// The command is not in order.
    Usage(String),
    /// The server has said no.
    Refused(String),
    /// There is no server.
    Gone(String),
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Usage(problem) => Self::Usage(problem),
            CallError::Gone(problem) => Self::Gone(problem),
        }
    }
}

/// Does what the arguments say.
pub(super) fn keys(arguments: &Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(EXIT_NO_SERVER, &format!("the runtime could not be started: {error}")),
    };
    match runtime.block_on(done(&arguments.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Problem::Usage(problem)) => complain(EXIT_USAGE, &problem),
        Err(Problem::Refused(problem)) => complain(EXIT_FAILED, &problem),
        Err(Problem::Gone(problem)) => complain(EXIT_NO_SERVER, &problem),
    }
}

async fn done(command: &Command) -> Result<(), Problem> {
    match command {
        Command::Create { name, scopes, expires, rpm, burst, tpm, server } => {
            let mut body = Map::new();
            let scopes: Vec<&str> = scopes.iter().map(|scope| scope.scope().as_str()).collect();
            body.insert("name".to_owned(), json!(name));
            body.insert("scopes".to_owned(), json!(scopes));
            if let Some(expires) = expires {
                body.insert("expiresAt".to_owned(), json!(end(expires)?.to_string()));
            }
            for (field, limit) in [("requestsPerMinute", rpm), ("requestBurst", burst), ("tokensPerMinute", tpm)] {
                if let Some(limit) = limit {
                    body.insert(field.to_owned(), json!(limit));
                }
            }
            let made = ask(server, Method::POST, "/tokens".to_owned(), Some(Json::Object(body))).await?;
            let token = made["token"].as_str().ok_or_else(|| Problem::Gone("the server gave no token".to_owned()))?;
            print(&format!("{token}\n"))?;
            err("Keep it: it is not shown again.\n", Color::Never);
            Ok(())
        }
        Command::List { json, server } => {
            let tokens = all(server).await?;
            if *json {
                return print(&format!("{}\n", Json::Array(tokens)));
            }
            print(&tokens.iter().map(line).collect::<String>())
        }
        Command::Revoke { which, server } => {
            let tokens = all(server).await?;
            let known = tokens.iter().find(|known| known["name"] == *which || known["id"] == *which);
            let id = known.and_then(|known| known["id"].as_str());
            let id = id.ok_or_else(|| Problem::Refused(format!("token '{which}' not found")))?;
            ask(server, Method::DELETE, format!("/tokens/{id}"), None).await?;
            Ok(())
        }
        Command::Rotate { server } => {
            let rotated = ask(server, Method::POST, "/keys/rotate".to_owned(), None).await?;
            let count = rotated["rotated"].as_u64().unwrap_or_default();
            let keys = if count == 1 { "key" } else { "keys" };
            print(&format!("{count} stored {keys} encrypted with the new secret\n"))
        }
    }
}

/// Every token, newest first.
async fn all(server: &ServerArguments) -> Result<Vec<Json>, Problem> {
    let mut tokens: Vec<Json> = Vec::new();
    loop {
        let before = tokens.last().and_then(|last| last["createdAt"].as_str());
        let cursor = before.map_or_else(String::new, |time| format!("&cursor={time}"));
        let page = ask(server, Method::GET, format!("/tokens?limit={PAGE}{cursor}"), None).await?;
        let Json::Array(page) = page else { return Err(Problem::Gone("the server gave no list".to_owned())) };
        let is_last = page.len() < PAGE;
        tokens.extend(page);
        if is_last {
            return Ok(tokens);
        }
    }
}

/// One token for people.
fn line(token: &Json) -> String {
    let text = |field: &str| token[field].as_str().unwrap_or_default().to_owned();
    let scopes = token["scopes"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let scopes = scopes.collect::<Vec<_>>().join(",");
    let end = token["expiresAt"].as_str().map_or_else(|| "never".to_owned(), str::to_owned);
    format!("{}  {:<24} {:<14} …{}  expires {end}\n", text("id"), text("name"), scopes, text("hint"))
}

/// When something ends that lasts so long from now.
fn end(length: &str) -> Result<Timestamp, Problem> {
    let problem = || Problem::Usage(format!("--expires '{length}' is no time such as 90d, 12h or 30m"));
    let (number, unit) = length.trim().split_at(length.trim().find(char::is_alphabetic).ok_or_else(problem)?);
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        _ => return Err(problem()),
    };
    let number: u32 = number.trim().parse().ok().filter(|number| *number > 0).ok_or_else(problem)?;
    Ok(Timestamp::now().after(std::time::Duration::from_secs(u64::from(number) * seconds)))
}

async fn ask(server: &ServerArguments, method: Method, path: String, body: Option<Json>) -> Result<Json, Problem> {
    let call = Call { method, path, accept: "application/json", body };
    let Answer::Whole(status, text) = client::send(server, call).await? else {
        return Err(Problem::Gone("the server answers with a stream".to_owned()));
    };
    let answer: Option<Json> = serde_json::from_str(&text).ok();
    match (status, answer) {
        (200..=299, Some(answer)) => Ok(answer),
        (_, Some(answer)) if answer["error"].is_string() => {
            Err(Problem::Refused(answer["error"].as_str().unwrap_or_default().to_owned()))
        }
        _ => Err(Problem::Gone(format!("what answers is no Penstock: status {status}"))),
    }
}

fn print(text: &str) -> Result<(), Problem> {
    out(text, Color::Never).map_err(|error| Problem::Usage(format!("the answer cannot be written: {error}")))
}
