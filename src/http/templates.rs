//! How each route is called in metrics and in the log: its path with names in the place of values, as `/openapi.json` has it.
//! What a request has written is never in it.

use hyper::Method;

use super::router::Route;
use crate::api::{ollama::OllamaRoute, openai::OpenaiRoute};

/// The name of what is no route.
pub(super) const UNKNOWN: &str = "unknown";

impl Route {
    /// See the module.
    pub(super) const fn template(self) -> &'static str {
        use Route::*;
        match self {
            Health => "/health",
            Ready => "/ready",
            Version => "/version",
            DefaultModel => "/defaultmodel",
            State => "/state",
            Metrics => "/metrics",
            Events => "/events",
            LogLevelGet | LogLevelPut => "/log-level",
            Actors => "/debug/actors",
            Supported => "/supported",
            Alerts => "/alerts",
            Openapi => "/openapi.json",
            DocsPage => "/docs",
            DocsFile => "/docs/{file}",
            BackendCreate | BackendList => "/backends",
            BackendGet | BackendUpdate | BackendDelete => "/backends/{id}",
            BreakerReset => "/backends/{id}/breaker/reset",
            ModelCreate | ModelList => "/models",
            ModelUpdate | ModelDelete => "/models/{id}",
            ModelListInternal => "/internal/models",
            PoolCreate | PoolList => "/pools",
            PoolGet | PoolUpdate | PoolDelete => "/pools/{id}",
            PoolByName => "/pool-by-name/{name}",
            PoolByPurpose => "/pool-by-purpose/{purpose}",
            BackendAssign | BackendUnassign => "/backend-associations/{poolID}/backends/{backendID}",
            BackendsOfPool => "/backend-associations/{poolID}/backends",
            PoolsOfBackend => "/backend-associations/{backendID}/pools",
            ModelAssign | ModelUnassign => "/model-associations/{poolID}/models/{modelID}",
            ModelsOfPool => "/model-associations/{poolID}/models",
            PoolsOfModel => "/model-associations/{modelID}/pools",
            ProviderConfigure => "/providers/{provider}/configure",
            ProviderStatus => "/providers/{provider}/status",
            ProviderConfig | ProviderDelete => "/providers/{provider}/config",
            ProviderList => "/providers/configs",
            KeyRotate => "/keys/rotate",
            TokenCreate | TokenList => "/tokens",
            TokenGet | TokenUpdate | TokenDelete => "/tokens/{id}",
            QueueList => "/queue",
            QueueRemove => "/queue/{model}",
            QueueCancel => "/queue/cancel",
            QueueEvents => "/queue/inProgress",
            HookCreate | HookList => "/hooks/remote",
            HookGet | HookUpdate | HookDelete => "/hooks/remote/{id}",
            ChainCreate | ChainList => "/taskchains",
            ChainGet | ChainUpdate | ChainDelete => "/taskchains/{id}",
            ChainValidate => "/taskchains/validate",
            ChainVersions => "/taskchains/{id}/versions",
            ChainGraph => "/taskchains/{id}/graph",
            ChainChat => "/{chainID}/v1/chat/completions",
            AliasCreate | AliasList => "/aliases",
            AliasGet | AliasUpdate | AliasDelete => "/aliases/{name}",
            RunList => "/runs/active",
            RunCancel => "/runs/{id}/cancel",
            Execute => "/execute",
            Embed => "/embed",
            Tasks => "/tasks",
            OpenaiAsk(OpenaiRoute::Chat) => "/v1/chat/completions",
            OpenaiAsk(OpenaiRoute::Completions) => "/v1/completions",
            OpenaiAsk(OpenaiRoute::Embeddings) => "/v1/embeddings",
            OpenaiResponses => "/v1/responses",
            OpenaiModels => "/v1/models",
            OpenaiModel => "/v1/models/{modelName}",
            OllamaHome => "/",
            OllamaAsk(OllamaRoute::Chat) => "/api/chat",
            OllamaAsk(OllamaRoute::Generate) => "/api/generate",
            OllamaAsk(OllamaRoute::Embed) => "/api/embed",
            OllamaAsk(OllamaRoute::Embeddings) => "/api/embeddings",
            OllamaTags => "/api/tags",
            OllamaShow => "/api/show",
            OllamaRunning => "/api/ps",
            OllamaVersion => "/api/version",
            OllamaPull => "/api/pull",
            OllamaManage(_) => "/api/{manage}",
        }
    }
}

/// A method's name, where it is one that a route may have.
pub(super) fn method_name(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"];
    KNOWN.into_iter().find(|known| method.as_str() == *known).unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{super::router::methods, *};
    use crate::api::{self, ReplyBody};

    #[test]
    fn routes_are_called_as_the_description_of_the_api_calls_them() {
        let ReplyBody::Json(text) = api::openapi::openapi().unwrap().body else { panic!("it is JSON") };
        let description: Value = serde_json::from_slice(&text).unwrap();
        let (mut seen, mut wrong) = (0, Vec::new());
        for (path, of_path) in description["paths"].as_object().unwrap() {
            let segments: Vec<&str> = path.split('/').skip(1).collect();
            for (method, route) in methods(&segments).unwrap() {
                if of_path.get(method.as_str().to_ascii_lowercase()).is_some()
                    && !matches!(route, Route::OllamaManage(_))
                {
                    seen += 1;
                    if route.template() != path {
                        wrong.push((route.template(), path));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
        assert!(seen > 80, "{seen}");
    }

    #[test]
    fn what_a_client_calls_its_method_is_no_label() {
        assert_eq!(method_name(&Method::from_bytes(b"SECRET").unwrap()), UNKNOWN);
        assert_eq!(method_name(&Method::PUT), "PUT");
    }
}
