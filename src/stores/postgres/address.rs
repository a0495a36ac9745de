//! Where the database is and how far it is trusted: `DATABASE_URL`, as PostgreSQL's own clients read it.
//!
//! Owns the meaning of `sslmode` and `sslrootcert` (PostgreSQL documentation, libpq, SSL support): `disable`, `prefer` (the
//! default) and `require` encrypt or not, and trust whoever answers; `verify-ca` and `verify-full` look at the
//! certificate. The address is shown without its password.

use std::{fmt, path::PathBuf, str::FromStr};

use tokio_postgres::config::{Host, SslMode};

/// A database, with the password in it; shown without.
#[derive(Clone)]
pub struct DatabaseAddress {
    pub(super) config: tokio_postgres::Config,
    pub(super) trust: Trust,
}

/// Which server is believed to be the right one, where the connection is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trust {
    /// Whoever answers.
    Anybody,
    /// Whose certificate one of these authorities has signed; `None`: those of the system.
    Authority {
        /// A file of certificates in PEM.
        root: Option<PathBuf>,
        /// Whether it must be for the host's name, too.
        names_host: bool,
    },
}

/// What is wrong with the address. It never shows the address: a password may be in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(String);

impl FromStr for DatabaseAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let failed = |problem: &str| {
            AddressError(format!(
                "{problem}; it looks like postgres://user:password@host:5432/database?sslmode=require"
            ))
        };
        if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(failed("is not the URL of a PostgreSQL database"));
        }
        // A password may hold a `?`, and ends with the last `@`.
        let (base, query) = text.rsplit_once('?').filter(|(_, query)| !query.contains('@')).unwrap_or((text, ""));
        let mut rest = Vec::new();
        let (mut mode, mut root) = ("prefer", None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = value,
                Some(("sslrootcert", value)) => {
                    let path = percent_encoding::percent_decode_str(value).decode_utf8();
                    let path = path.map_err(|_| failed("holds an sslrootcert that is not UTF-8"))?;
                    root = (path != "system").then(|| PathBuf::from(path.as_ref()));
                }
                _ => rest.push(pair),
            }
        }
        // The parser's words are not shown: of a password with a `?` in it, it would take a part for the name of an option.
        let config = format!("{base}?{}", rest.join("&")).parse::<tokio_postgres::Config>();
        let mut config =
            config.map_err(|_| failed("has a part that cannot be read, or an option that is not known"))?;
        let (tls, trust) = match (mode, root) {
            ("disable", _) => (SslMode::Disable, Trust::Anybody),
            ("prefer" | "allow", _) => (SslMode::Prefer, Trust::Anybody),
            ("require", None) => (SslMode::Require, Trust::Anybody),
            // As libpq has it: who gives an authority wants it asked.
            ("require", Some(root)) => (SslMode::Require, Trust::Authority { root: Some(root), names_host: false }),
            ("verify-ca", root) => (SslMode::Require, Trust::Authority { root, names_host: false }),
            ("verify-full", root) => (SslMode::Require, Trust::Authority { root, names_host: true }),
            _ => {
                return Err(failed(
                    "has an sslmode that is none of disable, prefer, require, verify-ca and verify-full",
                ));
            }
        };
        config.ssl_mode(tls);
        if config.get_hosts().is_empty() {
            return Err(failed("names no host"));
        }
        if config.get_application_name().is_none() {
            config.application_name("penstock");
        }
        Ok(Self { config, trust })
    }
}

impl fmt::Display for DatabaseAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.config.get_dbname().or(self.config.get_user()).unwrap_or("postgres");
        write!(f, "the database '{name}' on ")?;
        let ports = self.config.get_ports();
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            let comma = if index == 0 { "" } else { ", " };
            match host {
                Host::Tcp(host) => write!(f, "{comma}{host}:{port}")?,
                Host::Unix(path) => write!(f, "{comma}{}", path.display())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> DatabaseAddress {
        text.parse().unwrap()
    }

    #[test]
    fn it_is_shown_without_its_password() {
        let address = parsed("postgres://me:hush-hush@db.example:5433/penstock?sslmode=disable&connect_timeout=3");
        assert_eq!(address.to_string(), "the database 'penstock' on db.example:5433");
        let odd = parsed("postgres://me:hush?hush=1@db.example/x?sslmode=verify-full");
        assert_eq!(odd.to_string(), "the database 'x' on db.example:5432");
        assert_eq!(odd.config.get_password(), Some(&b"hush?hush=1"[..]));
        assert_eq!(parsed("postgresql://me@a,b/x").to_string(), "the database 'x' on a:5432, b:5432");
    }

    #[test]
    fn sslmode_means_what_it_means_to_other_clients() {
        let trust = |query: &str| {
            let address = parsed(&format!("postgres://me@db/x{query}"));
            (address.config.get_ssl_mode(), address.trust)
        };
        let authority = |root: Option<&str>, names_host| Trust::Authority { root: root.map(PathBuf::from), names_host };
        assert_eq!(trust(""), (SslMode::Prefer, Trust::Anybody));
        assert_eq!(trust("?sslmode=disable"), (SslMode::Disable, Trust::Anybody));
        assert_eq!(trust("?sslmode=require"), (SslMode::Require, Trust::Anybody));
        let signed = trust("?sslrootcert=/etc/a%20b.pem&sslmode=require");
        assert_eq!(signed, (SslMode::Require, authority(Some("/etc/a b.pem"), false)));
        assert_eq!(trust("?sslmode=verify-ca"), (SslMode::Require, authority(None, false)));
        assert_eq!(trust("?sslmode=verify-full&sslrootcert=system"), (SslMode::Require, authority(None, true)));
    }

    #[test]
    fn what_is_wrong_with_it_is_told_without_showing_it() {
        for (text, told) in [
            ("mysql://me:hush-hush@db/x", "is not the URL of a PostgreSQL database"),
            ("db.example:5432", "is not the URL of a PostgreSQL database"),
            ("postgres://me:hush-hush@db/x?sslmode=maybe", "has an sslmode that is none of"),
            ("postgres://me:hush-hush@db:port/x", "has a part that cannot be read"),
            ("postgres://me@db/x?hush=1", "has a part that cannot be read"),
            ("postgres://", "names no host"),
        ] {
            let error = text.parse::<DatabaseAddress>().err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.starts_with(told) && !error.contains("hush"), "{text}: {error}");
        }
    }
}
