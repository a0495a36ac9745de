//! Live events of model downloads (`docs/api.md`, download queue).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One step of one download (`docs/api.md`, download queue).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DownloadEvent {
    /// The server's word; `success` and `error: …` are ends.
    pub status: String,
    /// The layer it is about.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Bytes of the layer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub total: u64,
    /// Bytes already there.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub completed: u64,
    /// The model as declared.
    pub model: String,
    /// The backend's base URL.
    pub base_url: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl DownloadEvent {
    /// Whether the download is over with it.
    pub fn is_end(&self) -> bool {
        self.status == "success" || self.status.starts_with("error: ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_members_are_left_out_of_an_event() {
        let event = DownloadEvent {
            status: "success".to_owned(),
            digest: String::new(),
            total: 0,
            completed: 0,
            model: "m".to_owned(),
            base_url: "http://b".to_owned(),
        };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(text, r#"{"status":"success","model":"m","baseUrl":"http://b"}"#);
        assert_eq!(serde_json::from_str::<DownloadEvent>(&text).unwrap(), event);
    }
}
