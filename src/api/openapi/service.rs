//! Operations of `docs/api.md`, service, and of this description itself.

use serde_json::json;

use super::{
    super::{
        backends::BackendState,
        service::{DefaultModel, PROMETHEUS_TEXT, Version},
    },
    operation::{Operation, get},
};
use crate::domain::alert::Alert;

pub(super) fn operations() -> Vec<Operation> {
    let operations = vec![
        get("/health", "health", "Is the process there").empty("It is").open(),
        get("/ready", "ready", "Does it take requests").empty("It does").open().fails(&[503]),
        get("/version", "version", "Which version and process this is").gives::<Version>(
            200,
            "The version, eight characters that are new at every start, a fixed UUID",
            json!({"version": "0.1.0", "nodeInstanceID": "5f3a9c01", "tenancy": "54882f1d-3788-44f9-aed6-19a793c4568f"}),
        ),
        get("/defaultmodel", "defaultModel", "Name of the default embedding model").gives::<DefaultModel>(
            200,
            "The configured default embedding model",
            json!({"modelName": "nomic-embed-text:latest"}),
        ),
        get("/state", "state", "What was observed on the backends")
            .lists::<BackendState>("Each backend in at least one pool, by name", json!([super::backends::state()])),
        get("/metrics", "metrics", "How busy backends and pools are, for Prometheus").sends(
            PROMETHEUS_TEXT,
            "Gauges in Prometheus' text format",
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
