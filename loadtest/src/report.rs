//! What is told of a measurement: a table for the terminal, Markdown for a document, a page for the browser.
//!
//! All three are made of a [`Report`] and of nothing else, so that a file written once can be shown in any of them later.
//!
//! # Layout
//! - [`results`]: what was measured; [`Figure`]: its figures by name; [`json`]: the same as a file
//! - [`section`]: one scenario's part of it, and what of it was void; [`columns`]: which figures its table shows;
//!   [`frontier`]: how much a target takes before it becomes slow; [`curve`]: one curve of many rounds;
//!   [`number`]: how a figure is written; [`words`]: what all forms say alike
//! - [`table`]: for the terminal; [`markdown`]: for a document; [`page`]: for the browser, with [`plot`] in it
//! - [`command`]: `loadtest report`

pub mod columns;
pub mod command;
pub mod curve;
mod figure;
pub mod frontier;
pub mod json;
pub mod markdown;
pub mod number;
pub mod page;
pub mod plot;
pub mod results;
pub mod section;
pub mod table;
pub mod words;

pub use figure::Figure;
pub use results::Report;
