//! `penstock chain run FILE`: runs a chain on a server, shows its steps, prints its output (`docs/workflow-spec.md`,
//! tools). Whoever interrupts it hangs up, which stops the run.

mod display;

use std::{io::Read, process::ExitCode, time::Duration};

use clap::Args;
use serde_json::{Map, Value as Json, json};

use self::display::Display;
use super::{
    EXIT_FAILED, EXIT_USAGE,
    file::TextFile,
    findings::{self, printable},
    printed,
};
use crate::{
    cli::{
        client::{self, Answer, Call, CallError, Method, ServerArguments, Steps},
        output::{Color, complain, err},
    },
    domain::{finding::Finding, spelling::folded, value::DataType},
};

/// There is no server, or none that answers as one.
const EXIT_NO_SERVER: u8 = 3;
const TICK: Duration = Duration::from_millis(100);

#[derive(Args)]
pub(super) struct RunArguments {
    /// The file with a chain or a request of POST /tasks; - for standard input.
    file: String,
    #[command(flatten)]
    server: ServerArguments,
    /// The input: a text, @FILE for what a file holds, - for standard input. Instead of the request's own.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    input: Option<String>,
    /// The type of the input.
    #[arg(long, value_name = "TYPE")]
    input_type: Option<String>,
    /// Print the whole answer instead of the output alone.
    #[arg(long)]
    json: bool,
}

/// How a run ended.
enum Ended {
    /// With this answer.
    Done(Json),
    /// With an error of this status.
    Failed(u16, Json),
}

pub(super) fn run(arguments: &RunArguments, color: Color) -> Result<ExitCode, String> {
    if arguments.file == "-" && arguments.input.as_deref() == Some("-") {
        return Err("the chain and its input cannot both come from standard input".to_owned());
    }
    let file = TextFile::read(&arguments.file)?;
    let document = match &file.document {
        Ok(document) => document,
        Err(finding) => {
            err(&findings::shown(&file, [&**finding]), color);
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let body = body(document, arguments)?;
    let call = Call {
        method: Method::POST,
        path: "/tasks".to_owned(),
        accept: "text/event-stream, application/json",
        body: Some(body),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime could not be started: {error}"))?;
    let mut display = Display::new(color);
    let ended = runtime.block_on(followed(&arguments.server, call, &mut display));
    display.end();
    match ended {
        Ok(Ended::Done(answer)) => {
            printed(&if arguments.json { format!("{answer}\n") } else { output(&answer) }, Color::Never)?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(Ended::Failed(status, answer)) => {
            if arguments.json {
                printed(&format!("{answer}\n"), Color::Never)?;
            }
            Ok(failed(&file, status, &answer, &mut display, color))
        }
        Err(CallError::Usage(problem)) => Err(problem),
        Err(CallError::Gone(problem)) => Ok(complain(EXIT_NO_SERVER, &printable(&problem))),
    }
}

/// The request: the one in the file, or one with the chain in the file; with the input of the command line.
fn body(document: &Json, arguments: &RunArguments) -> Result<Json, String> {
    let fields = document.as_object().ok_or("the file holds no chain: it is no object")?;
    let has = |wanted: &str| fields.keys().any(|name| folded(name) == wanted);
    let mut request = match has("chain") && !has("tasks") {
        true => fields.clone(),
        false => Map::from_iter([("chain".to_owned(), document.clone())]),
    };
    if let Some(input) = &arguments.input {
        let text = match input.strip_prefix('@') {
            Some(path) => TextFile::read(path)?.source.text().to_owned(),
            None if input == "-" => {
                let mut text = String::new();
                let read = std::io::stdin().lock().take(super::file::MAX_BYTES).read_to_string(&mut text);
                read.map_err(|error| format!("standard input cannot be read: {error}"))?;
                text
            }
            None => input.clone(),
        };
        request.retain(|name, _| !matches!(folded(name).as_str(), "input" | "inputtype"));
        let name = arguments.input_type.as_deref().unwrap_or("string");
        request.insert("input".to_owned(), typed(&text, name)?);
        request.insert("inputType".to_owned(), json!(name));
    } else if let Some(name) = &arguments.input_type {
        request.retain(|field, _| folded(field) != "inputtype");
        request.insert("inputType".to_owned(), json!(name));
    }
    if !request.keys().any(|name| folded(name) == "input") {
        request.insert("input".to_owned(), json!(""));
    }
    Ok(Json::Object(request))
}

/// A text as the JSON it is sent as.
fn typed(text: &str, name: &str) -> Result<Json, String> {
    let data_type: DataType = name.parse().map_err(|error| format!("--input-type: {error}"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    match data_type {
        // The server reads numbers and booleans from their text.
        DataType::String | DataType::Bool | DataType::Int | DataType::Float => Ok(json!(text)),
        _ => serde_json::from_str(text).map_err(|error| format!("the input is no JSON, as {data_type} needs: {error}")),
    }
}

async fn followed(server: &ServerArguments, call: Call, display: &mut Display) -> Result<Ended, CallError> {
    match client::send(server, call).await? {
        Answer::Steps(steps) => steps_to_end(steps, display).await,
        Answer::Whole(status, body) => {
            let json = serde_json::from_str(&body);
            match status {
                200 => json.map(Ended::Done).map_err(|_| strange("200 without JSON")),
                400.. => json.map(|json| Ended::Failed(status, json)).map_err(|_| strange(&format!("status {status}"))),
                _ => Err(strange(&format!("status {status}"))),
            }
        }
    }
}

fn strange(what: &str) -> CallError {
    CallError::Gone(format!("what answers there is no Penstock server: it says {what}; name another one with --server"))
}

async fn steps_to_end(mut steps: Steps, display: &mut Display) -> Result<Ended, CallError> {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        let event = tokio::select! {
            event = steps.next() => event?,
            _ = ticks.tick() => {
                display.tick();
                continue;
            }
        };
        let Some(event) = event else {
            return Err(CallError::Gone("the connection to the server ended before the run did".to_owned()));
        };
        let data: Json = serde_json::from_str(&event.data).map_err(|_| strange("events that are no JSON"))?;
        match event.name.as_str() {
            "result" => return Ok(Ended::Done(data)),
            "error" => {
                let status = data["status"].as_u64().and_then(|status| u16::try_from(status).ok());
                return Ok(Ended::Failed(status.unwrap_or(500), data["body"].clone()));
            }
            "warning" => display.warning(data["warning"].as_str().unwrap_or_default()),
            name => display.step(name, &data),
        }
    }
}

/// The output for standard output: text as it is, everything else as JSON.
fn output(answer: &Json) -> String {
    match &answer["output"] {
        Json::String(text) => format!("{text}\n"),
        other => format!("{other}\n"),
    }
}

/// Shows why there is no output.
fn failed(file: &TextFile, status: u16, answer: &Json, display: &mut Display, color: Color) -> ExitCode {
    let message = answer["error"].as_str().unwrap_or("the server does not say why");
    match status {
        400 | 422 => {
            let findings = findings_in(file, &answer["diagnostics"]);
            if findings.is_empty() {
                return complain(EXIT_USAGE, &printable(message));
            }
            err(&findings::shown(file, &findings), color);
            ExitCode::from(EXIT_USAGE)
        }
        401 | 403 => {
            complain(EXIT_USAGE, &format!("{}; give the token in PENSTOCK_TOKEN or with --token", printable(message)))
        }
        404 | 405 => complain(EXIT_NO_SERVER, &format!("{}; is it a Penstock server?", printable(message))),
        413 | 415 => complain(EXIT_USAGE, &printable(message)),
        _ => {
            display.failure(message);
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// The server's diagnostics with their places in the file, which it has not seen.
fn findings_in(file: &TextFile, diagnostics: &Json) -> Vec<Finding> {
    let in_request = file.checked().written == crate::engine::Written::Request;
    let read = |told: &Json| {
        let finding: Finding = serde_json::from_value(told.clone()).ok()?;
        let path = finding.path.as_str();
        let path = if in_request { path } else { path.strip_prefix("/chain").unwrap_or(path) };
        Some(Finding { path: path.to_owned(), line: None, column: None, ..finding })
    };
    diagnostics.as_array().into_iter().flatten().filter_map(read).collect()
}
