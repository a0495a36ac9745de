//! Operations of `docs/api.md`, cloud providers.

use serde_json::json;

use super::{
    super::providers::{ProviderConfigView, ProviderInput, ProviderStatus},
    operation::{Operation, delete, get, post},
};

pub(super) fn operations() -> Vec<Operation> {
    let status = || json!({"configured": true, "updatedAt": "2025-08-08T12:00:00.123456Z", "provider": "openai"});
    let config = || json!({"APIKey": "****wxyz", "Type": "openai"});
    let operations = vec![
        post("/providers/{provider}/configure", "configureProvider", "Store the key of a cloud provider")
            .says("Makes a backend whose id, name and type are the provider's name. It is in no pool yet.")
            .takes::<ProviderInput>(json!({"apiKey": "sk-0123456789-wxyz", "upsert": true}))
            .gives::<ProviderStatus>(200, "It is configured", status())
            .fails(&[404, 422]),
        get("/providers/{provider}/status", "providerStatus", "Is a key stored")
            .gives::<ProviderStatus>(200, "Whether it is", status())
            .fails(&[404]),
        get("/providers/{provider}/config", "getProviderConfig", "What is stored of a cloud provider")
            .gives::<ProviderConfigView>(200, "The key, masked", config())
            .fails(&[404]),
        delete("/providers/{provider}/config", "deleteProviderConfig", "Forget the key and its backend")
            .confirms(200, "Provider config deleted successfully")
            .fails(&[404]),
        get("/providers/configs", "listProviderConfigs", "All stored keys, masked")
            .paged()
            .lists::<ProviderConfigView>("Configurations, newest first", json!([config()])),
    ];
    operations.into_iter().map(|operation| operation.of("providers")).collect()
}
