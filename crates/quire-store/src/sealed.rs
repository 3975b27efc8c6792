//! Secrets of others (keys of providers, tokens of connected accounts), sealed before they become rows.
//!
//! A [`Keyring`] is a file of master keys that only this user may read; the last key seals, every key opens.
//! Each secret is encrypted with ChaCha20-Poly1305 under a key of its own, derived by HKDF-SHA256 (RFC 5869)
//! from a master key and 32 random bytes, so that no nonce can ever repeat. What a secret is for is part of
//! what is authenticated: copied into another tenant's row it does not open. Knows no provider and no table.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom, SystemRandom};

use quire_types::{Secret, TenantId};

use crate::Error;

/// The layout of what is sealed: this byte, the number of the master key, the salt, the encrypted text.
const LAYOUT: u8 = 1;
const SALT: usize = 32;
const HEADER: usize = 1 + 4 + SALT;
const MASTER: usize = 32;

const HEADING: &str = "# The keys that seal secrets in quire's database: the last one seals, all of them open.\n\
    # Keep a copy with your backups, apart from the database: without it those secrets are lost.\n";

/// What a secret is for. Sealed for one purpose, it opens for no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purpose(String);

impl Purpose {
    /// A secret of one tenant: `what` it is, such as `connection`, and of which.
    pub fn of_tenant(tenant: TenantId, what: &'static str, id: &str) -> Self {
        Self(format!("tenant/{}/{what}/{id}", tenant.uuid()))
    }

    /// A secret of the whole installation: `what` it is, such as `pool`, and of which.
    pub fn of_installation(what: &'static str, id: &str) -> Self {
        Self(format!("installation/{what}/{id}"))
    }
}

/// The master keys. Cheap to clone. A key that another process added is found when it is first needed.
#[derive(Clone)]
pub struct Keyring {
    path: Arc<Path>,
    keys: Arc<RwLock<Vec<Key>>>,
}

#[derive(Clone)]
struct Key {
    number: u32,
    master: [u8; MASTER],
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Keyring {
    /// The keys of an installation, in `secrets/sealing-keys` of its data directory. Several machines on one
    /// database need the same file.
    pub fn of_data_dir(data: &Path) -> Result<Self, Error> {
        Self::open(&data.join("secrets/sealing-keys"))
    }

    /// Reads the keys of this file; makes the file with a first key where there is none.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let keys = match read(path)? {
            Some(keys) => keys,
            None => {
                create(path, &[Key::generate(1)?])?;
                // Another process may have been first; what is in the file counts.
                read(path)?.ok_or_else(|| failed(path, "it vanished"))?
            }
        };
        Ok(Self {
            path: path.into(),
            keys: Arc::new(RwLock::new(keys)),
        })
    }

    /// Adds a key that seals from now on, and returns its number. Secrets stay sealed as they are until they
    /// are sealed again: see [`Keyring::is_current`].
    pub fn add_key(&self) -> Result<u32, Error> {
        // Two processes at once: the second must see the key of the first.
        let folder = folder(&self.path);
        let turn = fs::File::open(folder).and_then(|folder| folder.lock().map(|()| folder));
        let _turn = turn.map_err(|error| failed(folder, &error.to_string()))?;
        let mut keys = read(&self.path)?.unwrap_or_default();
        let number = keys.last().map_or(1, |last| last.number + 1);
        keys.push(Key::generate(number)?);
        replace(&self.path, &keys)?;
        self.set(keys);
        Ok(number)
    }

    /// Seals a secret for a purpose.
    pub fn seal(&self, purpose: &Purpose, secret: &Secret) -> Result<Vec<u8>, Error> {
        let key = self.last()?;
        let mut sealed = vec![0; HEADER];
        sealed[0] = LAYOUT;
        sealed[1..5].copy_from_slice(&key.number.to_be_bytes());
        random(&mut sealed[5..])?;
        let (cipher, aad) = cipher(&key, &sealed, purpose)?;
        let mut text = secret.expose().as_bytes().to_vec();
        cipher
            .seal_in_place_append_tag(nonce(), aad, &mut text)
            .map_err(|_| Error::Sealed("the secret is too long to be sealed"))?;
        sealed.extend_from_slice(&text);
        Ok(sealed)
    }

    /// Opens what was sealed for this purpose.
    pub fn unseal(&self, purpose: &Purpose, sealed: &[u8]) -> Result<Secret, Error> {
        let key = self.key(number(sealed)?)?;
        let (cipher, aad) = cipher(&key, sealed, purpose)?;
        let mut text = sealed[HEADER..].to_vec();
        let text = cipher.open_in_place(nonce(), aad, &mut text).map_err(|_| {
            Error::Sealed(
                "a sealed secret was changed, or sealed for something else: enter it again",
            )
        })?;
        let text =
            std::str::from_utf8(text).map_err(|_| Error::Sealed("a sealed secret is no text"))?;
        Ok(Secret::new(text))
    }

    /// Whether something is sealed with the newest key.
    pub fn is_current(&self, sealed: &[u8]) -> Result<bool, Error> {
        Ok(self.last()?.number == number(sealed)?)
    }

    fn last(&self) -> Result<Key, Error> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.last()
            .cloned()
            .ok_or_else(|| failed(&self.path, "it holds no key"))
    }

    fn key(&self, number: u32) -> Result<Key, Error> {
        let find = || {
            let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
            keys.iter().find(|key| key.number == number).cloned()
        };
        if let Some(key) = find() {
            return Ok(key);
        }
        self.set(read(&self.path)?.unwrap_or_default());
        find().ok_or_else(|| {
            failed(
                &self.path,
                &format!("it lacks key {number}: restore the file from a backup"),
            )
        })
    }

    fn set(&self, keys: Vec<Key>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }
}

impl Key {
    fn generate(number: u32) -> Result<Self, Error> {
        let mut master = [0; MASTER];
        random(&mut master)?;
        Ok(Self { number, master })
    }

    /// A line of the file: the number, then the key in hexadecimal.
    fn parse(line: &str) -> Option<Self> {
        let (number, hex) = line.split_once(' ')?;
        let mut master = [0; MASTER];
        if hex.len() != 2 * MASTER || !hex.is_ascii() {
            return None;
        }
        for (byte, at) in master.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&hex[at..at + 2], 16).ok()?;
        }
        Some(Self {
            number: number.parse().ok()?,
            master,
        })
    }
}

fn random(bytes: &mut [u8]) -> Result<(), Error> {
    SystemRandom::new()
        .fill(bytes)
        .map_err(|_| Error::Sealed("the system gives no random bytes"))
}

fn number(sealed: &[u8]) -> Result<u32, Error> {
    match sealed {
        [LAYOUT, a, b, c, d, ..] if sealed.len() > HEADER => {
            Ok(u32::from_be_bytes([*a, *b, *c, *d]))
        }
        _ => Err(Error::Sealed(
            "a sealed secret has a layout that this version does not know",
        )),
    }
}

/// The cipher of one secret, and what is authenticated beside it.
fn cipher(
    key: &Key,
    sealed: &[u8],
    purpose: &Purpose,
) -> Result<(LessSafeKey, Aad<Vec<u8>>), Error> {
    let header = &sealed[..HEADER];
    let derived = Salt::new(HKDF_SHA256, &header[5..]).extract(&key.master);
    let own: UnboundKey = derived
        .expand(&[b"quire sealed secret"], &CHACHA20_POLY1305)
        .map_err(|_| Error::Sealed("a key can't be derived"))?
        .into();
    let aad = [header, purpose.0.as_bytes()].concat();
    Ok((LessSafeKey::new(own), Aad::from(aad)))
}

/// The key is used once, so its nonce may be the same for all.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn read(path: &Path) -> Result<Option<Vec<Key>>, Error> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, &error.to_string())),
    };
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Option<Vec<Key>> = lines.map(Key::parse).collect();
    match keys {
        Some(keys) if !keys.is_empty() => Ok(Some(keys)),
        _ => Err(failed(
            path,
            "it is no file of keys: restore it from a backup",
        )),
    }
}

/// Writes a file that must not be there yet; leaves one that is.
fn create(path: &Path, keys: &[Key]) -> Result<(), Error> {
    let new = write_beside(path, keys)?;
    let linked = match fs::hard_link(&new, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(failed(path, &error.to_string()))
        }
        _ => Ok(()),
    };
    fs::remove_file(&new).map_err(|error| failed(&new, &error.to_string()))?;
    linked.and_then(|()| sync_folder(path))
}

/// Writes the whole file anew: readers see the old one or the new one.
fn replace(path: &Path, keys: &[Key]) -> Result<(), Error> {
    let new = write_beside(path, keys)?;
    fs::rename(&new, path).map_err(|error| failed(path, &error.to_string()))?;
    sync_folder(path)
}

fn write_beside(path: &Path, keys: &[Key]) -> Result<PathBuf, Error> {
    let mut text = HEADING.to_owned();
    for Key { number, master } in keys {
        let hex: String = master.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&format!("{number} {hex}\n"));
    }
    let mut suffix = [0; 8];
    random(&mut suffix)?;
    let new = path.with_extension(format!("{:016x}", u64::from_be_bytes(suffix)));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    written.map_err(|error| failed(&new, &error.to_string()))?;
    Ok(new)
}

fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = folder(path);
    let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| failed(folder, &error.to_string()))
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

fn failed(path: &Path, why: &str) -> Error {
    Error::Keyring(format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn keyring() -> (tempfile::TempDir, Keyring) {
        let dir = tempfile::tempdir().unwrap();
        let keyring = Keyring::open(&dir.path().join("keys")).unwrap();
        (dir, keyring)
    }

    #[test]
    fn a_secret_opens_for_its_purpose_only() {
        let (_dir, keyring) = keyring();
        let (mine, other) = (TenantId::generate(), TenantId::generate());
        let purpose = Purpose::of_tenant(mine, "connection", "a");
        let sealed = keyring.seal(&purpose, &Secret::new("sk-1")).unwrap();
        assert_eq!(keyring.unseal(&purpose, &sealed).unwrap().expose(), "sk-1");
        assert!(!sealed.windows(4).any(|bytes| bytes == b"sk-1"));
        for wrong in [
            Purpose::of_tenant(other, "connection", "a"),
            Purpose::of_tenant(mine, "connection", "b"),
            Purpose::of_tenant(mine, "webhook", "a"),
            Purpose::of_installation("connection", "a"),
        ] {
            assert!(keyring.unseal(&wrong, &sealed).is_err(), "{wrong:?}");
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(keyring.unseal(&purpose, &changed).is_err(), "byte {at}");
            assert!(
                keyring.unseal(&purpose, &sealed[..at]).is_err(),
                "cut at {at}"
            );
        }
        let again = keyring.seal(&purpose, &Secret::new("sk-1")).unwrap();
        assert_ne!(sealed, again);
    }

    #[test]
    fn a_new_key_seals_while_the_old_one_still_opens() {
        let (dir, keyring) = keyring();
        let path = dir.path().join("keys");
        // Another process with the same file.
        let other = Keyring::open(&path).unwrap();
        let purpose = Purpose::of_installation("pool", "eu-1");
        let old = keyring.seal(&purpose, &Secret::new("old")).unwrap();
        assert_eq!(keyring.add_key().unwrap(), 2);
        assert!(!keyring.is_current(&old).unwrap());
        let new = keyring.seal(&purpose, &Secret::new("new")).unwrap();
        for (sealed, text) in [(&old, "old"), (&new, "new")] {
            assert_eq!(keyring.unseal(&purpose, sealed).unwrap().expose(), text);
            assert_eq!(other.unseal(&purpose, sealed).unwrap().expose(), text);
        }
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_lost_or_broken_is_said_so_and_never_overwritten() {
        let (dir, keyring) = keyring();
        let path = dir.path().join("keys");
        let purpose = Purpose::of_installation("pool", "eu-1");
        keyring.add_key().unwrap();
        let sealed = keyring.seal(&purpose, &Secret::new("sk")).unwrap();
        fs::write(&path, "# nothing\n").unwrap();
        assert!(
            Keyring::open(&path)
                .unwrap_err()
                .to_string()
                .contains("restore it")
        );
        fs::remove_file(&path).unwrap();
        let anew = Keyring::open(&path).unwrap();
        let error = anew.unseal(&purpose, &sealed).unwrap_err();
        assert!(error.to_string().contains("lacks key 2"), "{error}");
    }
}
