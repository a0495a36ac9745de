//! What instances that share a database tell each other (`docs/operations.md`, several instances). None of it is needed for a
//! request to be right: what must not be lost is in the database.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::domain::{
    alert::Alert,
    download::DownloadEvent,
    ids::{BackendId, ChainId, InstanceId, RequestId, RunId},
    priority::Priority,
    time::Timestamp,
};

/// Something that one instance tells all others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ClusterEvent {
    /// Something stored has changed; what it was, the store knows.
    Changed,
    /// A step of a download, or its end.
    Download(DownloadEvent),
    /// Whoever downloads it shall stop.
    CancelDownloads {
        /// On these backends; absent: on all.
        backends: Option<BTreeSet<BackendId>>,
        /// This model; absent: whatever it is.
        model: Option<String>,
        /// Waiting ones, too.
        waiting: bool,
    },
    /// It has stopped: nobody begins these again until they are declared anew.
    DownloadsCancelled {
        /// On this backend.
        backend: BackendId,
        /// As they are declared.
        models: Vec<String>,
    },
    /// A chain has raised an alert.
    Alert(Alert),
    /// Whoever runs it shall end it, and say so.
    CancelRun {
        /// Which.
        run: RunId,
        /// Who has reported it, and shall say so, too, when it is over already.
        at: Option<InstanceId>,
    },
    /// What came of [`ClusterEvent::CancelRun`].
    RunCancelled {
        /// Which.
        run: RunId,
        /// What came of it.
        end: RunEnd,
    },
    /// How it is going with an instance, told now and then and when much has changed.
    Report(InstanceReport),
    /// An instance stops.
    Left,
}

/// What came of ending a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    /// Nothing of it runs any more.
    Stopped,
    /// It was told, and something of it still runs.
    Slow,
    /// It was over already.
    Over,
}

/// How it is going with one instance.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct InstanceReport {
    /// Downloads that wait there.
    pub queue: Vec<QueuedDownload>,
    /// Chains that run there.
    pub runs: Vec<ReportedRun>,
    /// What it sees of the backends.
    pub backends: Vec<ReportedBackend>,
}

/// What one instance sees of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedBackend {
    /// Which.
    pub id: BackendId,
    /// What is wrong with it; absent when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Calls that this instance may have there at once.
    pub limit: u16,
    /// Calls that it has there.
    pub in_use: u16,
    /// Requests that wait for it there.
    pub waiters: u32,
}

/// A download that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueuedDownload {
    /// The backend's base URL.
    pub base_url: String,
    /// The model as declared.
    pub model: String,
    /// Since when it waits.
    pub created_at: Timestamp,
}

/// A chain that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedRun {
    /// Which.
    pub id: RunId,
    /// The chain's id, where it has one.
    pub chain: Option<ChainId>,
    /// The request that it runs for.
    pub request: RequestId,
    /// When it began.
    pub started_at: Timestamp,
    /// The task it is at.
    pub task: Option<String>,
    /// Attempts of tasks that are over.
    pub steps: usize,
    /// Calls of models that it is making, or waits to make.
    pub calls: usize,
    /// Before whom its calls are served.
    pub priority: Priority,
}

/// What came, and from whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Who tells it.
    pub from: InstanceId,
    /// The how manieth it is of the sender's, those counted that were never sent.
    pub number: u64,
    /// What.
    pub event: ClusterEvent,
}
