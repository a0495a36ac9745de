//! Encryption of provider keys at rest: XChaCha20-Poly1305 under `SECRET_KEY`, or under a key file made on first start.
//!
//! Owns the key material, which has neither `Debug` nor `Display`. A sealed value is
//! `format (1) | key id (4) | nonce (24) | ciphertext and tag`, bound to its table and row, so that a value copied to
//! another row does not decrypt there. The key id says which key a later rotation has to use.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use base64::{Engine, prelude::BASE64_STANDARD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::stores::sql::errors::{Cause, OpenError};

const FORMAT: u8 = 1;
const KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 24;
/// Most that a passphrase may cost to try.
const MOST_MEMORY_KIB: u32 = 1024 * 1024;
const MOST_PASSES: u32 = 16;
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

/// What an export's secrets are encrypted with.
pub struct Passphrase(String);

impl Passphrase {
    /// Shortest one, in bytes: it is all that protects the keys in a file that goes anywhere.
    pub const SHORTEST: usize = 12;

    /// Wraps the text; `None` when it is too short to protect anything.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (text.len() >= Self::SHORTEST).then_some(Self(text))
    }
}

/// What makes equal passphrases different keys, and how hard it is to try one (RFC 9106).
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Salt {
    salt: String,
    memory_kib: u32,
    passes: u32,
}

impl Salt {
    /// The recommendation of RFC 9106 for machines with little memory to spare.
    pub(super) fn random() -> Result<Self, Cause> {
        let salt: [u8; 16] = random()?;
        Ok(Self { salt: BASE64_STANDARD.encode(salt), memory_kib: 64 * 1024, passes: 3 })
    }
}

/// Where a sealed value lives.
#[derive(Clone, Copy)]
pub(in crate::stores) struct Place<'a> {
    pub(super) table: &'static str,
    pub(super) row: &'a str,
}

/// One key, and what values that it sealed say of it.
#[derive(Clone)]
pub(super) struct Key {
    cipher: XChaCha20Poly1305,
    id: [u8; KEY_ID_BYTES],
}

/// The keys that this process knows: the one that is to be in force first, then those that were.
pub(super) type Keys = Vec<Key>;

/// Decrypts with all keys that this process knows. Which of them encrypts is the store's to say (`unlock`).
pub(in crate::stores) struct Sealer {
    keys: ArcSwap<Keys>,
    file: Option<KeyFile>,
}

impl Sealer {
    /// With the file that the keys are from, if that is where they are from.
    pub(super) fn new(keys: Keys, file: Option<KeyFile>) -> Self {
        Self { keys: ArcSwap::from_pointee(keys), file }
    }

    /// Where the keys are kept; `None` when they were given.
    pub(super) fn file(&self) -> Option<&KeyFile> {
        self.file.as_ref()
    }

    /// All keys, the one that is to be in force first.
    pub(super) fn keys(&self) -> Arc<Keys> {
        self.keys.load_full()
    }

    /// Knows other keys from here on.
    pub(super) fn replace(&self, keys: Keys) {
        self.keys.store(Arc::new(keys));
    }

    /// Decrypts what was sealed for this place with one of the keys; `None` for anything else.
    pub(super) fn open(&self, place: Place<'_>, sealed: &[u8]) -> Option<Vec<u8>> {
        self.keys.load().iter().find_map(|key| key.open(place, sealed))
    }
}

impl Key {
    pub(super) fn from_secret(secret: &SecretKey) -> Self {
        Self::new(Sha256::new().chain_update(KEY_LABEL).chain_update(&secret.0).finalize().into())
    }

    /// Takes a moment, on purpose.
    pub(super) fn from_passphrase(passphrase: &Passphrase, salt: &Salt) -> Result<Self, Cause> {
        // An export may come from anywhere: it must not say how much memory we take.
        let (memory, passes) = (salt.memory_kib.min(MOST_MEMORY_KIB), salt.passes.min(MOST_PASSES));
        let params = argon2::Params::new(memory, passes, 1, Some(KEY_BYTES)).map_err(|_| Cause::Encrypt)?;
        let bytes = BASE64_STANDARD.decode(&salt.salt).map_err(|_| Cause::Encrypt)?;
        let mut key = [0; KEY_BYTES];
        argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
            .hash_password_into(passphrase.0.as_bytes(), &bytes, &mut key)
            .map_err(|_| Cause::Encrypt)?;
        Ok(Self::new(key))
    }

    fn new(key: [u8; KEY_BYTES]) -> Self {
        let digest = Sha256::new().chain_update(KEY_ID_LABEL).chain_update(key).finalize();
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&digest[..KEY_ID_BYTES]);
        Self { cipher: XChaCha20Poly1305::new(&key.into()), id }
    }

    /// Encrypts `plain` for this place.
    pub(super) fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, Cause> {
        let nonce: [u8; NONCE_BYTES] = random()?;
        let payload = Payload { msg: plain, aad: &place.bytes() };
        let encrypted = self.cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| Cause::Encrypt)?;
        Ok([&[FORMAT][..], &self.id, &nonce, &encrypted].concat())
    }

    /// Decrypts what was sealed for this place with this key; `None` for anything else.
    pub(super) fn open(&self, place: Place<'_>, sealed: &[u8]) -> Option<Vec<u8>> {
        let (format, rest) = sealed.split_first()?;
        let (key_id, rest) = rest.split_first_chunk::<KEY_ID_BYTES>()?;
        let (nonce, encrypted) = rest.split_first_chunk::<NONCE_BYTES>()?;
        if *format != FORMAT || *key_id != self.id {
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

/// The key file: one key, or the new one and the former one while a change of keys is under way.
#[derive(Clone)]
pub(in crate::stores) struct KeyFile(PathBuf);

impl KeyFile {
    pub(in crate::stores) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is, or would be.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The keys in it; `None` when there is none. A mode that lets others read it is tightened.
    pub(super) fn read(&self) -> Result<Option<Keys>, OpenError> {
        let path = &self.0;
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::folder(path, error)),
        };
        let (keys, rest) = bytes.as_chunks::<KEY_BYTES>();
        if !rest.is_empty() || !(1..=2).contains(&keys.len()) {
            return Err(OpenError::DamagedKeyFile { path: path.clone() });
        }
        tighten(path).map_err(|error| OpenError::folder(path, error))?;
        Ok(Some(keys.iter().copied().map(Key::new).collect()))
    }

    /// Makes the file. It is complete under its name or not there: without it stored keys are lost.
    pub(super) fn create(&self) -> Result<Keys, OpenError> {
        if let Some(folder) = self.0.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|error| OpenError::folder(folder, error))?;
        }
        let key: [u8; KEY_BYTES] = random().map_err(OpenError::system)?;
        self.write(&key)?;
        Ok(vec![Key::new(key)])
    }

    /// Puts a new key before the one that is in force.
    pub(super) fn add(&self) -> Result<Keys, OpenError> {
        let failed = |error| OpenError::folder(&self.0, error);
        let former = fs::read(&self.0).map_err(failed)?;
        let key: [u8; KEY_BYTES] = random().map_err(OpenError::system)?;
        // A change that did not come to its end has left two: the one in force is unknown here, and both may be needed.
        let former = former.get(..KEY_BYTES).filter(|_| former.len() == KEY_BYTES);
        let former = former.ok_or_else(|| OpenError::DamagedKeyFile { path: self.0.clone() })?;
        self.write(&[&key[..], former].concat())?;
        self.read()?.ok_or_else(|| OpenError::DamagedKeyFile { path: self.0.clone() })
    }

    /// Keeps the first key alone.
    pub(super) fn keep_first(&self) -> Result<(), OpenError> {
        let bytes = fs::read(&self.0).map_err(|error| OpenError::folder(&self.0, error))?;
        let first = bytes.get(..KEY_BYTES).ok_or_else(|| OpenError::DamagedKeyFile { path: self.0.clone() })?;
        self.write(first)
    }

    fn write(&self, bytes: &[u8]) -> Result<(), OpenError> {
        write_durably(&self.0, bytes).map_err(|error| OpenError::folder(&self.0, error))
    }
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

    fn key(text: &str) -> Key {
        Key::from_secret(&SecretKey::new(text))
    }

    #[test]
    fn a_sealed_value_opens_in_its_place_with_its_key_only() {
        let sealed = key("one").seal(PLACE, b"sk-1").unwrap();
        assert_eq!(key("one").open(PLACE, &sealed).unwrap(), b"sk-1");
        assert!(key("one").open(Place { row: "b2", ..PLACE }, &sealed).is_none());
        assert!(key("one").open(Place { table: "provider_keys", ..PLACE }, &sealed).is_none());
        assert!(key("two").open(PLACE, &sealed).is_none());
        assert_eq!(Sealer::new(vec![key("two"), key("one")], None).open(PLACE, &sealed).unwrap(), b"sk-1");
        assert!(Sealer::new(vec![key("two"), key("three")], None).open(PLACE, &sealed).is_none());
    }

    #[test]
    fn damaged_and_short_values_are_refused() {
        let sealed = key("one").seal(PLACE, b"sk-1").unwrap();
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(key("one").open(PLACE, &damaged).is_none(), "byte {at}");
            assert!(key("one").open(PLACE, &sealed[..at]).is_none(), "length {at}");
        }
    }

    #[test]
    fn no_two_values_are_sealed_alike() {
        assert_ne!(key("one").seal(PLACE, b"sk-1").unwrap(), key("one").seal(PLACE, b"sk-1").unwrap());
    }

    #[test]
    fn the_key_file_is_private_kept_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        let file = KeyFile::new(path.clone());
        assert!(file.read().unwrap().is_none());

        let sealed = file.create().unwrap()[0].seal(PLACE, b"sk-1").unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(file.read().unwrap().unwrap()[0].open(PLACE, &sealed).unwrap(), b"sk-1");
        assert_eq!(mode(), 0o600);

        for damaged in ["short", ""] {
            fs::write(&path, damaged).unwrap();
            assert!(matches!(file.read(), Err(OpenError::DamagedKeyFile { .. })));
        }
    }

    #[test]
    fn a_new_key_comes_before_the_former_one_until_that_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(folder.path().join("secret.key"));
        let former = file.create().unwrap().remove(0);
        let both = file.add().unwrap();
        let sealed = |key: &Key| key.seal(PLACE, b"sk-1").unwrap();
        assert!(both.len() == 2 && both[1].open(PLACE, &sealed(&former)).is_some());
        assert!(both[0].open(PLACE, &sealed(&former)).is_none());
        file.keep_first().unwrap();
        let left = file.read().unwrap().unwrap();
        assert!(left.len() == 1 && left[0].open(PLACE, &sealed(&both[0])).is_some());
    }
}
