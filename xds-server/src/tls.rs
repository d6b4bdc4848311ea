//! Mutual TLS on the xDS port, with certificates that may change while it is open.
//!
//! Files are looked at once a second. A set that does not load, such as a certificate whose key has not been written yet,
//! leaves the one before in use.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// Where certificates are.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// The authority that signs the certificates of Envoys. Without one every client is taken.
    pub client_ca: Option<PathBuf>,
}

#[derive(Debug, Error)]
pub enum TlsError {
    #[error("{path}: {message}")]
    File { path: PathBuf, message: String },
    #[error("certificate and key cannot be used: {0}")]
    Unusable(String),
}

/// The server's side of TLS. Cloning it is cheap: all clones are one.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
    seen: Mutex<Vec<Seen>>,
}

/// By what a file is known to have changed.
type Seen = Option<(SystemTime, u64)>;

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.0.files).finish()
    }
}

impl Tls {
    /// # Errors
    /// When a file cannot be read, or certificate and key do not belong together.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let seen = look(&files);
        let current = ArcSwap::new(configure(&files)?);
        Ok(Self(Arc::new(Inner { files, current, seen: Mutex::new(seen) })))
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.current.load_full())
    }

    /// Takes in files that have changed since; connections that are open stay as they are.
    pub(crate) fn reload_if_changed(&self) {
        let now = look(&self.0.files);
        let mut seen = self.0.seen.lock();
        if *seen == now {
            return;
        }
        match configure(&self.0.files) {
            Ok(config) => {
                self.0.current.store(config);
                tracing::info!(certificate = %self.0.files.certificate.display(), "certificates reloaded");
            }
            Err(error) => tracing::warn!(%error, "the changed certificates do not load: those before stay in use"),
        }
        *seen = now;
    }
}

fn look(files: &TlsFiles) -> Vec<Seen> {
    let of = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()].into_iter().flatten().map(of).collect()
}

fn configure(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let unusable = |error: &dyn fmt::Display| TlsError::Unusable(error.to_string());
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| bad_file(&files.key, &error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| bad_file(path, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| unusable(&error))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| unusable(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| bad_file(path, &error))?;
    let certificates: Result<Vec<_>, _> = read.collect();
    let certificates = certificates.map_err(|error| bad_file(path, &error))?;
    if certificates.is_empty() {
        return Err(TlsError::File { path: path.to_owned(), message: "no certificate in it".into() });
    }
    Ok(certificates)
}

fn bad_file(path: &Path, error: &dyn fmt::Display) -> TlsError {
    TlsError::File { path: path.to_owned(), message: error.to_string() }
}
