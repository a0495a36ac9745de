//! What a caller must be allowed for each route: the one table (`docs/api.md`, scopes).

use std::fmt;

use super::router::Route;
use crate::domain::token::Scope;

/// Whom a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Everybody, with a token or without.
    Nothing,
    /// Whoever has a token, whatever it allows.
    Token,
    /// Whoever has a token of this scope, or of `admin`.
    Scope(Scope),
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing | Self::Token => f.write_str("it takes no scope"),
            Self::Scope(Scope::Admin) => f.write_str("it takes the scope admin"),
            Self::Scope(scope) => write!(f, "it takes the scope {} or admin", scope.as_str()),
        }
    }
}

impl Route {
    /// Whom it is for. No route is left out: one that is added has to say it.
    pub(super) const fn needs(self) -> Needs {
        use Route::*;
        match self {
            Health | Ready => Needs::Nothing,
            // What there is to ask for, and how.
            Version | DefaultModel | Openapi | DocsPage | DocsFile | OpenaiModels | OpenaiModel | OllamaHome
            | OllamaTags | OllamaShow | OllamaRunning | OllamaVersion => Needs::Token,
            Execute | Embed | Tasks | ChainChat | ChainValidate | OpenaiAsk(_) | OpenaiResponses | OllamaAsk(_)
            | RunCancel => Needs::Scope(Scope::Run),
            State | Metrics | LogLevelGet | Events | Supported | Alerts | BackendList | BackendGet | ModelList
            | ModelListInternal | PoolList | PoolGet | PoolByName | PoolByPurpose | BackendsOfPool | PoolsOfBackend
            | ModelsOfPool | PoolsOfModel | ProviderStatus | ProviderConfig | ProviderList | QueueList
            | QueueEvents | HookList | HookGet | ChainList | ChainGet | ChainVersions | ChainGraph | AliasList
            | AliasGet | RunList => Needs::Scope(Scope::Read),
            Actors | LogLevelPut | BackendCreate | BackendUpdate | BackendDelete | BreakerReset | ModelCreate
            | ModelUpdate | ModelDelete | PoolCreate | PoolUpdate | PoolDelete | BackendAssign | BackendUnassign
            | ModelAssign | ModelUnassign | ProviderConfigure | ProviderDelete | KeyRotate | TokenCreate
            | TokenList | TokenGet | TokenUpdate | TokenDelete | QueueRemove | QueueCancel | HookCreate
            | HookUpdate | HookDelete | ChainCreate | ChainUpdate | ChainDelete | AliasCreate | AliasUpdate
            | AliasDelete | OllamaPull | OllamaManage(_) => Needs::Scope(Scope::Admin),
        }
    }
}
