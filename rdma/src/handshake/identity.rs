//! Who a node is: a key of its own, and a certificate for it that others know.

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Most bytes of an identity's file.
const MAX_FILE: u64 = 64 * 1024;

/// A node's certificate, as its peers know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate(pub(super) CertificateDer<'static>);

impl Certificate {
    /// Reads a PEM file.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn load(path: &Path) -> Result<Certificate, IdentityError> {
        Certificate::from_pem(&read(path)?)
            .ok_or_else(|| IdentityError::Malformed { path: path.into(), what: "a certificate" })
    }

    /// What tells it from all others.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let digest = ::ring::digest::digest(&::ring::digest::SHA256, &self.0);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Fingerprint(bytes)
    }

    /// Where a certificate of this file is put that is revoked.
    #[must_use]
    pub fn revoked(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".revoked");
        name.into()
    }

    /// What a peer showed in a handshake.
    #[must_use]
    pub fn shown(certificate: &CertificateDer<'_>) -> Certificate {
        Certificate(certificate.clone().into_owned())
    }

    /// The first certificate of a PEM text.
    #[must_use]
    pub fn from_pem(text: &str) -> Option<Certificate> {
        CertificateDer::from_pem_slice(text.as_bytes()).ok().map(Certificate)
    }
}

/// SHA-256 over a certificate: its name for people, and for what cannot hold all of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Its first bytes as a number, never 0.
    #[must_use]
    pub fn number(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h]).max(1)
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, formatter)
    }
}

/// A node's name, key and certificate.
pub struct Identity {
    name: String,
    certificate: Certificate,
    certificate_pem: String,
    key: PrivateKeyDer<'static>,
    key_pem: String,
}

impl Clone for Identity {
    fn clone(&self) -> Identity {
        Identity {
            name: self.name.clone(),
            certificate: self.certificate.clone(),
            certificate_pem: self.certificate_pem.clone(),
            key: self.key.clone_key(),
            key_pem: self.key_pem.clone(),
        }
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Identity").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Identity {
    /// Makes a new key and a certificate for it.
    ///
    /// # Errors
    /// [`IdentityError::Name`] for a name that is not 1 to 64 letters, digits, `-`, `_` or `.` that start with a
    /// letter or digit; [`IdentityError::Generate`] if the system has no random bytes.
    pub fn generate(name: &str) -> Result<Identity, IdentityError> {
        check_name(name)?;
        let generate = |error: rcgen::Error| IdentityError::Generate(error.to_string());
        let key = rcgen::KeyPair::generate().map_err(generate)?;
        // Nodes go by the whole certificate. Programs that are not ours look for the name, and not where it used to be: RFC 9525.
        let mut parameters = rcgen::CertificateParams::new([name.to_owned()]).map_err(generate)?;
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = parameters.self_signed(&key).map_err(generate)?;
        Identity::from_pem(name, certificate.pem(), key.serialize_pem())
            .ok_or_else(|| IdentityError::Generate("what was made cannot be read back".into()))
    }

    fn from_pem(name: &str, certificate_pem: String, key_pem: String) -> Option<Identity> {
        let certificate = Certificate::from_pem(&certificate_pem)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).ok()?;
        Some(Identity { name: name.into(), certificate, certificate_pem, key, key_pem })
    }

    /// Reads `NAME.crt` and `NAME.key` in `folder`.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn load(folder: &Path, name: &str) -> Result<Identity, IdentityError> {
        check_name(name)?;
        let (certificate_path, key_path) = paths(folder, name);
        let mode =
            std::fs::metadata(&key_path).map_err(|source| failed(&key_path, source))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(IdentityError::Exposed { path: key_path, mode: mode & 0o777 });
        }
        let identity =
            Identity::from_pem(name, read(&certificate_path)?, read(&key_path)?).ok_or_else(|| {
                IdentityError::Malformed { path: key_path.clone(), what: "a key and its certificate" }
            })?;
        identity.signer().map_err(|_| IdentityError::Mismatch { path: key_path })?;
        Ok(identity)
    }

    /// Writes `NAME.crt`, and `NAME.key` for this user's eyes only, to `folder`.
    ///
    /// # Errors
    /// [`IdentityError::File`]; `AlreadyExists` if one of them is there, since a lost key cannot be had again.
    pub fn save(&self, folder: &Path) -> Result<(), IdentityError> {
        let (certificate_path, key_path) = paths(folder, &self.name);
        write_new(&key_path, 0o600, &self.key_pem)?;
        write_new(&certificate_path, 0o644, &self.certificate_pem)
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the node's peers must know of it.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The certificate as PEM, to be handed to peers.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }

    /// Key and certificate, which must belong together.
    fn signer(&self) -> Result<CertifiedKey, rustls::Error> {
        let provider = ring::default_provider();
        let signer = CertifiedKey::from_der(vec![self.certificate.0.clone()], self.key(), &provider)?;
        signer.keys_match()?;
        Ok(signer)
    }
}

/// Names become file names and screens' columns.
fn check_name(name: &str) -> Result<(), IdentityError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let starts_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !starts_well || name.len() > 64 || !name.bytes().all(good) {
        return Err(IdentityError::Name(name.into()));
    }
    Ok(())
}

fn paths(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")))
}

fn failed(path: &Path, source: io::Error) -> IdentityError {
    IdentityError::File { path: path.into(), source }
}

fn read(path: &Path) -> Result<String, IdentityError> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_string(&mut text))
        .map_err(|source| failed(path, source))?;
    Ok(text)
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), IdentityError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .map_err(|source| failed(path, source))
}

/// Why there is no identity or certificate. Nothing that was there before was changed.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not a name.
    #[error("{0:?} is no name: 1 to 64 letters, digits, - _ and ., starting with a letter or digit")]
    Name(String),
    /// The file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{path} does not hold {what} in PEM: copy it again, whole", path = path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// Others can read the key.
    #[error("others can read {path} (mode {mode:03o}): chmod 600 it, and make a new one if they may have", path = path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Key and certificate do not belong together.
    #[error("{path} is not the key of the certificate beside it: put side by side what belongs together, or make both anew", path = path.display())]
    Mismatch {
        /// The key's.
        path: PathBuf,
    },
    /// No key could be made.
    #[error("no key can be made: {0}")]
    Generate(String),
}
