//! Backends: servers that run models, as stored, and what a user may say of them (`docs/api.md`, backends).

use std::{collections::BTreeMap, net::IpAddr};

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{ids::BackendId, provider::ProviderKind, time::Timestamp};

/// A secret: it has no `Debug`, no `Display` and no serialised form, so it cannot be printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Wraps a key.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The key itself, for the header of an upstream call or for encryption; nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// At most the last four characters behind `…`; nothing of a key too short to hide.
    pub fn masked(&self) -> String {
        let characters: Vec<char> = self.0.chars().collect();
        let shown = if characters.len() >= 12 { 4 } else { 0 };
        let tail: String = characters[characters.len() - shown..].iter().collect();
        format!("****{tail}")
    }
}

/// What a user sends to create or replace a backend, validated. `None` keeps what is stored, or the default.
#[derive(Clone, PartialEq, Eq)]
pub struct BackendSpec {
    /// Unique.
    pub name: String,
    /// Absolute http(s) URL, as sent.
    pub base_url: String,
    /// What it speaks.
    pub kind: ProviderKind,
    /// Write-only; overrides the provider's key.
    pub api_key: Option<ApiKey>,
    /// Calls at once, above 0.
    pub max_concurrency: Option<u32>,
    /// Share under weighted policies, 1 to 1000.
    pub weight: Option<u32>,
    /// Preference, 0 to 9; lower is tried first.
    pub tier: Option<u32>,
    /// Overrides the rule of [`Backend::is_cloud`].
    pub cloud: Option<bool>,
    /// False: cordoned, takes no new work.
    pub enabled: Option<bool>,
    /// Free labels that routing can require.
    pub labels: Option<BTreeMap<String, String>>,
}

/// A stored backend, without its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// UUID, or the provider's name for one made from a provider key.
    pub id: BackendId,
    /// Unique.
    pub name: String,
    /// Absolute http(s) URL, as sent.
    pub base_url: String,
    /// What it speaks.
    #[serde(rename = "type")]
    pub kind: ProviderKind,
    /// Whether an own key is stored.
    pub api_key_set: bool,
    /// Calls at once; absent: the default limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
    /// Share under weighted policies.
    pub weight: u32,
    /// Preference; lower is tried first.
    pub tier: u32,
    /// As set by the user; absent: decided by type and address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud: Option<bool>,
    /// False: takes no new work.
    pub enabled: bool,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}

impl Backend {
    /// Whether calls to it leave the own network: set by the user, else made from a provider key, else a Gemini
    /// backend, else an OpenAI one whose host is neither loopback nor private. Nothing goes to a cloud unasked.
    pub fn is_cloud(&self) -> bool {
        self.cloud.unwrap_or_else(|| match self.kind {
            ProviderKind::Gemini => true,
            ProviderKind::Openai => self.id.as_str() == "openai" || !is_own_network(&self.base_url),
            ProviderKind::Ollama | ProviderKind::Vllm => false,
        })
    }

    /// The URL without trailing slashes: what uniqueness and upstream calls go by.
    pub fn trimmed_url(&self) -> &str {
        trim_url(&self.base_url)
    }
}

/// A URL without trailing slashes.
pub fn trim_url(url: &str) -> &str {
    url.trim_end_matches('/')
}

/// Whether both URLs lead to one server: scheme, host and port agree, whatever the path.
pub fn same_server(a: &str, b: &str) -> bool {
    let (Ok(a), Ok(b)) = (url::Url::parse(a), url::Url::parse(b)) else { return false };
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

/// Loopback, private and link-local addresses, `localhost` and names without a dot or under a local suffix.
fn is_own_network(base_url: &str) -> bool {
    let Ok(url) = url::Url::parse(base_url) else { return false };
    match url.host() {
        Some(url::Host::Ipv4(ip)) => is_own_address(IpAddr::V4(ip)),
        Some(url::Host::Ipv6(ip)) => is_own_address(IpAddr::V6(ip)),
        Some(url::Host::Domain(name)) => {
            let name = name.trim_end_matches('.').to_lowercase();
            !name.contains('.')
                || [".localhost", ".local", ".internal", ".lan", ".svc"].iter().any(|suffix| name.ends_with(suffix))
        }
        None => false,
    }
}

fn is_own_address(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified(),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(v4) => is_own_address(IpAddr::V4(v4)),
            None => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_networks_are_loopback_private_and_undotted_names() {
        for url in ["http://127.0.0.1:1", "http://10.1.2.3/v1", "http://[::1]:80", "http://vllm:8000", "http://a.local"]
        {
            assert!(is_own_network(url), "{url}");
        }
        for url in ["https://api.openai.com/v1", "http://8.8.8.8", "http://example.org"] {
            assert!(!is_own_network(url), "{url}");
        }
    }

    #[test]
    fn a_server_is_scheme_host_and_port() {
        for (a, b) in
            [("http://h", "http://H:80/v1/"), ("https://h:443/a", "https://h/b"), ("http://[::1]", "http://[::1]/")]
        {
            assert!(same_server(a, b), "{a} {b}");
        }
        for (a, b) in [("http://h", "https://h"), ("http://h", "http://h:81"), ("http://h", "http://i"), ("h", "h")] {
            assert!(!same_server(a, b), "{a} {b}");
        }
    }

    #[test]
    fn a_masked_key_shows_four_characters_at_most_and_none_of_a_short_one() {
        assert_eq!(ApiKey::new("sk-1234567890abcd").masked(), "****abcd");
        assert_eq!(ApiKey::new("short").masked(), "****");
    }
}
