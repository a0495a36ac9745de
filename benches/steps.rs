//! A pool of backends that nobody probes or calls, for the steps of a call by themselves.

use std::{sync::Arc, time::Duration};

use penstock::{
    domain::{pool::Policy, provider::ProviderKind},
    providers::{Provider, Target, Transport, TransportConfig, connect},
    runtime::dispatch::measured::Steps,
};
use tokio::runtime::{Builder, Runtime};

/// Everything takes turns on the thread that measures.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) fn start(runtime: &Runtime, policy: Policy, backends: usize, slots: u32) -> Steps {
    runtime.block_on(Steps::start(policy, backends, slots, provider())).unwrap()
}

/// An adapter as each backend has one; its address is never called.
fn provider() -> Arc<dyn Provider> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let time = Duration::from_secs(1);
    let transport =
        Transport::new(TransportConfig { connect: time, first_byte: time, idle: time, total: time }).unwrap();
    let target = Target { base_url: "http://127.0.0.1:1".to_owned(), api_key: None };
    connect(ProviderKind::Vllm, false, target, &transport).unwrap()
}
