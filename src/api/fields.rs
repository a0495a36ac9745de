//! Checks that several resources share. A missing or impossible value is 422, one longer than its column 400
//! (`docs/api.md`, errors and length limits).

use url::Url;

use crate::{domain::ids::MAX_ID_BYTES, error::Error};

/// Longest name, purpose, type or URL, in bytes.
pub(super) const MAX_TEXT_BYTES: usize = 512;

/// A required text of at most 512 bytes.
pub(super) fn required(field: &str, value: &str) -> Result<String, Error> {
    present(field, value)?;
    text(field, value)
}

/// The complaint about a required field that is absent or empty.
pub(super) fn missing(field: &str) -> Error {
    Error::unprocessable(format!("field '{field}' is required and must not be empty"))
}

fn present(field: &str, value: &str) -> Result<(), Error> {
    if value.trim().is_empty() { Err(missing(field)) } else { Ok(()) }
}

/// A text of at most 512 bytes.
pub(super) fn text(field: &str, value: &str) -> Result<String, Error> {
    at_most(field, value, MAX_TEXT_BYTES)
}

/// A required id or hook name of at most 255 bytes.
pub(super) fn short(field: &str, value: &str) -> Result<String, Error> {
    present(field, value)?;
    at_most(field, value, MAX_ID_BYTES)
}

/// A text of at most this many bytes.
pub(super) fn at_most(field: &str, value: &str, limit: usize) -> Result<String, Error> {
    if value.len() > limit {
        return Err(Error::invalid(format!("field '{field}' is longer than {limit} bytes")));
    }
    Ok(value.to_owned())
}

/// An absolute http or https URL without credentials, of at most 512 bytes.
pub(super) fn url(field: &str, value: &str) -> Result<String, Error> {
    let value = required(field, value)?;
    let malformed = || {
        Error::unprocessable(format!("field '{field}' must be an absolute http or https URL such as http://host:11434"))
    };
    let url = Url::parse(value.trim()).map_err(|_| malformed())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(malformed());
    }
    // It is stored and shown as sent.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::unprocessable(format!("field '{field}' must not hold credentials; use an API key instead")));
    }
    Ok(value.trim().to_owned())
}

/// The base URL of a backend, to which paths are appended: a URL with neither query nor fragment.
pub(super) fn base_url(field: &str, value: &str) -> Result<String, Error> {
    let value = url(field, value)?;
    if value.contains(['?', '#']) {
        return Err(Error::unprocessable(format!("field '{field}' must have neither a ?query nor a #fragment")));
    }
    Ok(value)
}

/// A whole number within bounds.
pub(super) fn number(field: &str, value: i64, least: u32, most: u32) -> Result<u32, Error> {
    let fits = u32::try_from(value).ok().filter(|number| (least..=most).contains(number));
    fits.ok_or_else(|| Error::unprocessable(format!("field '{field}' must be from {least} to {most}, not {value}")))
}

/// A number from 0 up to a bound, with a fraction.
pub(super) fn fraction(field: &str, value: f64, most: f64) -> Result<f64, Error> {
    let fits = Some(value).filter(|number| (0.0..=most).contains(number));
    fits.ok_or_else(|| Error::unprocessable(format!("field '{field}' must be from 0 to {most}, not {value}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn urls_must_be_absolute_http_and_hold_no_credentials() {
        assert_eq!(url("u", " http://h:1/v1/ ").ok().as_deref(), Some("http://h:1/v1/"));
        for bad in ["", "h:11434", "/path", "ftp://h", "http://", "http://me:pass@h"] {
            assert_eq!(url("u", bad).err().map(|error| error.code()), Some(ErrorCode::Unprocessable), "{bad}");
        }
    }

    #[test]
    fn a_base_url_has_neither_query_nor_fragment() {
        assert!(base_url("u", "http://h/v1").is_ok());
        for bad in ["http://h?", "http://h/v1?key=1", "http://h/#top", "ftp://h"] {
            assert_eq!(base_url("u", bad).err().map(|error| error.code()), Some(ErrorCode::Unprocessable), "{bad}");
        }
        assert!(url("u", "http://h/hook?team=1").is_ok());
    }

    #[test]
    fn too_long_is_another_case_than_missing() {
        assert_eq!(required("f", &"x".repeat(513)).err().map(|error| error.code()), Some(ErrorCode::InvalidRequest));
        assert_eq!(required("f", " ").err().map(|error| error.code()), Some(ErrorCode::Unprocessable));
        assert!(required("f", &"x".repeat(512)).is_ok());
    }
}
