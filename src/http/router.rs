//! All routes. The first table says which methods a path knows, the second what each of them calls; there is no logic.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Either;
use hyper::{Method, body::Body};

use super::request::Request;
use crate::{
    api::{self, Api, Reply, ollama::OllamaRoute, openai::OpenaiRoute, tasks::SentTask},
    config::DeadlineConfig,
    error::Error,
    telemetry::Now,
};

/// One method of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Health,
    Ready,
    Version,
    DefaultModel,
    State,
    Metrics,
    Actors,
    LogLevelGet,
    LogLevelPut,
    Events,
    Supported,
    Alerts,
    Openapi,
    DocsPage,
    DocsFile,
    BackendCreate,
    BackendList,
    BackendGet,
    BackendUpdate,
    BackendDelete,
    BreakerReset,
    ModelCreate,
    ModelList,
    ModelListInternal,
    ModelUpdate,
    ModelDelete,
    PoolCreate,
    PoolList,
    PoolGet,
    PoolUpdate,
    PoolDelete,
    PoolByName,
    PoolByPurpose,
    BackendAssign,
    BackendUnassign,
    BackendsOfPool,
    PoolsOfBackend,
    ModelAssign,
    ModelUnassign,
    ModelsOfPool,
    PoolsOfModel,
    ProviderConfigure,
    ProviderStatus,
    ProviderConfig,
    ProviderDelete,
    ProviderList,
    KeyRotate,
    TokenCreate,
    TokenList,
    TokenGet,
    TokenUpdate,
    TokenDelete,
    QueueList,
    QueueRemove,
    QueueCancel,
    QueueEvents,
    HookCreate,
    HookList,
    HookGet,
    HookUpdate,
    HookDelete,
    ChainCreate,
    ChainList,
    ChainGet,
    ChainUpdate,
    ChainDelete,
    ChainVersions,
    ChainGraph,
    ChainChat,
    ChainValidate,
    AliasCreate,
    AliasList,
    AliasGet,
    AliasUpdate,
    AliasDelete,
    RunList,
    RunCancel,
    Execute,
    Embed,
    Tasks,
    OpenaiAsk(OpenaiRoute),
    OpenaiResponses,
    OpenaiModels,
    OpenaiModel,
    OllamaHome,
    OllamaAsk(OllamaRoute),
    OllamaTags,
    OllamaShow,
    OllamaRunning,
    OllamaVersion,
    OllamaPull,
    OllamaManage(&'static str),
}

impl Route {
    /// Whether it asks models: these are what admission bounds.
    pub(super) const fn asks_a_model(self) -> bool {
        use Route::*;
        matches!(self, Execute | Embed | Tasks | ChainChat | OpenaiAsk(_) | OpenaiResponses | OllamaAsk(_))
    }

    /// How long its answer is wanted, where the request does not say it.
    pub(super) const fn deadline(self, deadlines: &DeadlineConfig) -> Option<Duration> {
        use Route::*;
        match self {
            Execute => deadlines.prompts,
            Embed => deadlines.embeddings,
            Tasks => deadlines.tasks,
            ChainChat | OpenaiResponses => deadlines.chats,
            OpenaiAsk(OpenaiRoute::Completions) | OllamaAsk(OllamaRoute::Generate) => deadlines.prompts,
            OpenaiAsk(OpenaiRoute::Chat) | OllamaAsk(OllamaRoute::Chat) => deadlines.chats,
            OpenaiAsk(OpenaiRoute::Embeddings) | OllamaAsk(OllamaRoute::Embed | OllamaRoute::Embeddings) => {
                deadlines.embeddings
            }
            _ => None,
        }
    }

    /// Whether it is answered while the server stops: who watches that must see it, and may hasten it.
    pub(super) const fn is_open_to_the_end(self) -> bool {
        use Route::*;
        matches!(
            self,
            Health | Version | State | Metrics | Actors | LogLevelGet | LogLevelPut | Alerts | RunList | RunCancel
        )
    }
}

/// The methods of a path and what they lead to; `None` for an unknown path.
pub(super) fn methods(path: &[&str]) -> Option<&'static [(Method, Route)]> {
    use Route::*;
    if let [""] = path {
        return Some(const { &[(Method::GET, OllamaHome)] });
    }
    if path.iter().any(|segment| segment.is_empty()) {
        return None;
    }
    Some(match path {
        ["health"] => const { &[(Method::GET, Health)] },
        ["ready"] => const { &[(Method::GET, Ready)] },
        ["version"] => const { &[(Method::GET, Version)] },
        ["defaultmodel"] => const { &[(Method::GET, DefaultModel)] },
        ["state"] => const { &[(Method::GET, State)] },
        ["metrics"] => const { &[(Method::GET, Metrics)] },
        ["log-level"] => const { &[(Method::GET, LogLevelGet), (Method::PUT, LogLevelPut)] },
        ["events"] => const { &[(Method::GET, Events)] },
        ["debug", "actors"] => const { &[(Method::GET, Actors)] },
        ["supported"] => const { &[(Method::GET, Supported)] },
        ["alerts"] => const { &[(Method::GET, Alerts)] },
        ["openapi.json"] => const { &[(Method::GET, Openapi)] },
        ["docs"] => const { &[(Method::GET, DocsPage)] },
        ["docs", _file] => const { &[(Method::GET, DocsFile)] },

        ["backends"] => const { &[(Method::GET, BackendList), (Method::POST, BackendCreate)] },
        ["backends", _id] => {
            const { &[(Method::GET, BackendGet), (Method::PUT, BackendUpdate), (Method::DELETE, BackendDelete)] }
        }
        ["backends", _id, "breaker", "reset"] => const { &[(Method::POST, BreakerReset)] },

        ["models"] => const { &[(Method::GET, ModelList), (Method::POST, ModelCreate)] },
        ["models", _id] => const { &[(Method::PUT, ModelUpdate), (Method::DELETE, ModelDelete)] },
        ["internal", "models"] => const { &[(Method::GET, ModelListInternal)] },

        ["pools"] => const { &[(Method::GET, PoolList), (Method::POST, PoolCreate)] },
        ["pools", _id] => const { &[(Method::GET, PoolGet), (Method::PUT, PoolUpdate), (Method::DELETE, PoolDelete)] },
        ["pool-by-name", _name] => const { &[(Method::GET, PoolByName)] },
        ["pool-by-purpose", _purpose] => const { &[(Method::GET, PoolByPurpose)] },

        ["backend-associations", _pool, "backends", _backend] => {
            const { &[(Method::POST, BackendAssign), (Method::DELETE, BackendUnassign)] }
        }
        ["backend-associations", _pool, "backends"] => const { &[(Method::GET, BackendsOfPool)] },
        ["backend-associations", _backend, "pools"] => const { &[(Method::GET, PoolsOfBackend)] },
        ["model-associations", _pool, "models", _model] => {
            const { &[(Method::POST, ModelAssign), (Method::DELETE, ModelUnassign)] }
        }
        ["model-associations", _pool, "models"] => const { &[(Method::GET, ModelsOfPool)] },
        ["model-associations", _model, "pools"] => const { &[(Method::GET, PoolsOfModel)] },

        ["providers", "configs"] => const { &[(Method::GET, ProviderList)] },
        ["providers", _provider, "configure"] => const { &[(Method::POST, ProviderConfigure)] },
        ["providers", _provider, "status"] => const { &[(Method::GET, ProviderStatus)] },
        ["providers", _provider, "config"] => {
            const { &[(Method::GET, ProviderConfig), (Method::DELETE, ProviderDelete)] }
        }

        ["tokens"] => const { &[(Method::GET, TokenList), (Method::POST, TokenCreate)] },
        ["tokens", _id] => {
            const { &[(Method::GET, TokenGet), (Method::PUT, TokenUpdate), (Method::DELETE, TokenDelete)] }
        }
        ["keys", "rotate"] => const { &[(Method::POST, KeyRotate)] },

        ["queue"] => const { &[(Method::GET, QueueList)] },
        ["queue", "inProgress"] => const { &[(Method::GET, QueueEvents), (Method::DELETE, QueueRemove)] },
        ["queue", "cancel"] => const { &[(Method::DELETE, QueueCancel)] },
        ["queue", _model] => const { &[(Method::DELETE, QueueRemove)] },

        ["aliases"] => const { &[(Method::GET, AliasList), (Method::POST, AliasCreate)] },
        ["aliases", _name] => {
            const { &[(Method::GET, AliasGet), (Method::PUT, AliasUpdate), (Method::DELETE, AliasDelete)] }
        }

        ["hooks", "remote"] => const { &[(Method::GET, HookList), (Method::POST, HookCreate)] },
        ["hooks", "remote", _id] => {
            const { &[(Method::GET, HookGet), (Method::PUT, HookUpdate), (Method::DELETE, HookDelete)] }
        }

        ["taskchains"] => const { &[(Method::GET, ChainList), (Method::POST, ChainCreate)] },
        ["taskchains", "validate"] => {
            const {
                &[
                    (Method::GET, ChainGet),
                    (Method::PUT, ChainUpdate),
                    (Method::DELETE, ChainDelete),
                    (Method::POST, ChainValidate),
                ]
            }
        }
        ["taskchains", _id] => {
            const { &[(Method::GET, ChainGet), (Method::PUT, ChainUpdate), (Method::DELETE, ChainDelete)] }
        }
        ["taskchains", _id, "versions"] => const { &[(Method::GET, ChainVersions)] },
        ["taskchains", _id, "graph"] => const { &[(Method::GET, ChainGraph)] },
        [_chain, "v1", "chat", "completions"] => const { &[(Method::POST, ChainChat)] },

        ["runs", "active"] => const { &[(Method::GET, RunList)] },
        ["runs", _id, "cancel"] => const { &[(Method::POST, RunCancel)] },

        ["execute"] => const { &[(Method::POST, Execute)] },
        ["embed"] => const { &[(Method::POST, Embed)] },
        ["tasks"] => const { &[(Method::POST, Tasks)] },

        ["v1", "chat", "completions"] => const { &[(Method::POST, OpenaiAsk(OpenaiRoute::Chat))] },
        ["v1", "completions"] => const { &[(Method::POST, OpenaiAsk(OpenaiRoute::Completions))] },
        ["v1", "embeddings"] => const { &[(Method::POST, OpenaiAsk(OpenaiRoute::Embeddings))] },
        ["v1", "responses"] => const { &[(Method::POST, OpenaiResponses)] },
        ["v1", "models"] => const { &[(Method::GET, OpenaiModels)] },
        // A name may hold slashes, which clients send as they are or encoded.
        ["v1", "models", _name, ..] => const { &[(Method::GET, OpenaiModel)] },

        ["api", "chat"] => const { &[(Method::POST, OllamaAsk(OllamaRoute::Chat))] },
        ["api", "generate"] => const { &[(Method::POST, OllamaAsk(OllamaRoute::Generate))] },
        ["api", "embed"] => const { &[(Method::POST, OllamaAsk(OllamaRoute::Embed))] },
        ["api", "embeddings"] => const { &[(Method::POST, OllamaAsk(OllamaRoute::Embeddings))] },
        ["api", "tags"] => const { &[(Method::GET, OllamaTags)] },
        ["api", "show"] => const { &[(Method::POST, OllamaShow)] },
        ["api", "ps"] => const { &[(Method::GET, OllamaRunning)] },
        ["api", "version"] => const { &[(Method::GET, OllamaVersion)] },
        ["api", "pull"] => const { &[(Method::POST, OllamaPull)] },
        ["api", "delete"] => const { &[(Method::DELETE, OllamaManage("delete"))] },
        ["api", "create"] => const { &[(Method::POST, OllamaManage("create"))] },
        ["api", "copy"] => const { &[(Method::POST, OllamaManage("copy"))] },
        ["api", "push"] => const { &[(Method::POST, OllamaManage("push"))] },
        _ => return None,
    })
}

/// Calls what a route leads to.
/// `tell` says what is known here for a scrape.
pub(super) async fn dispatch<B>(
    route: Route,
    api: &Api,
    request: &mut Request<B>,
    tell: impl Fn() -> Now,
) -> Result<Reply, Error>
where
    B: Body<Data = Bytes> + Unpin + Send,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    use Route::*;
    match route {
        Health => Ok(Reply::empty()),
        Ready => api::service::ready(api).await,
        Version => api::service::version(api),
        DefaultModel => api::service::default_model(api),
        Alerts => api::service::alerts(api),
        Openapi => api::openapi::openapi(),
        DocsPage => Ok(api::docs_page::page()),
        DocsFile => api::docs_page::file(request.segment(1)),
        State => api::backends::state(api),
        Metrics => Ok(api::service::metrics(api, tell())),
        Events => Ok(api::events::follow(api, request.last_event_id())),
        LogLevelGet => api::log_level::get(),
        LogLevelPut => api::log_level::put(&request.read().await?),
        Actors => api::service::actors(api).await,
        Supported => api::hooks::supported(api).await,

        BackendCreate => api::backends::create(api, request.read().await?).await,
        BackendList => api::backends::list(api, request.page()?).await,
        BackendGet => api::backends::get(api, request.segment(1)).await,
        BackendUpdate => {
            let input = request.read().await?;
            api::backends::update(api, request.segment(1), input).await
        }
        BackendDelete => api::backends::delete(api, request.segment(1)).await,
        BreakerReset => api::backends::reset_breaker(api, request.segment(1)).await,

        ModelCreate => api::models::create(api, request.read().await?).await,
        ModelList => api::models::list(api, request.page()?).await,
        ModelListInternal => api::models::list_internal(api, request.page()?).await,
        ModelUpdate => {
            let input = request.read().await?;
            api::models::update(api, request.segment(1), input).await
        }
        ModelDelete => api::models::delete(api, request.segment(1), request.flag("purge")).await,

        PoolCreate => api::pools::create(api, request.read().await?).await,
        PoolList => api::pools::list(api).await,
        PoolGet => api::pools::get(api, request.segment(1)).await,
        PoolUpdate => {
            let input = request.read().await?;
            api::pools::update(api, request.segment(1), input).await
        }
        PoolDelete => api::pools::delete(api, request.segment(1)).await,
        PoolByName => api::pools::by_name(api, request.segment(1)).await,
        PoolByPurpose => api::pools::by_purpose(api, request.segment(1), request.page()?).await,

        BackendAssign => api::associations::assign_backend(api, request.segment(1), request.segment(3)).await,
        BackendUnassign => api::associations::unassign_backend(api, request.segment(1), request.segment(3)).await,
        BackendsOfPool => api::associations::backends_of(api, request.segment(1)).await,
        PoolsOfBackend => api::associations::pools_of_backend(api, request.segment(1)).await,
        ModelAssign => api::associations::assign_model(api, request.segment(1), request.segment(3)).await,
        ModelUnassign => api::associations::unassign_model(api, request.segment(1), request.segment(3)).await,
        ModelsOfPool => api::associations::models_of(api, request.segment(1)).await,
        PoolsOfModel => api::associations::pools_of_model(api, request.segment(1)).await,

        ProviderConfigure => {
            let input = request.read().await?;
            api::providers::configure(api, request.segment(1), input).await
        }
        ProviderStatus => api::providers::status(api, request.segment(1)).await,
        ProviderConfig => api::providers::config(api, request.segment(1)).await,
        ProviderDelete => api::providers::delete(api, request.segment(1)).await,
        ProviderList => api::providers::list(api, request.page()?).await,

        TokenCreate => api::tokens::create(api, request.read().await?).await,
        TokenList => api::tokens::list(api, request.page()?).await,
        TokenGet => api::tokens::get(api, request.segment(1)).await,
        TokenUpdate => {
            let input = request.read().await?;
            api::tokens::update(api, request.segment(1), input).await
        }
        TokenDelete => api::tokens::delete(api, request.segment(1)).await,
        KeyRotate => api::keys::rotate(api).await,

        QueueList => api::queue::list(api),
        QueueRemove => api::queue::remove(api, request.segment(1)).await,
        QueueCancel => api::queue::cancel(api, request.query("url"), request.query("model")).await,
        QueueEvents => api::queue::events(api),

        AliasCreate => api::aliases::create(api, request.read().await?).await,
        AliasList => api::aliases::list(api, request.page()?).await,
        AliasGet => api::aliases::get(api, request.segment(1)).await,
        AliasUpdate => {
            let input = request.read().await?;
            api::aliases::update(api, request.segment(1), input).await
        }
        AliasDelete => api::aliases::delete(api, request.segment(1)).await,

        HookCreate => api::hooks::create(api, request.read().await?).await,
        HookList => api::hooks::list(api, request.page()?).await,
        HookGet => api::hooks::get(api, request.segment(2)).await,
        HookUpdate => {
            let input = request.read().await?;
            api::hooks::update(api, request.segment(2), input).await
        }
        HookDelete => api::hooks::delete(api, request.segment(2)).await,

        ChainCreate => {
            let document = request.document().await?;
            api::taskchains::create(api, document, request.flag("draft")).await
        }
        ChainList => api::taskchains::list(api, request.page()?).await,
        ChainGet => api::taskchains::get(api, request.segment(1), request.version()?).await,
        ChainUpdate => {
            let document = request.document().await?;
            api::taskchains::update(api, request.segment(1), document, request.flag("draft")).await
        }
        ChainDelete => api::taskchains::delete(api, request.segment(1)).await,
        ChainVersions => api::taskchains::versions(api, request.segment(1)).await,
        ChainGraph => {
            let format = request.query("format");
            api::taskchains::graph(api, request.segment(1), request.version()?, format).await
        }
        ChainValidate => {
            let document = request.document().await?;
            api::validation::validate(api, document, request.flag("strict")).await
        }
        ChainChat => {
            let (version, stack_trace) = (request.version()?, request.flag("stackTrace"));
            let scope = request.scope()?;
            let input = request.read_exact().await?;
            let asked = (&request.id, scope);
            api::chain_chat::complete(api, request.segment(0), version, input, stack_trace, asked).await
        }

        RunList => api::runs::active(api).await,
        RunCancel => api::runs::cancel(api, request.segment(1)).await,

        Execute => {
            let scope = request.scope()?;
            api::execute::execute(api, request.read().await?, scope).await
        }
        Embed => {
            let scope = request.scope()?;
            api::embed::embed(api, request.read().await?, scope).await
        }
        Tasks => {
            let scope = request.scope()?;
            let sent = match request.document_unless(|body| api::tasks::known(&api.programs, body)).await? {
                Either::Left(known) => SentTask::Known(known),
                Either::Right(document) => SentTask::Document(document),
            };
            api::tasks::run(api, sent, &request.id, scope, request.wants_events()).await
        }

        OpenaiAsk(asked) => {
            let scope = request.scope()?;
            let body = request.bytes().await?;
            api::openai::ask(api, asked, &scope, body, &request.id).await
        }
        OpenaiResponses => {
            let scope = request.scope()?;
            let body = request.bytes().await?;
            api::openai::respond(api, &scope, body, &request.id).await
        }
        OpenaiModels => api::openai::models(api, &request.scope()?).await,
        OpenaiModel => api::openai::model(api, &request.scope()?, &request.path[2..].join("/")).await,

        OllamaHome => Ok(api::ollama::home()),
        OllamaAsk(asked) => {
            let scope = request.scope()?;
            let body = request.bytes().await?;
            api::ollama::ask(api, asked, &scope, body, &request.id).await
        }
        OllamaTags => api::ollama::tags(api, &request.scope()?).await,
        OllamaShow => {
            let scope = request.scope()?;
            api::ollama::show(api, &scope, &request.bytes().await?).await
        }
        OllamaRunning => api::ollama::running(api, &request.scope()?).await,
        OllamaVersion => api::ollama::version(),
        OllamaPull => {
            let scope = request.scope()?;
            api::ollama::pull(api, &scope, &request.bytes().await?).await
        }
        OllamaManage(what) => api::ollama::manage(what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: &Method, path: &[&str]) -> Option<Route> {
        methods(path)?.iter().find(|(known, _)| known == method).map(|(_, route)| *route)
    }

    #[test]
    fn literal_segments_beat_parameters() {
        assert_eq!(route(&Method::DELETE, &["queue", "cancel"]), Some(Route::QueueCancel));
        assert_eq!(route(&Method::DELETE, &["queue", "m"]), Some(Route::QueueRemove));
        assert_eq!(route(&Method::GET, &["providers", "configs"]), Some(Route::ProviderList));
    }

    #[test]
    fn an_empty_parameter_is_an_unknown_path() {
        assert!(methods(&["backends", ""]).is_none());
        assert!(methods(&["api", ""]).is_none() && methods(&["", ""]).is_none());
        assert_eq!(route(&Method::GET, &[""]), Some(Route::OllamaHome), "the root is no parameter");
        assert!(methods(&["no", "such"]).is_none());
    }
}
