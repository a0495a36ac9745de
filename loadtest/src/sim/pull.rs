//! A running pull: the lines Ollama writes (`docs/backends.md`), the pauses a test asks for, the model at the end.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::Serialize;

use crate::sim::{
    answer::{Answer, Frame, json_line},
    gate::{Gate, Gates},
    hash,
    library::Library,
    model::SimModel,
};

/// What pulls need of the server.
#[derive(Clone)]
pub(crate) struct Puller {
    pub(crate) library: Arc<Library>,
    pub(crate) gates: Arc<Gates>,
    /// Between two lines about progress; a real server writes one about every 60 ms.
    pub(crate) interval: Duration,
}

/// One pull, driven by whoever reads its lines; dropped with them.
pub(crate) struct PullRun {
    puller: Puller,
    model: Arc<SimModel>,
    stage: Stage,
    /// Lines that are due without work.
    due: VecDeque<Bytes>,
    /// Gates to walk through once the due lines are read.
    ahead: Vec<Arc<Gate>>,
}

/// What is to be done when no line is due.
enum Stage {
    /// The weights; `told` is the percentage of the last line.
    Weights {
        told: Option<u8>,
    },
    Rest,
    Over,
}

#[derive(Serialize)]
struct Line<'a> {
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    /// Left out while it is 0, as Go does.
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<u64>,
}

impl Puller {
    pub(crate) fn start(&self, model: Arc<SimModel>) -> Box<PullRun> {
        let due = VecDeque::from([status("pulling manifest")]);
        Box::new(PullRun { puller: self.clone(), model, stage: Stage::Weights { told: None }, due, ahead: Vec::new() })
    }
}

impl PullRun {
    /// The next line; none after the last.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(line) = self.due.pop_front() {
                return Some(Frame::chunk(line));
            }
            for gate in std::mem::take(&mut self.ahead) {
                gate.pass().await;
            }
            match self.stage {
                Stage::Weights { told } => self.weights(told).await,
                Stage::Rest => self.rest(),
                Stage::Over => return None,
            }
        }
    }

    /// Runs to the end without a reader.
    pub(crate) async fn finish(mut self: Box<Self>) -> Answer {
        while self.next().await.is_some() {}
        Answer::json(200, &Line { status: "success", digest: None, total: None, completed: None })
    }

    /// One more line about the weights, and the gates behind it.
    async fn weights(&mut self, told: Option<u8>) {
        let name = &self.model.name;
        let tenths = match told {
            None => self.puller.library.tenths(name),
            Some(_) => {
                // With no interval this still lets other tasks run, so that a pull never blocks its thread.
                match self.puller.interval.is_zero() {
                    true => tokio::task::yield_now().await,
                    false => tokio::time::sleep(self.puller.interval).await,
                }
                self.puller.library.fetch(name)
            }
        };
        let percent = tenths * 10;
        let completed = self.model.size * u64::from(tenths) / 10;
        self.due.push_back(layer(&self.model.digest(), self.model.size, completed));
        self.stage = if tenths < 10 { Stage::Weights { told: Some(percent) } } else { Stage::Rest };
        self.ahead = self.puller.gates.between(told, percent);
    }

    /// The small layers and what follows them, at once.
    fn rest(&mut self) {
        for (part, size) in [("template", 136), ("parameters", 89), ("config", 487)] {
            let digest = hash::digest(&format!("{} {part}", self.model.name));
            self.due.extend([layer(&digest, size, 0), layer(&digest, size, size)]);
        }
        self.due.extend(["verifying sha256 digest", "writing manifest"].map(status));
        self.puller.library.finish(&self.model);
        self.due.push_back(status("success"));
        self.stage = Stage::Over;
    }
}

fn status(status: &str) -> Bytes {
    line(&Line { status, digest: None, total: None, completed: None })
}

fn layer(digest: &str, total: u64, completed: u64) -> Bytes {
    line(&Line {
        status: &format!("pulling {}", &digest[..12]),
        digest: Some(&format!("sha256:{digest}")),
        total: Some(total),
        completed: (completed > 0).then_some(completed),
    })
}

fn line(line: &Line<'_>) -> Bytes {
    let mut bytes = Vec::from(json_line(line));
    bytes.push(b'\n');
    bytes.into()
}

/// The lines of a pull that fails right after the manifest was asked for.
pub(crate) fn fails(error: &str) -> Vec<Frame> {
    #[derive(Serialize)]
    struct Failed<'a> {
        error: &'a str,
    }
    let mut last = Vec::from(json_line(&Failed { error }));
    last.push(b'\n');
    vec![Frame::chunk(status("pulling manifest")), Frame::chunk(last)]
}
