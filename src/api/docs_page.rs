//! `GET /docs`: a page that shows the machine-readable description (`docs/api.md`). All it needs is in the binary: Swagger UI
//! from its crate, and beside it a page and a script that name nothing but what this server serves.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use utoipa_swagger_ui::Config;

use super::Reply;
use crate::error::{Error, ErrorCode};

const PAGE: &str = include_str!("docs_page/index.html");
/// Loaded by the page, because its policy allows no script within it.
const START: &str = include_str!("docs_page/start.js");
/// The files of Swagger UI that the page loads.
const LOADED: [&str; 2] = ["swagger-ui-bundle.js", "swagger-ui.css"];

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// A file that a browser loads.
#[derive(Debug, Clone)]
pub struct WebFile {
    /// Its media type.
    pub content_type: &'static str,
    /// Its bytes as they are sent.
    pub bytes: Bytes,
    /// Whether they are compressed.
    pub is_gzip: bool,
}

/// `GET /docs`.
pub fn page() -> Reply {
    Reply::file(plain("text/html; charset=utf-8", PAGE))
}

/// `GET /docs/{file}`.
///
/// # Errors
/// 404 for a file that the page does not load.
pub fn file(name: &str) -> Result<Reply, Error> {
    if name == "start.js" {
        return Ok(Reply::file(plain(SCRIPT, START)));
    }
    let found = LOADED.contains(&name).then(|| utoipa_swagger_ui::serve(name, Arc::new(Config::default())).ok());
    let found = found.flatten().flatten();
    let found = found.ok_or_else(|| Error::new(ErrorCode::NotFound, format!("file '{name}' not found below /docs")))?;
    let bytes = match found.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    let content_type = if name.ends_with(".css") { STYLE } else { SCRIPT };
    Ok(Reply::file(WebFile { content_type, bytes, is_gzip: found.gzpipped }))
}

fn plain(content_type: &'static str, text: &'static str) -> WebFile {
    WebFile { content_type, bytes: Bytes::from_static(text.as_bytes()), is_gzip: false }
}
