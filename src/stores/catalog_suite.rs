//! What every implementation of the catalog must do, written against the trait alone.
//!
//! An implementation provides a [`Home`] and calls `catalog_suite!(crate::path::to::make_a_home)` in its tests; every
//! function of the files below then is one test, on a store of its own. A function that is missing from the list is
//! dead code, so it cannot be forgotten.

pub(crate) mod aliases;
pub(crate) mod associations;
pub(crate) mod backends;
pub(crate) mod chains;
pub(crate) mod hooks;
pub(crate) mod intent;
pub(crate) mod leases;
pub(crate) mod models;
pub(crate) mod pages;
pub(crate) mod pools;
pub(crate) mod providers;
pub(crate) mod restarts;
pub(crate) mod seeds;
pub(crate) mod tokens;
pub(crate) mod transfers;

use std::sync::Arc;

use crate::{
    domain::{
        alias::{AliasSpec, AliasTarget},
        backend::BackendSpec,
        chain::{Chain, Task},
        hook::HookSpec,
        model::ModelPatch,
        pool::PoolPatch,
        provider::ProviderKind,
        token::{Scope, TokenLimits, TokenSpec},
    },
    stores::{
        catalog::StoreError,
        sql::{SqlStore, Transfer},
    },
};

/// A place where one catalog lives: empty at first, opened and closed as often as a test wants.
pub(crate) trait Home {
    /// Opens it with room for `max_rows` rows of a type.
    async fn open_with_cap(&self, max_rows: u64) -> Arc<SqlStore>;
    /// Ends it as a clean stop of the process would.
    async fn close(&self, store: Arc<SqlStore>);
    /// Opens it as the product does.
    async fn open(&self) -> Arc<SqlStore> {
        self.open_with_cap(crate::stores::catalog::MAX_ROWS).await
    }
    /// Opens it to take everything out.
    async fn open_for_export(&self) -> Transfer;
    /// Opens it, closed as it is, to put everything in.
    async fn open_for_import(&self) -> Transfer;
}

/// All tests of the suite, each on a fresh home.
macro_rules! catalog_suite {
    ($home:path) => {
        catalog_suite! { @tests $home;
            aliases {
                an_alias_keeps_its_targets_in_their_order,
                an_update_replaces_targets_and_name_and_keeps_the_creation,
                names_are_unique,
                what_is_unknown_is_not_found_by_any_method,
            }
            associations {
                assigning_needs_both_sides_and_happens_once,
                lists_are_latest_assignment_first_and_empty_for_the_unknown,
                models_are_assigned_by_id_or_name,
                taking_out_what_is_not_in_is_not_found,
                deleting_either_side_deletes_the_assignment_only,
            }
            backends {
                a_backend_is_stored_as_sent_with_the_defaults,
                an_update_keeps_what_it_does_not_name,
                a_key_does_not_follow_a_backend_to_another_server,
                name_and_url_are_unique_and_a_trailing_slash_makes_no_difference,
                a_refused_update_changes_nothing,
                what_is_unknown_is_not_found_by_any_method,
            }
            chains {
                a_chain_is_stored_as_sent_under_its_id,
                every_write_makes_a_version_and_all_of_them_can_be_read,
                the_latest_hundred_versions_are_kept,
                numbers_go_on_after_a_deletion,
                concurrent_writes_make_versions_without_gaps,
                what_is_unknown_is_not_found_by_any_method,
                a_page_larger_than_its_bound_is_refused_and_a_shorter_one_is_not,
            }
            hooks {
                a_hook_keeps_a_given_id_and_gets_one_otherwise,
                an_update_replaces_all_but_id_and_creation,
                name_and_id_are_unique,
                what_is_unknown_is_not_found_by_any_method,
                names_are_listed_in_order,
            }
            intent {
                it_holds_everything_oldest_first,
                a_backend_uses_its_own_key_and_only_the_providers_backend_the_providers,
            }
            leases {
                a_lease_has_one_holder_until_it_is_given_back,
                a_lease_that_has_ended_is_anybodys_and_its_former_holder_finds_out,
                instances_know_of_each_other_for_as_long_as_they_say_so,
            }
            models {
                an_undeclared_model_stays_undeclared,
                the_id_is_the_name_at_creation_and_both_find_the_model,
                an_update_changes_the_fields_present,
                a_model_that_could_do_nothing_is_refused,
                no_name_is_taken_twice_nor_the_id_of_another,
                what_is_unknown_is_not_found_by_any_method,
            }
            pages {
                backends_are_paged,
                models_are_paged,
                hooks_are_paged,
                aliases_are_paged,
                tokens_are_paged,
                chains_are_paged_by_their_creation,
                providers_are_paged,
                pools_of_a_purpose_are_paged_and_matched_exactly,
                a_hundred_concurrent_creations_have_distinct_rising_times,
                each_type_is_full_at_the_cap_and_has_room_after_a_deletion,
            }
            pools {
                a_pool_is_stored_with_the_defaults_and_found_by_name,
                an_update_keeps_what_it_does_not_name,
                names_are_unique,
                what_is_unknown_is_not_found_by_any_method,
            }
            providers {
                configuring_stores_a_masked_key_and_makes_the_backend,
                a_second_key_needs_upsert_and_keeps_backend_and_pools,
                a_providers_backend_cannot_be_sent_elsewhere,
                a_provider_and_its_backend_go_together,
                a_taken_name_or_url_refuses_the_whole_configuration,
                what_is_not_configured_is_not_found,
            }
            restarts {
                everything_is_there_after_a_restart,
                times_keep_rising_after_a_restart,
            }
            seeds {
                a_first_start_makes_pools_models_and_assignments,
                a_second_start_changes_nothing,
                one_model_for_both_has_all_capabilities_in_both_pools,
                a_changed_default_is_added_and_the_old_one_stays,
                a_changed_default_can_do_what_its_pool_is_for,
                what_a_user_changed_stays_and_only_an_unknown_context_is_filled_in,
                a_missing_tag_makes_no_other_model,
                a_renamed_model_is_not_the_default_of_its_old_name,
                a_full_store_is_seeded_nevertheless,
            }
            tokens {
                a_token_is_recognised_by_its_hash_and_shown_by_its_end,
                an_update_replaces_what_is_said_of_it_and_keeps_the_token,
                names_are_unique,
                what_is_unknown_is_not_found_by_any_method,
            }
            transfers {
                everything_comes_back_as_it_was,
                secrets_stay_behind_without_a_passphrase,
                an_export_is_refused_without_its_passphrase,
                a_store_that_holds_something_is_replaced_only_on_demand,
                a_line_that_does_not_fit_is_named_and_nothing_is_stored,
            }
        }
    };
    (@tests $home:path; $($file:ident { $($test:ident,)* })*) => {
        $(
            mod $file {
                $(
                    #[tokio::test]
                    async fn $test() {
                        // None where what it needs is not installed.
                        if let Some(home) = $home() {
                            crate::stores::catalog_suite::$file::$test(&home).await;
                        }
                    }
                )*
            }
        )*
    };
}

/// What the store said instead of doing it.
pub(crate) fn refusal<T>(outcome: Result<T, StoreError>) -> StoreError {
    match outcome {
        Ok(_) => panic!("the store did what it should refuse"),
        Err(error) => error,
    }
}

/// Asserts `Conflict`; the text.
pub(crate) fn conflict<T>(outcome: Result<T, StoreError>) -> String {
    match refusal(outcome) {
        StoreError::Conflict(text) => text,
        other => panic!("{other:?}"),
    }
}

/// Asserts `Invalid`; the text.
pub(crate) fn invalid<T>(outcome: Result<T, StoreError>) -> String {
    match refusal(outcome) {
        StoreError::Invalid(text) => text,
        other => panic!("{other:?}"),
    }
}

/// Asserts `NotFound` with a text that says so and names what was looked for.
pub(crate) fn not_found<T>(outcome: Result<T, StoreError>, wanted: &str) {
    match refusal(outcome) {
        StoreError::NotFound(text) => assert!(text.contains("not found") && text.contains(wanted), "{text}"),
        other => panic!("{other:?}"),
    }
}

/// A backend with nothing optional, under a URL of its own.
pub(crate) fn backend(name: &str) -> BackendSpec {
    BackendSpec {
        name: name.to_owned(),
        base_url: format!("http://{name}:11434"),
        kind: ProviderKind::Ollama,
        api_key: None,
        max_concurrency: None,
        weight: None,
        tier: None,
        cloud: None,
        enabled: None,
        labels: None,
    }
}

/// A model of which only the name is declared.
pub(crate) fn model(name: &str) -> ModelPatch {
    ModelPatch { model: Some(name.to_owned()), ..ModelPatch::default() }
}

/// A pool with nothing optional.
pub(crate) fn pool(name: &str) -> PoolPatch {
    PoolPatch { name: Some(name.to_owned()), ..PoolPatch::default() }
}

/// A hook.
pub(crate) fn hook(name: &str) -> HookSpec {
    HookSpec {
        name: name.to_owned(),
        endpoint_url: format!("http://{name}/hook"),
        method: "POST".to_owned(),
        timeout_ms: 1000,
    }
}

/// An alias of one model.
pub(crate) fn alias(name: &str) -> AliasSpec {
    let target = AliasTarget { model: "chat:1b".to_owned(), providers: Vec::new(), pool: None };
    AliasSpec { name: name.to_owned(), targets: vec![target] }
}

/// A token that lets its owner run things.
pub(crate) fn token(name: &str) -> TokenSpec {
    TokenSpec { name: name.to_owned(), scopes: vec![Scope::Run], limits: TokenLimits::default(), expires_at: None }
}

/// A chain of one task that says nothing.
pub(crate) fn chain(id: &str) -> Chain {
    let task = Task { id: "only".to_owned(), handler: "noop".to_owned(), ..Task::default() };
    Chain { id: id.to_owned(), tasks: vec![task], ..Chain::default() }
}
