//! The chain machine.
