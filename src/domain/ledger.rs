//! Where it is written down what a request's calls have cost: made by whoever admitted the request, carried with what it
//! asks of routing to every call that is made for it, those of a chain's steps included.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// Keeps an account of tokens.
pub trait TokenLedger: Send + Sync {
    /// A call has cost so many, input and output. Told once a call, when it is over.
    fn spent(&self, tokens: u64);
}

/// The account of one request's calls, if anybody keeps one.
#[derive(Clone, Default)]
pub struct Spending(Option<Arc<dyn TokenLedger>>);

impl Spending {
    /// Nobody wants to know.
    pub const UNCOUNTED: Self = Self(None);

    /// Everything goes to this account.
    pub fn on(ledger: Arc<dyn TokenLedger>) -> Self {
        Self(Some(ledger))
    }

    /// Whether anybody wants to know.
    pub const fn is_counted(&self) -> bool {
        self.0.is_some()
    }

    /// Writes down what a call has cost.
    pub fn add(&self, tokens: u64) {
        if let Some(ledger) = self.0.as_ref().filter(|_| tokens > 0) {
            ledger.spent(tokens);
        }
    }
}

impl PartialEq for Spending {
    /// The same account.
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            _ => false,
        }
    }
}

impl Eq for Spending {}

impl Hash for Spending {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.is_counted().hash(state);
    }
}

impl fmt::Debug for Spending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_counted() { "Spending(counted)" } else { "Spending(uncounted)" })
    }
}
