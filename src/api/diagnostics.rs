//! What is said about a chain in a request: every finding, with its place in the body as it was sent (`docs/api.md`,
//! diagnostics).
//!
//! Routes that take chains read their body with [`read`]; when they refuse it, [`refused`] adds to the error what a check
//! of the whole document finds. Bodies that are in order pay for none of this.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Api, registry};
use crate::{
    dialect::{
        document::{Document, DocumentError},
        loose,
        source::{self, Source},
    },
    domain::chain::Chain,
    engine::{self, Checked, Finding, InvalidChain, Program, Severity, Written},
    error::{Error, ErrorCode},
};

/// Findings of one answer.
const MOST_SHOWN: usize = 200;
/// Findings among the warnings of one answer.
const MOST_WARNINGS: usize = 9;
/// Larger bodies are looked through on a thread of their own.
const CHECKED_IN_PLACE_BYTES: usize = 64 << 10;

/// A body that was read.
pub(super) struct Sent<T> {
    /// What it says.
    pub(super) value: T,
    /// Its text, for what there may be to say about it.
    pub(super) source: Source,
    /// It has fields that were ignored.
    pub(super) has_unknown: bool,
}

/// A document and everything that there is to say about it.
pub(super) struct Examined {
    /// Names of fields as sent.
    document: Value,
    source: Source,
    /// The chain in it.
    pub(super) checked: Checked,
    /// Findings in the order of the text, those of the text itself included.
    pub(super) findings: Vec<Finding>,
}

/// Findings as an answer shows them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Shown {
    /// In the order of the text.
    pub(super) diagnostics: Vec<Finding>,
    /// How many there are beside these.
    #[serde(rename = "moreDiagnostics", skip_serializing_if = "Option::is_none")]
    pub(super) more: Option<usize>,
}

/// Reads a body that holds a chain.
///
/// # Errors
/// 400 with diagnostics.
pub(super) async fn read<T: DeserializeOwned>(
    document: Result<Document, DocumentError>,
    written: Written,
) -> Result<Sent<T>, Error> {
    let Document { value, source } = document.map_err(|error| unreadable(&error))?;
    match loose::from_value_noting(value) {
        Ok((value, has_unknown)) => Ok(Sent { value, source, has_unknown }),
        Err(error) => Err(refused(Error::invalid(format!("the request body: {error}")), source, written).await),
    }
}

/// Compiles the chain of a body; gives it back with its program.
///
/// # Errors
/// What `refuse` makes of a chain that cannot run, with diagnostics.
pub(super) async fn compile(
    chain: Chain,
    source: Source,
    written: Written,
    refuse: impl FnOnce(String) -> Error,
) -> Result<(Chain, Arc<Program>, Source), Error> {
    let (chain, compiled) = compiled(chain, source.size()).await?;
    match compiled {
        Ok(program) => Ok((chain, Arc::new(program), source)),
        Err(invalid) => Err(refused(refuse(invalid.to_string()), source, written).await),
    }
}

/// Compiles a chain that takes so many bytes as text: a large one on a thread of its own.
///
/// # Errors
/// Faults of ours.
pub(super) async fn compiled(chain: Chain, bytes: usize) -> Result<(Chain, Result<Program, InvalidChain>), Error> {
    let compile = move || {
        let compiled = engine::compile(&chain);
        (chain, compiled)
    };
    if bytes <= CHECKED_IN_PLACE_BYTES {
        return Ok(compile());
    }
    let fault = |error| Error::new(ErrorCode::Internal, "the chain could not be compiled").with_detail(error);
    tokio::task::spawn_blocking(compile).await.map_err(|error: tokio::task::JoinError| fault(error))
}

/// Adds to an error what a check of the body finds.
pub(super) async fn refused(error: Error, source: Source, written: Written) -> Error {
    match examine(source, Some(written)).await {
        Ok(examined) => with(error, shown(examined.findings, examined.checked.more)),
        Err(_) => error,
    }
}

/// Adds to an error what was found in a chain that was sent earlier.
pub(super) fn refused_later(error: Error, findings: Vec<Finding>) -> Error {
    with(error, shown(findings, 0))
}

/// The error of a body that cannot be read.
pub(super) fn unreadable(error: &DocumentError) -> Error {
    let refused = Error::invalid(error.to_string());
    match error {
        DocumentError::Malformed { finding, .. } => with(refused, shown(vec![(**finding).clone()], 0)),
        DocumentError::UnsupportedMediaType(_) | DocumentError::BadHeader(_) => refused,
    }
}

/// Fields of a valid body that were ignored, as warnings of its answer.
pub(super) async fn ignored_fields(source: Source, written: Written) -> Vec<String> {
    let Ok(examined) = examine(source, Some(written)).await else { return Vec::new() };
    let is_ignored = |finding: &&Finding| finding.code == engine::Code::UnknownField;
    examined.findings.iter().filter(is_ignored).map(in_a_line).collect()
}

/// Looks through a whole body. `written`: what it should be; `None`: a chain or a request.
///
/// # Errors
/// The finding of a text that cannot be read after all.
pub(super) async fn examine(source: Source, written: Option<Written>) -> Result<Examined, Box<Finding>> {
    if source.size() <= CHECKED_IN_PLACE_BYTES {
        return examined(&source, written);
    }
    let looked = tokio::task::spawn_blocking(move || examined(&source, written)).await;
    looked.unwrap_or_else(|_| Err(Box::new(gave_up())))
}

fn examined(source: &Source, written: Option<Written>) -> Result<Examined, Box<Finding>> {
    let (document, source) = source::read(source.format(), source.bytes()).map_err(|refused| refused.finding)?;
    let mut checked = match written {
        None => engine::check(&document),
        Some(Written::Chain) => engine::check_chain(&document),
        Some(Written::Request) => engine::check_request(&document),
    };
    let mut findings = std::mem::take(&mut checked.findings);
    findings.extend(source.findings());
    source.locate(&mut findings);
    in_order(&mut findings);
    Ok(Examined { document, source, checked, findings })
}

impl Examined {
    /// Adds findings whose paths are canonical pointers into the chain.
    pub(super) fn add(&mut self, mut findings: Vec<Finding>) {
        self.checked.spell(&self.document, &mut findings);
        self.source.locate(&mut findings);
        self.findings.extend(findings);
        in_order(&mut self.findings);
    }
}

/// In the order of the text; what has no place comes last.
pub(super) fn in_order(findings: &mut [Finding]) {
    let place = |finding: &Finding| (finding.line.is_none(), finding.line, finding.column, finding.severity);
    findings.sort_by_key(place);
}

/// As many findings as one answer shows, errors first of all.
pub(super) fn shown(mut findings: Vec<Finding>, more: usize) -> Shown {
    let more = more + findings.len().saturating_sub(MOST_SHOWN);
    if findings.len() > MOST_SHOWN {
        findings.sort_by_key(|finding| finding.severity);
        findings.truncate(MOST_SHOWN);
        in_order(&mut findings);
    }
    Shown { diagnostics: findings, more: (more > 0).then_some(more) }
}

fn with(error: Error, shown: Shown) -> Error {
    let Shown { diagnostics, more } = shown;
    let error = error.with_field("diagnostics", serde_json::to_value(diagnostics).unwrap_or_default());
    match more {
        Some(more) => error.with_field("moreDiagnostics", json!(more)),
        None => error,
    }
}

/// What a valid body may not mean as it says it, as warnings of its answer. Repaired lines are told with the body.
pub(super) async fn warnings(api: &Api, source: Source, written: Written) -> Vec<String> {
    let Ok(mut examined) = examine(source, Some(written)).await else { return Vec::new() };
    examined.add(registry::missing(api, &examined.checked.chain).await);
    let is_new =
        |finding: &&Finding| finding.severity == Severity::Warning && finding.code != engine::Code::UnquotedColon;
    let mut lines: Vec<String> = examined.findings.iter().filter(is_new).map(in_a_line).collect();
    let more = examined.checked.more + lines.len().saturating_sub(MOST_WARNINGS);
    if more > 0 {
        lines.truncate(MOST_WARNINGS);
        lines.push(format!("and {more} more: POST /taskchains/validate lists them"));
    }
    lines
}

fn in_a_line(finding: &Finding) -> String {
    let place = finding.line.zip(finding.column).map(|(line, column)| format!("line {line}, column {column}: "));
    let hint = finding.hint.as_ref().map(|hint| format!("; {hint}"));
    format!("{}{finding}{}", place.unwrap_or_default(), hint.unwrap_or_default())
}

fn gave_up() -> Finding {
    Finding {
        severity: Severity::Error,
        code: engine::Code::Syntax,
        message: "the document could not be looked through; see the server's log".to_owned(),
        path: String::new(),
        line: None,
        column: None,
        hint: None,
        task: None,
    }
}
