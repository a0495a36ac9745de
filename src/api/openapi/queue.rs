//! Operations of `docs/api.md`, download queue.

use serde_json::json;

use super::{
    super::queue::Job,
    operation::{Operation, delete, get},
    shared,
};

const EVENT: &str = "data: {\"status\":\"pulling 970aa74c0a90\",\"total\":274290656,\"completed\":104857600,\
     \"model\":\"nomic-embed-text:latest\",\"baseUrl\":\"http://127.0.0.1:11434\"}\n\n";

pub(super) fn operations() -> Vec<Operation> {
    let operations = vec![
        get("/queue", "listDownloads", "Waiting downloads").lists::<Job>(
            "Downloads, oldest first",
            json!([{"id": "http://127.0.0.1:11434#qwen3:4b", "taskType": "model_download",
                "modelJob": {"url": "http://127.0.0.1:11434", "model": "qwen3:4b"}, "scheduledFor": 0, "validUntil": 0,
                "createdAt": "2025-08-08T12:00:00.123456Z"}]),
        ),
        delete("/queue/{model}", "removeDownload", "Drop a model's waiting downloads and end a running one")
            .confirms(200, "Model removed from queue"),
        delete("/queue/cancel", "cancelDownload", "End what runs on a backend, or a model's downloads everywhere")
            .asks("url", "A backend's base URL; it wins", shared::text())
            .asks("model", "A model", shared::text())
            .confirms(200, "Model download cancellation initiated")
            .fails(&[400]),
        get("/queue/inProgress", "watchDownloads", "Progress of all downloads")
            .says("Each event is one line of `data:`; the last one of a download has the status `success`, or one that begins with `error:`.")
            .sends("text/event-stream", "Events until the client leaves", EVENT),
    ];
    operations.into_iter().map(|operation| operation.of("queue")).collect()
}
