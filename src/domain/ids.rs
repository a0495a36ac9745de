//! Typed identifiers: a backend's id can never be passed where a pool's is meant.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest id, in bytes (`docs/api.md`, length limits).
pub const MAX_ID_BYTES: usize = 255;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps a text that is already known to be an id of this kind.
            pub fn new(id: impl Into<String>) -> Self {
                Self(id.into())
            }

            /// A new random id (UUID v4).
            pub fn random() -> Self {
                Self(uuid::Uuid::new_v4().to_string())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// One backend.
    BackendId
);
text_id!(
    /// One pool of backends and models.
    PoolId
);
text_id!(
    /// One remote hook.
    HookId
);
text_id!(
    /// One stored chain.
    ChainId
);
text_id!(
    /// One chain run.
    RunId
);
text_id!(
    /// One process of a server; new at every start.
    InstanceId
);
text_id!(
    /// One API token.
    TokenId
);
text_id!(
    /// One request, as echoed in `X-Request-ID`.
    RequestId
);
