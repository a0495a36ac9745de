//! Every metric that the process tells, in the order of the documentation (`docs/operations.md`, metrics).
//!
//! Labels are ids, names that an administrator has given, and classes of closed sets, never what a request says. Times are
//! seconds. Names of calls to models are those of OpenTelemetry's conventions for generative AI.

use super::family::Family;

/// What Penstock adds of its own.
const OVERHEAD: &[f64] = &[0.000_05, 0.000_1, 0.000_2, 0.000_3, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5];
/// Of what takes between a moment and minutes.
const TIME: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0];
/// OpenTelemetry's for whole operations of models.
const OPERATION: &[f64] = &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// The same for first words.
const FIRST_WORD: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0];
/// The same for the words behind them.
const NEXT_WORD: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
/// The same for tokens.
const TOKENS: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0];
/// Of what should be short: commands of services, messages between actors, the delay of a timer.
const SHORT: &[f64] = &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

macro_rules! families {
    ($($(#[$doc:meta])* $name:ident = $how:ident($($argument:expr),* $(,)?);)*) => {
        $(
            #[doc = "The family of this name."]
            pub const $name: Family = Family::$how($($argument),*);
        )*
        /// All of them.
        pub const ALL: &[&Family] = &[$(&$name),*];
    };
}

families! {
    BUILD_INFO = gauge("penstock_build_info", &["version", "commit"], "1, with the version and the commit it was built from");
    STARTED_AT = gauge("penstock_start_time_seconds", &[], "When the server started, in seconds since 1970");
    READY = gauge("penstock_ready", &[], "1 while new requests are taken and the store can be reached, else 0");
    INSTANCES = gauge("penstock_instances", &[], "Instances of the same database that are there, this one included");

    HTTP_REQUESTS = counter("penstock_http_requests_total", &["method", "route", "code"], "Requests that were answered, by route and status");
    HTTP_DURATION = histogram("penstock_http_request_duration_seconds", &["method", "route"], TIME, "From the arrival of a request to the last byte of its answer, or until its client left");
    HTTP_OVERHEAD = histogram("penstock_http_overhead_seconds", &["method", "route"], OVERHEAD, "What Penstock itself took of a request that asked a model: until the answer began, without the wait for a slot and without the backend's time");
    HTTP_CONNECTIONS = gauge("penstock_http_connections", &[], "Connections of clients that are open");
    HTTP_CONNECTIONS_LIMIT = gauge("penstock_http_connections_limit", &[], "Connections of clients that may be open at once");
    HTTP_HELD_BYTES = gauge("penstock_http_held_body_bytes", &[], "Bytes of request bodies that are held now");
    HTTP_HELD_LIMIT = gauge("penstock_http_held_body_limit_bytes", &[], "Bytes of request bodies that may be held at once, 0 where nothing bounds them");

    IN_FLIGHT = gauge("penstock_requests_in_flight", &[], "Requests that ask a model and are not answered to the end");
    IN_FLIGHT_LIMIT = gauge("penstock_requests_in_flight_limit", &[], "Such requests that may be there at once, 0 where nothing bounds them");
    REFUSALS = counter("penstock_refusals_total", &["reason"], "Requests that were refused for load or state, by X-Penstock-Reason");

    POOL_INFO = gauge("penstock_pool_info", &["pool", "name", "policy"], "1, with the name and the policy of the pool");
    POOL_WAITING = gauge("penstock_pool_waiting_requests", &["pool", "class"], "Requests that wait in the pool's queue");
    POOL_CAPACITY = gauge("penstock_pool_queue_capacity", &["pool"], "Requests that may wait in the pool's queue");
    POOL_OLDEST = gauge("penstock_pool_oldest_wait_seconds", &["pool"], "How long the oldest waiting request has waited, 0 where none waits");
    POOL_WAIT = histogram("penstock_pool_queue_wait_seconds", &["pool", "class"], TIME, "How long requests waited in the queue that found no free slot, whatever came of it");
    POOL_WAITS = counter("penstock_pool_queue_waits_total", &["pool", "outcome"], "Requests that found no free slot, by what came of it: granted, full, timeout, deadline, lost (its backends or the queue went), left (its client)");
    POOL_PICKS = counter("penstock_pool_picks_total", &["pool", "policy"], "Backends that were chosen for a call, by the policy that chose");
    POOL_REPEATS = counter("penstock_pool_repeats_total", &["pool", "kind"], "Calls that were made again: failover (another backend), hedge (a second one beside it), fallback (the next target of an alias)");
    POOL_REPEATS_DENIED = counter("penstock_pool_repeats_denied_total", &["pool"], "Calls that were not made again because the pool's retry budget was empty");
    POOL_SHARING = gauge("penstock_pool_sharing_requests", &["pool"], "Requests that share a call which is made for another");
    POOL_KEPT = counter("penstock_pool_kept_answers_total", &["pool", "result"], "Calls that may be answered from kept answers, by hit and miss");

    BACKEND_INFO = gauge("penstock_backend_info", &["backend", "name", "type"], "1, with the name and the type of the backend");
    BACKEND_UP = gauge("penstock_backend_up", &["backend"], "1 when the last look at the backend succeeded, 0 when it failed; nothing while it was not looked at");
    BACKEND_PROBES = counter("penstock_backend_probes_total", &["backend", "outcome"], "Looks at the backend: ok, failed, late (it is busy and answers calls)");
    BACKEND_BREAKER = gauge("penstock_backend_breaker_state", &["backend", "state"], "1 for the state its breaker is in: closed, open or half_open");
    BACKEND_BREAKER_OPENED = counter("penstock_backend_breaker_openings_total", &["backend"], "How often its breaker has opened");
    BACKEND_RESTS = gauge("penstock_backend_rest_seconds", &["backend"], "For how long it still wants to be left alone, 0 where it does not");
    SLOTS_LIMIT = gauge("penstock_backend_slots_limit", &["backend"], "Calls that may run on the backend at once: set, or found by watching it");
    SLOTS_IN_USE = gauge("penstock_backend_slots_in_use", &["backend"], "Slots of the backend that are taken");
    SLOTS_SETTLING = gauge("penstock_backend_slots_settling", &["backend"], "Those of them whose call was given up a moment ago");
    BACKEND_LIMIT_CHANGES = counter("penstock_backend_slots_limit_changes_total", &["backend", "direction"], "How often its limit was found to be another one, by direction: up, down");
    BACKEND_WAITING = gauge("penstock_backend_waiting_requests", &["backend"], "Requests that wait for a slot of the backend");
    BACKEND_CALLS = counter("penstock_backend_calls_total", &["backend", "outcome"], "Calls that were made there, by what came of them: ok, left (given up by us or by the client), or the kind of the failure");
    BACKEND_DURATION = histogram("penstock_backend_call_duration_seconds", &["backend"], TIME, "From the start of a call to the end of its answer, of those that were answered");
    BACKEND_CONNECT = histogram("penstock_backend_connect_seconds", &["backend"], SHORT, "How long new connections took, of those that Penstock makes itself (plain HTTP)");
    BACKEND_FIRST_TOKEN = histogram("penstock_backend_time_to_first_token_seconds", &["backend"], FIRST_WORD, "From the start of a call to the first words of its answer, of streams");
    BACKEND_NEXT_TOKEN = histogram("penstock_backend_time_per_output_token_seconds", &["backend"], NEXT_WORD, "Time between two tokens of an answer, of streams that told their tokens");
    BACKEND_TOKENS = counter("penstock_backend_tokens_total", &["backend", "direction"], "Tokens as the backend told them: input, output");
    BACKEND_LATENCY = gauge("penstock_backend_latency_seconds", &["backend"], "How long it takes to begin an answer of late, by which calls are balanced");
    BACKEND_SHARED = counter("penstock_backend_shared_calls_total", &["backend"], "Requests that got the answer of a call that was made there for another");
    BACKEND_MODELS = gauge("penstock_backend_models", &["backend", "state"], "Models of the backend: observed, declared for it, missing (declared and not there)");
    BACKEND_DOWNLOADS_WAITING = gauge("penstock_backend_downloads_waiting", &["backend"], "Downloads of models that wait");
    BACKEND_DOWNLOADS_RUNNING = gauge("penstock_backend_downloads_running", &["backend"], "Downloads of models that run, 0 or 1");
    BACKEND_DOWNLOADS = counter("penstock_backend_downloads_total", &["backend", "outcome"], "Downloads of models that ended: ok, failed, cancelled");
    SYNC_DUTY = gauge("penstock_model_sync_duty", &[], "1 on the instance that keeps models in sync");

    OPERATION_DURATION = histogram("gen_ai_client_operation_duration_seconds", &["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "error_type"], OPERATION, "Calls to backends from start to end, by operation, type of backend and model; error_type is empty for those that were answered");
    OPERATION_FIRST_CHUNK = histogram("gen_ai_client_operation_time_to_first_chunk_seconds", &["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"], FIRST_WORD, "From the start of a call to the first piece of a streamed answer");
    TOKEN_USAGE = histogram("gen_ai_client_token_usage", &["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type"], TOKENS, "Tokens of a call as the backend told them: input, output");

    WORKFLOW_DURATION = histogram("gen_ai_workflow_duration_seconds", &["gen_ai_workflow_name", "error_type"], OPERATION, "Chain runs from start to end, by stored chain; error_type is empty for those that ended well");
    RUNS = counter("penstock_chain_runs_total", &["chain", "outcome"], "Chain runs that ended: ok, or the class of the failure. Chains that are not stored are inline");
    RUNS_ACTIVE = gauge("penstock_chain_runs_active", &[], "Chain runs that are active");
    RUNS_LIMIT = gauge("penstock_chain_runs_limit", &[], "Chain runs that may be active at once");
    STEPS = counter("penstock_chain_steps_total", &["handler", "outcome"], "Attempts of tasks that ended: ok, or the class of the failure");
    STEP_DURATION = histogram("penstock_chain_step_duration_seconds", &["handler"], TIME, "Attempts of tasks from start to end");
    HOOK_CALLS = counter("penstock_hook_calls_total", &["hook", "outcome"], "Calls of remote hooks: ok, or the class of the failure");
    HOOK_DURATION = histogram("penstock_hook_call_duration_seconds", &["hook"], TIME, "Calls of remote hooks from start to end");
    ALERTS = counter("penstock_alerts_total", &[], "Alerts that chains have raised here");

    STORE_OPERATIONS = counter("penstock_store_operations_total", &["kind", "outcome"], "What the store was asked: read, write; ok, refused (by a rule of the data), unavailable");
    STORE_DURATION = histogram("penstock_store_operation_duration_seconds", &["kind"], SHORT, "From asking the store to its answer");
    STORE_UP = gauge("penstock_store_up", &["store"], "1 when the store answered the last time it was asked, by its kind: sqlite, postgresql");
    VALKEY_COMMANDS = counter("penstock_valkey_commands_total", &["outcome"], "Commands to Valkey: ok, failed; skipped while it rests after a failure");
    VALKEY_DURATION = histogram("penstock_valkey_command_duration_seconds", &[], SHORT, "From a command to Valkey's answer");
    BUS_UP = gauge("penstock_bus_up", &["bus"], "1 while the bus between instances is connected, by its kind: in_process, valkey, nats");
    BUS_EVENTS = counter("penstock_bus_events_total", &["direction"], "Events of the bus: sent, received, lost (there was no room, or no connection)");
    LOG_LINES_DROPPED = counter("penstock_log_lines_dropped_total", &[], "Lines of the log, and printed by chains, that nobody read in time");
    LIVE_EVENTS_DROPPED = counter("penstock_live_events_dropped_total", &[], "Live events that a slow watcher did not get");

    ACTORS = gauge("penstock_actors", &["actor"], "Actors that live, by kind");
    ACTOR_DEPTH = gauge("penstock_actor_mailbox_messages", &["actor"], "Messages that wait or are being handled, of the fullest mailbox of the kind");
    ACTOR_CAPACITY = gauge("penstock_actor_mailbox_capacity", &["actor"], "Messages that one mailbox of the kind takes");
    ACTOR_AGE = gauge("penstock_actor_mailbox_age_seconds", &["actor"], "Age of the oldest message that waits or is being handled, of the kind");
    ACTOR_RESTARTS = counter("penstock_actor_restarts_total", &["actor"], "Actors that crashed and were started again, by kind");

    SCHEDULING_DELAY = histogram("penstock_runtime_scheduling_delay_seconds", &[], SHORT, "How late a task runs that wants to run ten times a second: what every request waits for the processor");
    WORKERS = gauge("penstock_runtime_workers", &[], "Threads that run tasks");
    TASKS = gauge("penstock_runtime_tasks", &[], "Tasks that live");
    TASKS_WAITING = gauge("penstock_runtime_queued_tasks", &[], "Tasks in the queue that all threads share");
    BUSY = counter("penstock_runtime_busy_seconds_total", &[], "Time in which the threads that run tasks were busy, of all of them together");

    PROCESS_CPU = counter("process_cpu_seconds_total", &[], "CPU time of the process, in seconds");
    PROCESS_RESIDENT = gauge("process_resident_memory_bytes", &[], "Memory of the process that is in use");
    PROCESS_VIRTUAL = gauge("process_virtual_memory_bytes", &[], "Address space of the process");
    PROCESS_FDS = gauge("process_open_fds", &[], "Open file descriptors");
    PROCESS_MAX_FDS = gauge("process_max_fds", &[], "File descriptors that may be open at once");
    PROCESS_THREADS = gauge("process_threads", &[], "Threads of the process");
    PROCESS_STARTED = gauge("process_start_time_seconds", &[], "When the process started, in seconds since 1970");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{super::family::Kind, *};

    #[test]
    fn names_are_unique_and_follow_the_conventions_of_prometheus() {
        let names: BTreeSet<&str> = ALL.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), ALL.len());
        for family in ALL {
            let is_counter = family.kind == Kind::Counter;
            assert_eq!(family.name.ends_with("_total"), is_counter, "{}", family.name);
            assert!(!family.says.is_empty() && !family.says.contains('\n'), "{}", family.name);
            if let Kind::Histogram(bounds) = family.kind {
                assert!(bounds.is_sorted_by(|a, b| a < b), "{}", family.name);
            }
        }
    }
}
