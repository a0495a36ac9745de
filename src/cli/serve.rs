//! `penstock serve`: from the environment to a running server and its end.

use std::{net::IpAddr, process::ExitCode};

use super::output::complain;
use crate::{
    app::{App, Ended, StartError},
    config::{self, Config},
    shutdown::StopSignals,
    telemetry,
};

/// The usual statuses of `sysexits.h`: bad configuration, a service that is not available, a fault of ours.
const EXIT_CONFIG: u8 = 64;
const EXIT_UNAVAILABLE: u8 = 69;
const EXIT_SOFTWARE: u8 = 70;

pub(super) fn serve() -> ExitCode {
    let (config, warnings) = match config::from_process() {
        Ok(read) => read,
        Err(error) => return complain(EXIT_CONFIG, &error.to_string()),
    };
    let _log = telemetry::log::start(&config.log);
    if let Err(error) = telemetry::install() {
        return complain(EXIT_SOFTWARE, &error.to_string());
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    // Two TLS implementations could be linked in one day; this names ours before the first client is built.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
    // Twice the usual stack: bodies nested as deeply as they may be are read recursively.
    match tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(4 << 20).build() {
        Ok(runtime) => runtime.block_on(run(config)),
        Err(error) => complain(EXIT_UNAVAILABLE, &format!("the runtime could not be started: {error}")),
    }
}

async fn run(config: Config) -> ExitCode {
    let mut signals = match StopSignals::install() {
        Ok(signals) => signals,
        Err(error) => return complain(EXIT_UNAVAILABLE, &format!("signals cannot be received: {error}")),
    };
    log_settings(&config);
    let started = tokio::select! {
        started = App::start(config) => started,
        // A start may wait for its database.
        signal = signals.next() => {
            tracing::info!(signal, "stopped before it was ready");
            return ExitCode::SUCCESS;
        }
    };
    let app = match started {
        Ok(app) => app,
        Err(error @ StartError::Address(_)) => return complain(EXIT_CONFIG, &error.to_string()),
        Err(error) => return complain(EXIT_UNAVAILABLE, &error.to_string()),
    };
    if let Some(address) = app.metrics_addr {
        tracing::info!(%address, "metrics are served here alone");
    }
    tracing::info!(address = %app.addr, version = env!("CARGO_PKG_VERSION"), "penstock is ready");
    let stop = app.stopper();
    let ended = app.ended();
    tokio::pin!(ended);
    let ended = tokio::select! {
        ended = &mut ended => ended,
        signal = signals.next() => {
            tracing::info!(signal, "stopping: no new work, running requests finish");
            stop.cancel();
            tokio::select! {
                ended = &mut ended => ended,
                signal = signals.next() => {
                    tracing::warn!(signal, "stopping at once");
                    return ExitCode::from(EXIT_SOFTWARE);
                }
            }
        }
    };
    match ended {
        Ended::Drained => tracing::info!("penstock has stopped"),
        Ended::Cut(requests) => {
            tracing::warn!(requests, "penstock has stopped; some requests were ended at the deadline")
        }
        Ended::Failed => return ExitCode::from(EXIT_SOFTWARE),
    }
    ExitCode::SUCCESS
}

/// Settings that matter at first sight; never a secret.
fn log_settings(config: &Config) {
    let is_open = config.auth.token.is_none();
    let is_loopback = config.listen.address.is_some_and(|address: IpAddr| address.is_loopback());
    tracing::info!(
        data_dir = %config.store.data_dir.display(),
        task_model = config.defaults.task_model,
        embed_model = config.defaults.embed_model,
        model_sync = config.defaults.model_sync.as_str(),
        max_output_tokens = config.defaults.max_output_tokens,
        max_body_bytes = config.limits.max_body_bytes,
        max_in_flight = config.limits.max_in_flight,
        requests_per_minute = config.rates.requests_per_minute,
        tokens_per_minute = config.rates.tokens_per_minute,
        drain_timeout = ?config.drain.timeout,
        tokenizer_service = config.upstream.tokenizer_service_url.is_some(),
        authentication = !is_open,
        "settings"
    );
    if is_open && !is_loopback {
        tracing::warn!("TOKEN is not set: everybody who reaches this address may use it");
    }
}
