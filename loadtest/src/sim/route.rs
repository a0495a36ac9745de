//! The kinds of request a simulated server knows, and sets of them; rules, gates and records speak in these words.

/// What a request asks for, whatever the path is called in the dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Route {
    /// Ollama's `/`.
    Home,
    /// `/health` of llama.cpp and vLLM, `/healthz` of a tokenizer service.
    Health,
    /// `/api/version`, vLLM's `/version`.
    Version,
    /// llama.cpp's `/props`.
    Props,
    /// How busy it is: llama.cpp's `/slots`, vLLM's `/metrics`.
    Load,
    /// Installed or served models: `/api/tags`, `/v1/models`, Gemini's `models`.
    List,
    /// One model: `/api/show`, `/v1/models/NAME`, Gemini's `models/NAME`.
    Show,
    /// Loaded models: `/api/ps`.
    Running,
    /// `/api/pull`.
    Pull,
    /// `/api/delete`.
    Delete,
    /// `/api/chat`, `/v1/chat/completions`, Gemini's `:generateContent`.
    Chat,
    /// `/api/generate`, `/v1/completions`.
    Generate,
    /// `/api/embed`, `/api/embeddings`, `/v1/embeddings`, Gemini's `:embedContent`.
    Embed,
    /// `/tokenize` of llama.cpp, vLLM and a tokenizer service, Gemini's `:countTokens`.
    Tokenize,
    /// Any call of a simulated hook.
    Hook,
    /// A known path with a method it does not take.
    WrongMethod,
    /// A path the dialect does not have.
    Unknown,
}

/// A set of routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routes(u32);

impl Routes {
    /// Every route.
    pub const ANY: Self = Self(u32::MAX);
    /// Calls that make text: chat and generate.
    pub const GENERATING: Self = Self(Route::Chat.bit() | Route::Generate.bit());
    /// Calls that occupy a model, or a hook: chat, generate, embed, hook.
    pub const CALLS: Self = Self(Self::GENERATING.0 | Route::Embed.bit() | Route::Hook.bit());

    /// Whether the route is in the set.
    pub fn contains(self, route: Route) -> bool {
        self.0 & route.bit() != 0
    }
}

impl Route {
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl From<Route> for Routes {
    fn from(route: Route) -> Self {
        Self(route.bit())
    }
}

impl<const N: usize> From<[Route; N]> for Routes {
    fn from(routes: [Route; N]) -> Self {
        Self(routes.into_iter().fold(0, |set, route| set | route.bit()))
    }
}
