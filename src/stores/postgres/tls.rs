//! TLS to the database by rustls.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use rustls_platform_verifier::Verifier;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::Trust;
use crate::stores::sql::OpenError;

/// Makes encrypted connections to servers that are trusted like this.
pub(super) fn connector(trust: &Trust, store: &str) -> Result<MakeRustlsConnect, OpenError> {
    let failed =
        |reason: Box<dyn std::error::Error + Send + Sync>| OpenError::Database { store: store.to_owned(), reason };
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Anybody => Arc::new(Lenient { provider: Arc::clone(&provider), inner: None }),
        Trust::Authority { root, names_host } => {
            let inner: Arc<dyn ServerCertVerifier> = match root {
                None => Arc::new(Verifier::new(Arc::clone(&provider)).map_err(|error| failed(error.into()))?),
                Some(path) => {
                    let unreadable = |error: String| failed(format!("sslrootcert {}: {error}", path.display()).into());
                    let mut roots = RootCertStore::empty();
                    for certificate in
                        CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))?
                    {
                        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
                        roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
                    }
                    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
                    verifier.build().map_err(|error| unreadable(error.to_string()))?
                }
            };
            if *names_host { inner } else { Arc::new(Lenient { provider: Arc::clone(&provider), inner: Some(inner) }) }
        }
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.into()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// Believes in the name that a server goes by, and where no authority is asked in everything else, too: what `sslmode`
/// `verify-ca`, `require` and `prefer` stand for.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    inner: Option<Arc<dyn ServerCertVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        match inner.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                rustls::CertificateError::NotValidForName | rustls::CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
