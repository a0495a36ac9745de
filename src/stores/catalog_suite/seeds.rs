//! The default pools and models: made once, never against the user.

use super::{Home, model, pool};
use crate::{
    domain::{
        ids::PoolId,
        model::{Capabilities, ModelPatch},
        page::Page,
        pool::{EMBED_POOL, Policy, PoolPatch, TASKS_POOL},
    },
    stores::catalog::{CatalogStore, SeedModel, SeedPool},
};

fn pools() -> Vec<SeedPool> {
    [(EMBED_POOL, "Embedder", "Internal Embeddings"), (TASKS_POOL, "Tasks", "Internal Tasks")]
        .map(|(id, name, purpose)| SeedPool {
            id: PoolId::new(id),
            name: name.to_owned(),
            purpose_type: purpose.to_owned(),
        })
        .into()
}

fn models(embed: &str, task: &str) -> Vec<SeedModel> {
    [(embed, EMBED_POOL, Capabilities::EMBED, 0), (task, TASKS_POOL, Capabilities::GENERATE, 4096)]
        .map(|(name, pool, capabilities, context_length)| SeedModel {
            name: name.to_owned(),
            context_length,
            capabilities,
            pool: PoolId::new(pool),
        })
        .into()
}

async fn names_in(store: &impl CatalogStore, pool: &str) -> Vec<String> {
    store.models_of(&PoolId::new(pool)).await.unwrap().into_iter().map(|model| model.name).collect()
}

pub(crate) async fn a_first_start_makes_pools_models_and_assignments(home: &impl Home) {
    let store = home.open().await;
    store.seed(pools(), models("embed", "task")).await.unwrap();
    let tasks = store.pool(&PoolId::new(TASKS_POOL)).await.unwrap();
    assert_eq!((tasks.name.as_str(), tasks.purpose_type.as_str()), ("Tasks", "Internal Tasks"));
    assert_eq!(store.pool_by_name("Embedder").await.unwrap().id.as_str(), EMBED_POOL);
    assert_eq!(store.model("embed").await.unwrap().capabilities, Some(Capabilities::EMBED));
    let task = store.model("task").await.unwrap();
    assert_eq!((task.capabilities, task.context_length), (Some(Capabilities::GENERATE), 4096));
    assert_eq!(names_in(&*store, EMBED_POOL).await, ["embed"]);
    assert_eq!(names_in(&*store, TASKS_POOL).await, ["task"]);
}

pub(crate) async fn a_second_start_changes_nothing(home: &impl Home) {
    let store = home.open().await;
    store.seed(pools(), models("embed", "task")).await.unwrap();
    let before = store.intent().await.unwrap();
    home.close(store).await;
    let store = home.open().await;
    store.seed(pools(), models("embed", "task")).await.unwrap();
    assert!(store.intent().await.unwrap() == before);
}

pub(crate) async fn one_model_for_both_has_all_capabilities_in_both_pools(home: &impl Home) {
    let store = home.open().await;
    store.seed(pools(), models("both", "both")).await.unwrap();
    let both = store.model("both").await.unwrap();
    assert_eq!(both.capabilities, Some(Capabilities::EMBED.union(Capabilities::GENERATE)));
    assert_eq!(both.context_length, 4096);
    assert_eq!(store.pools_of_model("both").await.unwrap().len(), 2);
    assert_eq!(store.models(Page::default()).await.unwrap().len(), 1);
}

pub(crate) async fn a_changed_default_is_added_and_the_old_one_stays(home: &impl Home) {
    let store = home.open().await;
    store.seed(pools(), models("embed", "task")).await.unwrap();
    store.seed(pools(), models("embed", "other")).await.unwrap();
    assert_eq!(names_in(&*store, TASKS_POOL).await, ["other", "task"]);
    assert_eq!(store.models(Page::default()).await.unwrap().len(), 3);
}

pub(crate) async fn a_changed_default_can_do_what_its_pool_is_for(home: &impl Home) {
    let store = home.open().await;
    store.seed(pools(), models("one", "task")).await.unwrap();
    store.seed(pools(), models("one", "one")).await.unwrap();
    let one = store.model("one").await.unwrap();
    assert_eq!(one.capabilities, Some(Capabilities::EMBED.union(Capabilities::GENERATE)));
    assert_eq!(names_in(&*store, TASKS_POOL).await, ["one", "task"]);
}

pub(crate) async fn what_a_user_changed_stays_and_only_an_unknown_context_is_filled_in(home: &impl Home) {
    let store = home.open().await;
    store.create_model(model("task")).await.unwrap();
    store.seed(pools(), models("embed", "task")).await.unwrap();
    assert_eq!(store.model("task").await.unwrap().context_length, 4096);

    let mine = ModelPatch { can_stream: Some(false), context_length: Some(8192), ..ModelPatch::default() };
    let mine = store.update_model("task", mine).await.unwrap();
    let policy = PoolPatch { policy: Some(Policy::Random), ..PoolPatch::default() };
    let tasks = store.update_pool(&PoolId::new(TASKS_POOL), policy).await.unwrap();
    store.seed(pools(), models("embed", "task")).await.unwrap();
    assert_eq!(store.model("task").await.unwrap(), mine);
    assert_eq!(store.pool(&PoolId::new(TASKS_POOL)).await.unwrap(), tasks);
}

pub(crate) async fn a_missing_tag_makes_no_other_model(home: &impl Home) {
    let store = home.open().await;
    store.create_model(model("task:latest")).await.unwrap();
    store.seed(pools(), models("embed", "task")).await.unwrap();
    store.seed(pools(), models("embed:latest", "task:latest")).await.unwrap();
    assert_eq!(names_in(&*store, EMBED_POOL).await, ["embed"]);
    assert_eq!(names_in(&*store, TASKS_POOL).await, ["task:latest"]);
    assert_eq!(store.model("task:latest").await.unwrap().context_length, 4096);

    store.seed(pools(), models("both", "both:latest")).await.unwrap();
    let both = store.model("both").await.unwrap();
    assert_eq!(both.capabilities, Some(Capabilities::EMBED.union(Capabilities::GENERATE)));
    assert_eq!(store.models(Page::default()).await.unwrap().len(), 3);

    // Where both are declared, the default is the one of that very name.
    store.create_model(model("embed:latest")).await.unwrap();
    store.seed(pools(), models("embed:latest", "task")).await.unwrap();
    assert_eq!(names_in(&*store, EMBED_POOL).await, ["embed:latest", "both", "embed"]);
}

pub(crate) async fn a_renamed_model_is_not_the_default_of_its_old_name(home: &impl Home) {
    let store = home.open().await;
    store.create_model(model("task")).await.unwrap();
    let renamed = ModelPatch { model: Some("mine".to_owned()), ..ModelPatch::default() };
    let renamed = store.update_model("task", renamed).await.unwrap();
    store.seed(pools(), models("embed", "task")).await.unwrap();
    assert_eq!(store.model("mine").await.unwrap(), renamed);
    assert!(names_in(&*store, TASKS_POOL).await.is_empty());

    store.delete_model("mine").await.unwrap();
    store.seed(pools(), models("embed", "task")).await.unwrap();
    assert_eq!(names_in(&*store, TASKS_POOL).await, ["task"]);
}

pub(crate) async fn a_full_store_is_seeded_nevertheless(home: &impl Home) {
    let store = home.open_with_cap(1).await;
    store.create_pool(pool("mine")).await.unwrap();
    store.create_model(model("mine")).await.unwrap();
    store.seed(pools(), models("embed", "task")).await.unwrap();
    assert_eq!(store.pools().await.unwrap().len(), 3);
    assert_eq!(store.models(Page::default()).await.unwrap().len(), 3);
}
