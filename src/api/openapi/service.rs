//! Operations of `docs/api.md`, service, and of this description itself.

use serde_json::json;

use super::{
    super::{
        backends::BackendState,
        log_level::{LogLevel, LogLevelInput},
        reply::EVENT_STREAM,
        service::{DefaultModel, PROMETHEUS_TEXT, Version},
    },
    operation::{Operation, get, put},
};
use crate::{domain::alert::Alert, runtime::ActorSnapshot};

pub(super) fn operations() -> Vec<Operation> {
    let operations = vec![
        get("/health", "health", "Is the process there").empty("It is").open(),
        get("/ready", "ready", "Does it take requests, and does its store answer").empty("Both").open().fails(&[503]),
        get("/log-level", "logLevel", "What is written to the log").gives::<LogLevel>(
            200,
            "What is in force",
            json!({"level": "info"}),
        ),
        put("/log-level", "setLogLevel", "Change what is written to the log")
            .says("Until the process ends, or somebody says something else. The setting is `LOG_LEVEL`.")
            .takes::<LogLevelInput>(json!({"level": "info,penstock::http=debug"}))
            .gives::<LogLevel>(200, "What is in force now", json!({"level": "info,penstock::http=debug"}))
            .fails(&[400, 422]),
        get("/events", "events", "What happens in the server, live")
            .says("Health of backends, breakers, limits, downloads, runs and alerts. A client that was cut off goes on behind `Last-Event-ID`.")
            .sends(EVENT_STREAM, "Events with an id and a name each", "id: 5f3a9c01-1\nevent: health\ndata: {}"),
        get("/debug/actors", "actors", "Every actor of the server, as it can be seen without asking it")
            .says("For those who look for what hangs: how full each mailbox is, how old a message in it, and what the actor publishes.")
            .lists::<ActorSnapshot>(
                "Each actor, those that exist once first",
                json!([{"actor": "pool", "id": "internal_tasks_pool", "mailbox": {"data": 0, "dataCapacity": 32768, "control": 0,
                    "controlCapacity": 64, "ageMs": 0}, "state": {"name": "Tasks", "policy": "least-loaded", "backends": 1}}]),
            ),
        get("/version", "version", "Which version and process this is").gives::<Version>(
            200,
            "The version, the commit it was built from, eight characters that are new at every start, a fixed UUID",
            json!({"version": "0.1.0", "commit": "200763227c2f", "nodeInstanceID": "5f3a9c01", "tenancy": "54882f1d-3788-44f9-aed6-19a793c4568f"}),
        ),
        get("/defaultmodel", "defaultModel", "Name of the default embedding model").gives::<DefaultModel>(
            200,
            "The configured default embedding model",
            json!({"modelName": "nomic-embed-text:latest"}),
        ),
        get("/state", "state", "What was observed on the backends")
            .lists::<BackendState>("Each backend in at least one pool, by name", json!([super::backends::state()])),
        get("/metrics", "metrics", "What the server counts, for Prometheus").sends(
            PROMETHEUS_TEXT,
            "Everything in Prometheus' text format",
            "penstock_backend_slots_limit{backend=\"b1\"} 16",
        ),
        get("/supported", "supportedHooks", "Names that chains may call as hooks")
            .lists_texts("Names of all hooks", json!(["lookup"])),
        get("/alerts", "alerts", "The latest alerts of chains").lists::<Alert>(
            "The latest 100 of this process, newest first",
            json!([{"id": "0b1f6c1e-63c8-4a35-8b4b-2f0a3a1d9a10", "message": "refund above the limit",
                "requestID": "9d0f2a52", "metadata": {"task_id": "check", "eval": "high"},
                "Timestamp": "2025-08-08T12:00:00.123456Z"}]),
        ),
        get("/openapi.json", "openapi", "This description")
            .says("An OpenAPI 3.1 document. With the setting TOKEN it needs the token as every other route does.")
            .any("The document", json!({"openapi": "3.1.0"})),
        get("/docs", "docs", "A page that shows this description")
            .sends("text/html; charset=utf-8", "The page; all it needs comes from this server", "<!doctype html>"),
        get("/docs/{file}", "docsFile", "A file of that page")
            .sends("text/javascript", "A script or a style sheet", "'use strict'")
            .fails(&[404]),
    ];
    operations.into_iter().map(|operation| operation.of("service")).collect()
}
