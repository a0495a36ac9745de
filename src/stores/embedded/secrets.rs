//! Encryption of provider keys at rest: XChaCha20-Poly1305 under `SECRET_KEY`, or under a key file made on first start.
//!
//! Owns the key material, which has neither `Debug` nor `Display`. A sealed value is
//! `format (1) | key id (4) | nonce (24) | ciphertext and tag`, bound to its table and row, so that a value copied to
//! another row does not decrypt there. The key id says which key a later rotation has to use.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use sha2::{Digest, Sha256};

use crate::stores::embedded::errors::{Cause, OpenError};

const FORMAT: u8 = 1;
const KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 24;
/// Separates this use of a text from any other hash of it.
const KEY_LABEL: &[u8] = b"penstock stored keys v1\0";
const KEY_ID_LABEL: &[u8] = b"penstock key id v1\0";

/// The text of `SECRET_KEY`.
#[derive(Clone)]
pub struct SecretKey(String);

impl SecretKey {
    /// Wraps the text, which should be long and random: it is hashed, not stretched.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Where a sealed value lives.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) table: &'static str,
    pub(super) row: &'a str,
}

/// Encrypts and decrypts with one key.
pub(super) struct Sealer {
    cipher: XChaCha20Poly1305,
    key_id: [u8; KEY_ID_BYTES],
}

impl Sealer {
    pub(super) fn from_secret(secret: &SecretKey) -> Self {
        Self::new(Sha256::new().chain_update(KEY_LABEL).chain_update(&secret.0).finalize().into())
    }

    /// Reads the key file; `None` when there is none. A mode that lets others read it is tightened.
    pub(super) fn from_file(path: &Path) -> Result<Option<Self>, OpenError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::folder(path, error)),
        };
        let key = bytes.try_into().map_err(|_| OpenError::DamagedKeyFile { path: path.to_owned() })?;
        tighten(path).map_err(|error| OpenError::folder(path, error))?;
        Ok(Some(Self::new(key)))
    }

    /// Makes the key file. It is complete under its name or not there: without it stored keys are lost.
    pub(super) fn create_file(path: &Path) -> Result<Self, OpenError> {
        let key: [u8; KEY_BYTES] = random().map_err(OpenError::system)?;
        write_durably(path, &key).map_err(|error| OpenError::folder(path, error))?;
        Ok(Self::new(key))
    }

    fn new(key: [u8; KEY_BYTES]) -> Self {
        let digest = Sha256::new().chain_update(KEY_ID_LABEL).chain_update(key).finalize();
        let mut key_id = [0; KEY_ID_BYTES];
        key_id.copy_from_slice(&digest[..KEY_ID_BYTES]);
        Self { cipher: XChaCha20Poly1305::new(&key.into()), key_id }
    }

    /// Encrypts `plain` for this place.
    pub(super) fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, Cause> {
        let nonce: [u8; NONCE_BYTES] = random()?;
        let payload = Payload { msg: plain, aad: &place.bytes() };
        let encrypted = self.cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| Cause::Encrypt)?;
        Ok([&[FORMAT][..], &self.key_id, &nonce, &encrypted].concat())
    }

    /// Decrypts what was sealed for this place with this key; `None` for anything else.
    pub(super) fn open(&self, place: Place<'_>, sealed: &[u8]) -> Option<Vec<u8>> {
        let (format, rest) = sealed.split_first()?;
        let (key_id, rest) = rest.split_first_chunk::<KEY_ID_BYTES>()?;
        let (nonce, encrypted) = rest.split_first_chunk::<NONCE_BYTES>()?;
        if *format != FORMAT || *key_id != self.key_id {
            return None;
        }
        let payload = Payload { msg: encrypted, aad: &place.bytes() };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).ok()
    }
}

impl Place<'_> {
    fn bytes(self) -> Vec<u8> {
        [self.table.as_bytes(), b"\0", self.row.as_bytes()].concat()
    }
}

fn random<const N: usize>() -> Result<[u8; N], Cause> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Cause::NoRandomness(error.to_string()))?;
    Ok(bytes)
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished: PathBuf = path.with_extension("key.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn tighten(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = %format!("{mode:o}"), "key file was open to others, now 0600");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'static> = Place { table: "backends", row: "b1" };

    #[test]
    fn a_sealed_value_opens_in_its_place_with_its_key_only() {
        let sealer = Sealer::from_secret(&SecretKey::new("one"));
        let sealed = sealer.seal(PLACE, b"sk-1").unwrap();
        assert_eq!(sealer.open(PLACE, &sealed).unwrap(), b"sk-1");
        assert!(sealer.open(Place { row: "b2", ..PLACE }, &sealed).is_none());
        assert!(sealer.open(Place { table: "provider_keys", ..PLACE }, &sealed).is_none());
        assert!(Sealer::from_secret(&SecretKey::new("two")).open(PLACE, &sealed).is_none());
    }

    #[test]
    fn damaged_and_short_values_are_refused() {
        let sealer = Sealer::from_secret(&SecretKey::new("one"));
        let sealed = sealer.seal(PLACE, b"sk-1").unwrap();
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(sealer.open(PLACE, &damaged).is_none(), "byte {at}");
            assert!(sealer.open(PLACE, &sealed[..at]).is_none(), "length {at}");
        }
    }

    #[test]
    fn no_two_values_are_sealed_alike() {
        let sealer = Sealer::from_secret(&SecretKey::new("one"));
        assert_ne!(sealer.seal(PLACE, b"sk-1").unwrap(), sealer.seal(PLACE, b"sk-1").unwrap());
    }

    #[test]
    fn the_key_file_is_private_kept_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        assert!(Sealer::from_file(&path).unwrap().is_none());

        let sealed = Sealer::create_file(&path).unwrap().seal(PLACE, b"sk-1").unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(Sealer::from_file(&path).unwrap().unwrap().open(PLACE, &sealed).unwrap(), b"sk-1");
        assert_eq!(mode(), 0o600);

        fs::write(&path, "short").unwrap();
        assert!(matches!(Sealer::from_file(&path), Err(OpenError::DamagedKeyFile { .. })));
    }
}
