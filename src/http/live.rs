//! The steps of a run as server-sent events (`docs/api.md`, live steps).

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use serde_json::json;

use super::{
    events::{encode, failure},
    service::stopping,
};
use crate::{
    api::{
        Reply, ReplyBody,
        live::{LiveEvent, LiveRun},
    },
    runtime::run::steps::StepEvent,
    shutdown::Drain,
};

/// The events of a run, encoded. One that outlives the time for work ends with the error of that.
pub(super) fn events(run: LiveRun, drain: Drain) -> impl Stream<Item = Bytes> + Send + 'static {
    let told = stream::unfold(Some((run.into_stream(), drain)), |told| async move {
        let (mut run, drain) = told?;
        match drain.piece(run.next()).await {
            Some(event) => Some((event?, Some((run, drain)))),
            None => Some((LiveEvent::End(Box::new(Err(stopping()))), None)),
        }
    });
    told.flat_map(|event| match event {
        LiveEvent::Step(StepEvent::Started(step)) => stream::iter(vec![of("task.started", &step)]),
        LiveEvent::Step(StepEvent::Retrying(step)) => stream::iter(vec![of("task.retrying", &step)]),
        LiveEvent::Step(StepEvent::Ended(step)) => {
            stream::iter(vec![of(if step.has_failed() { "task.failed" } else { "task.completed" }, &step)])
        }
        LiveEvent::End(end) => stream::iter(match *end {
            Ok(reply) => success(&reply),
            Err(error) => vec![failure(&error)],
        }),
    })
}

/// What would be headers and body of the answer.
fn success(reply: &Reply) -> Vec<Bytes> {
    let body = match &reply.body {
        ReplyBody::Json(body) => String::from_utf8_lossy(body.trim_ascii_end()).into_owned(),
        _ => "null".to_owned(),
    };
    let warning = |warning: &String| of("warning", &json!({ "warning": warning }));
    reply.warnings.iter().map(warning).chain([encode(Some("result"), &body)]).collect()
}

fn of(name: &str, data: &impl Serialize) -> Bytes {
    encode(Some(name), &serde_json::to_string(data).unwrap_or_default())
}
