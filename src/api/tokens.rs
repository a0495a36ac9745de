//! `/tokens`: API tokens besides `TOKEN` (`docs/api.md`, tokens).

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Api, Reply, fields};
use crate::{
    domain::{
        ids::TokenId,
        page::Page,
        slip::Slip,
        time::Timestamp,
        token::{Scope, Token, TokenLimits, TokenSpec, TokenText},
    },
    error::{Error, ErrorCode},
};

/// Largest rate a minute, as for the settings of the same kind.
const MAX_RATE: u32 = 1_000_000_000;

/// Body of POST and PUT.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct TokenInput {
    #[schema(required)]
    name: String,
    #[schema(required, min_items = 1, value_type = Vec<Scope>)]
    scopes: Vec<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<String>,
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    requests_per_minute: Option<i64>,
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    request_burst: Option<i64>,
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    tokens_per_minute: Option<i64>,
}

/// A new token, with the token: nobody can show it again.
#[derive(Serialize, ToSchema)]
pub(super) struct NewToken {
    /// The token.
    token: String,
    #[serde(flatten)]
    stored: Token,
}

impl TokenInput {
    fn check(self) -> Result<TokenSpec, Error> {
        let name = fields::required("name", self.name.trim())?;
        if name.chars().any(char::is_control) {
            return Err(Error::unprocessable("field 'name' must not hold control characters"));
        }
        let mut scopes = Vec::new();
        for name in &self.scopes {
            let scope = Scope::parse(name).ok_or_else(|| {
                Error::unprocessable(format!("field 'scopes' must name run, read or admin, not {}", Slip(name)))
            })?;
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        if scopes.is_empty() {
            return Err(fields::missing("scopes"));
        }
        let expires_at = self.expires_at.filter(|text| !text.trim().is_empty());
        let expires_at = expires_at.map(|text| text.trim().parse::<Timestamp>()).transpose();
        let expires_at = expires_at.map_err(|error| Error::unprocessable(format!("field 'expiresAt': {error}")))?;
        if expires_at.is_some_and(|end| end <= Timestamp::now()) {
            return Err(Error::unprocessable("field 'expiresAt' is over already"));
        }
        let rate = |field, number: Option<i64>| -> Result<Option<NonZeroU64>, Error> {
            let number = number.map(|number| fields::number(field, number, 1, MAX_RATE)).transpose()?;
            Ok(number.and_then(|number| NonZeroU64::new(number.into())))
        };
        let limits = TokenLimits {
            requests_per_minute: rate("requestsPerMinute", self.requests_per_minute)?,
            request_burst: rate("requestBurst", self.request_burst)?,
            tokens_per_minute: rate("tokensPerMinute", self.tokens_per_minute)?,
        };
        if limits.request_burst.is_some() && limits.requests_per_minute.is_none() {
            return Err(Error::unprocessable("field 'requestBurst' has no effect without 'requestsPerMinute'"));
        }
        Ok(TokenSpec { name, scopes, limits, expires_at })
    }
}

/// `POST /tokens`.
///
/// # Errors
/// 422, 409, 429.
pub async fn create(api: &Api, input: TokenInput) -> Result<Reply, Error> {
    let spec = input.check()?;
    if !api.is_protected {
        let message = "TOKEN is not set, so everybody may do everything here and a token would protect nothing: start \
                       the server with TOKEN first";
        return Err(Error::unprocessable(message));
    }
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| {
        Error::new(ErrorCode::Internal, "the system gives no random bytes").with_detail(std::io::Error::other(error))
    })?;
    let text = TokenText::from_random(random);
    let stored = api.store.create_token(spec, text.clone()).await?;
    api.put_in_force().await;
    Reply::created(&NewToken { token: text.expose().to_owned(), stored })
}

/// `GET /tokens`.
///
/// # Errors
/// Of the store only.
pub async fn list(api: &Api, page: Page) -> Result<Reply, Error> {
    Reply::json(&api.store.tokens(page).await?)
}

/// `GET /tokens/{id}`.
///
/// # Errors
/// 404.
pub async fn get(api: &Api, id: &str) -> Result<Reply, Error> {
    Reply::json(&api.store.token(&TokenId::new(id)).await?)
}

/// `PUT /tokens/{id}`: everything that is said of it; the token itself stays.
///
/// # Errors
/// 404, 409, 422.
pub async fn update(api: &Api, id: &str, input: TokenInput) -> Result<Reply, Error> {
    let token = api.store.update_token(&TokenId::new(id), input.check()?).await?;
    api.put_in_force().await;
    Reply::json(&token)
}

/// `DELETE /tokens/{id}`.
///
/// # Errors
/// 404.
pub async fn delete(api: &Api, id: &str) -> Result<Reply, Error> {
    api.store.delete_token(&TokenId::new(id)).await?;
    api.put_in_force().await;
    Reply::json(&"token revoked")
}
