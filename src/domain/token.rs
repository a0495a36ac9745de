//! API tokens: who may do what, for how long and how much of it (`docs/api.md`, tokens).

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::domain::{ids::TokenId, time::Timestamp};

/// What a token lets its owner do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Ask models and run chains.
    Run,
    /// Look at the configuration and at what happens.
    Read,
    /// Everything.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Run, Self::Read, Self::Admin];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    /// The scope of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str().eq_ignore_ascii_case(text.trim()))
    }
}

/// With what every token of ours begins: so that it is recognised where it has got to.
pub const TOKEN_PREFIX: &str = "psk_";

/// A token as its owner has it. It has no `Debug` and is never stored.
#[derive(Clone)]
pub struct TokenText(String);

/// What is kept of a token. It is too random to be guessed from its hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl TokenText {
    /// Writes random bytes as a token.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
        Self(format!("{TOKEN_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The token itself, for the one answer that gives it to its owner.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.0.as_bytes())
    }

    /// Its last four characters, by which its owner tells it from others.
    pub fn hint(&self) -> String {
        self.0[self.0.len() - 4..].to_owned()
    }
}

impl TokenHash {
    /// Of what somebody has presented.
    pub fn of(presented: &[u8]) -> Self {
        Self(Sha256::digest(presented).into())
    }
}

/// What the owner of a token may use; what is `None` is bounded as for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenLimits {
    /// Requests that ask a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, minimum = 1)]
    pub requests_per_minute: Option<NonZeroU64>,
    /// Of these at once; absent: those of a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, minimum = 1)]
    pub request_burst: Option<NonZeroU64>,
    /// Tokens of prompts and answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, minimum = 1)]
    pub tokens_per_minute: Option<NonZeroU64>,
}

/// What a user says of a token, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSpec {
    /// Unique.
    pub name: String,
    /// At least one.
    pub scopes: Vec<Scope>,
    /// What its owner may use.
    pub limits: TokenLimits,
    /// From when on it opens nothing; `None`: never.
    pub expires_at: Option<Timestamp>,
}

/// A stored token, without the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// Unique; what logs call its owner.
    pub name: String,
    /// What it lets its owner do.
    pub scopes: Vec<Scope>,
    /// What its owner may use.
    #[serde(flatten)]
    pub limits: TokenLimits,
    /// Its last four characters.
    pub hint: String,
    /// From when on it opens nothing; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}

impl Token {
    /// Whether it lets its owner do this.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|own| *own == scope || *own == Scope::Admin)
    }

    /// Whether it opens nothing any more.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}
