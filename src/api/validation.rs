//! `POST /taskchains/validate`: all there is to say about a chain, without running or storing it (`docs/api.md`,
//! diagnostics).

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api, Reply,
    diagnostics::{self, Shown},
    registry,
};
use crate::{
    dialect::{
        document::{Document, DocumentError},
        source::Source,
    },
    engine::{Finding, Severity},
    error::Error,
};

#[derive(Serialize, ToSchema)]
#[schema(as = Validation)]
pub(super) struct Answer {
    result: &'static str,
    #[serde(flatten)]
    shown: Shown,
}

/// Checks a chain, or a request with one. `strict`: warnings count, too.
///
/// # Errors
/// None but faults of ours: a body that cannot be read is an answer.
pub async fn validate(api: &Api, document: Result<Document, DocumentError>, strict: bool) -> Result<Reply, Error> {
    let (findings, more) = match document {
        Ok(Document { source, .. }) => looked_through(api, source).await,
        Err(DocumentError::Malformed { finding, .. }) => (vec![*finding], 0),
        Err(error) => return Err(diagnostics::unreadable(&error)),
    };
    let counts = |finding: &Finding| strict || finding.severity == Severity::Error;
    let result = if findings.iter().any(counts) { "FAIL" } else { "OK" };
    Reply::json(&Answer { result, shown: diagnostics::shown(findings, more) })
}

async fn looked_through(api: &Api, source: Source) -> (Vec<Finding>, usize) {
    match diagnostics::examine(source, None).await {
        Ok(mut examined) => {
            examined.add(registry::missing(api, &examined.checked.chain).await);
            (examined.findings, examined.checked.more)
        }
        Err(finding) => (vec![*finding], 0),
    }
}
