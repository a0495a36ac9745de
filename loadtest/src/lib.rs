//! Simulated LLM backends.
