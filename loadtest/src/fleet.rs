//! Simulated backends for a load, as a file describes them, in a process of their own: `loadtest fleet`.
//!
//! The same servers that the tests script, but under a load profile: their answers are made once, and differ in their last word
//! alone, which is the last word of the prompt.

mod command;
mod spec;

use std::{convert::Infallible, future::pending, io, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::{
    command::{FleetArgs, serve},
    spec::BackendSpec,
};
use crate::{
    fleet::spec::{Dialect, Down},
    sim::{Flavour, SimBackend, SimHook, SimModel},
};

/// Numbers of a vector.
pub(crate) const DIMENSION: usize = 384;
/// A context that no prompt of a scenario fills.
const CONTEXT: usize = 1 << 24;

/// Running backends, and a hook that repeats its input; they end with this value.
pub struct Fleet {
    backends: Vec<SimBackend>,
    hook: SimHook,
    members: Vec<Member>,
    /// When each of them is down.
    downs: Vec<Option<Down>>,
}

/// One running backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its name, of which there is one.
    pub name: String,
    /// Its base URL.
    pub url: String,
    /// What Penstock calls its type.
    pub kind: String,
    /// Calls it works on at once; none where it is not bounded.
    pub slots: Option<usize>,
    /// The models it serves.
    pub models: Vec<String>,
}

/// Where everything is, as the process tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Places {
    /// The backends, in the order of the file.
    pub members: Vec<Member>,
    /// The hook's URL.
    pub hook: String,
}

impl Fleet {
    /// Starts them, the first one on this port and the next ones behind it, or all on free ones if it is 0.
    ///
    /// # Errors
    /// When a port is taken.
    pub async fn start(specs: &[BackendSpec], port: u16) -> io::Result<Self> {
        let (mut backends, mut members, mut downs) = (Vec::new(), Vec::new(), Vec::new());
        for (at, spec) in specs.iter().enumerate() {
            for nth in 1..=spec.count {
                let offset = u16::try_from(backends.len()).unwrap_or(u16::MAX);
                let port = if port == 0 { 0 } else { port.saturating_add(offset) };
                let seed = spec.seed.wrapping_add(u64::from(offset));
                let builder = match spec.dialect {
                    Dialect::Ollama => SimBackend::ollama(),
                    Dialect::Openai => SimBackend::openai(),
                    Dialect::Vllm => SimBackend::vllm(),
                    Dialect::Llamacpp => SimBackend::openai().flavour(Flavour::LlamaCpp),
                    Dialect::Gemini => SimBackend::gemini(),
                };
                let builder = builder.port(port).count_only().under_load(spec.profile(seed));
                let builder = spec.slots.into_iter().fold(builder, |builder, slots| builder.slots(slots));
                let models =
                    spec.models.iter().map(|name| SimModel::new(name).dimension(DIMENSION).context_length(CONTEXT));
                let backend = models.fold(builder, |builder, model| builder.model(model)).start().await?;
                let name = spec.name.clone().unwrap_or_else(|| format!("{}-{}", spec.dialect.kind(), at + 1));
                let name = if spec.count > 1 { format!("{name}-{nth}") } else { name };
                members.push(Member {
                    name,
                    url: backend.url(),
                    kind: spec.dialect.kind().to_owned(),
                    slots: spec.bound(),
                    models: spec.models.clone(),
                });
                backends.push(backend);
                downs.push(spec.down);
            }
        }
        Ok(Self { backends, hook: SimHook::start_counting().await?, members, downs })
    }

    /// Where everything is.
    pub fn places(&self) -> Places {
        Places { members: self.members.clone(), hook: self.hook.url() }
    }

    /// Takes backends away and brings them back, as their file says, for ever.
    ///
    /// # Errors
    /// When a port is taken meanwhile.
    pub async fn go_up_and_down(&self) -> io::Result<Infallible> {
        let lives = self.backends.iter().zip(&self.downs).map(|(backend, down)| async {
            let Some(down) = down else { return pending().await };
            loop {
                tokio::time::sleep(Duration::from_secs_f64(down.every_s - down.for_s)).await;
                backend.stop().await;
                tokio::time::sleep(Duration::from_secs_f64(down.for_s)).await;
                backend.restart().await?;
            }
        });
        let (ended, ..) = futures_util::future::select_all(lives.map(Box::pin)).await;
        ended
    }
}
