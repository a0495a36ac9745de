//! Models: ids and names, declared and undeclared capabilities.

use super::{Home, conflict, invalid, model, not_found};
use crate::{
    domain::model::{Capabilities, ModelPatch},
    stores::catalog::CatalogStore,
};

const USELESS: ModelPatch = ModelPatch {
    model: None,
    context_length: None,
    can_chat: Some(false),
    can_embed: Some(false),
    can_prompt: Some(false),
    can_stream: Some(false),
};

pub(crate) async fn an_undeclared_model_stays_undeclared(home: &impl Home) {
    let store = home.open().await;
    let stored = store.create_model(model("qwen3:4b")).await.unwrap();
    assert_eq!((stored.capabilities, stored.context_length), (None, 0));
    assert_eq!(stored.created_at, stored.updated_at);
    let patch = ModelPatch { context_length: Some(4096), ..ModelPatch::default() };
    let updated = store.update_model("qwen3:4b", patch).await.unwrap();
    assert_eq!((updated.capabilities, updated.context_length), (None, 4096));
}

pub(crate) async fn the_id_is_the_name_at_creation_and_both_find_the_model(home: &impl Home) {
    let store = home.open().await;
    let name = "hf.co/org/name with space:tag";
    let created = store.create_model(model(name)).await.unwrap();
    assert_eq!((created.id.as_str(), created.name.as_str()), (name, name));

    let renamed = store.update_model(name, model("renamed")).await.unwrap();
    assert_eq!((renamed.id.as_str(), renamed.name.as_str()), (name, "renamed"));
    assert_eq!(store.model(name).await.unwrap(), renamed);
    assert_eq!(store.model("renamed").await.unwrap(), renamed);
    assert_eq!(store.delete_model("renamed").await.unwrap(), renamed);
    not_found(store.model(name).await, name);
}

pub(crate) async fn an_update_changes_the_fields_present(home: &impl Home) {
    let store = home.open().await;
    let declared = ModelPatch { can_embed: Some(true), context_length: Some(512), ..model("m") };
    let created = store.create_model(declared).await.unwrap();
    assert_eq!(created.capabilities, Some(Capabilities::EMBED));

    let patch = ModelPatch { can_chat: Some(true), ..ModelPatch::default() };
    let updated = store.update_model("m", patch).await.unwrap();
    assert_eq!(updated.capabilities, Some(Capabilities { can_chat: true, ..Capabilities::EMBED }));
    assert_eq!((updated.context_length, updated.created_at), (512, created.created_at));
    assert!(updated.updated_at >= created.updated_at);
    assert_eq!(store.model("m").await.unwrap(), updated);

    // What an undeclared model is guessed to do is what a caller was shown, so that is what a patch is laid over.
    store.create_model(model("undeclared")).await.unwrap();
    let patch = ModelPatch { can_embed: Some(true), ..ModelPatch::default() };
    let guessed = store.update_model("undeclared", patch).await.unwrap();
    assert_eq!(guessed.capabilities, Some(Capabilities { can_embed: true, ..Capabilities::GENERATE }));
}

pub(crate) async fn a_model_that_could_do_nothing_is_refused(home: &impl Home) {
    let store = home.open().await;
    let text = invalid(store.create_model(ModelPatch { model: Some("m".to_owned()), ..USELESS }).await);
    assert!(text.contains("'m'") && text.contains("canChat"), "{text}");

    let created = store.create_model(ModelPatch { can_embed: Some(true), ..model("m") }).await.unwrap();
    invalid(store.update_model("m", USELESS).await);
    let last = ModelPatch { can_embed: Some(false), ..ModelPatch::default() };
    invalid(store.update_model("m", last).await);
    assert_eq!(store.model("m").await.unwrap(), created);
}

pub(crate) async fn no_name_is_taken_twice_nor_the_id_of_another(home: &impl Home) {
    let store = home.open().await;
    store.create_model(model("a")).await.unwrap();
    store.create_model(model("b")).await.unwrap();
    assert_eq!(conflict(store.create_model(model("a")).await), "a model named 'a' exists already");
    assert_eq!(conflict(store.update_model("b", model("a")).await), "a model named 'a' exists already");

    store.update_model("a", model("c")).await.unwrap();
    assert_eq!(conflict(store.create_model(model("a")).await), "a model with the id 'a' exists already");
    assert_eq!(conflict(store.update_model("b", model("a")).await), "a model with the id 'a' exists already");
    assert_eq!(conflict(store.create_model(model("c")).await), "a model named 'c' exists already");
    assert_eq!(store.update_model("c", model("a")).await.unwrap().name, "a");
}

pub(crate) async fn what_is_unknown_is_not_found_by_any_method(home: &impl Home) {
    let store = home.open().await;
    not_found(store.model("no-such-model").await, "no-such-model");
    not_found(store.update_model("no-such-model", model("any")).await, "no-such-model");
    not_found(store.delete_model("no-such-model").await, "no-such-model");
}
