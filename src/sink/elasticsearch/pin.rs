//! Trust by fingerprint (`ca_trusted_fingerprint`): a CA certificate that a node presents in its chain is trusted if
//! its SHA-256 is the configured one. A cluster that has generated its own CA prints the fingerprint at its first
//! start, so no file needs to be copied.
//!
//! The fingerprint determines only which CA is trusted. The CA's signature of the node's certificate, its validity
//! period and its host name are verified as usual.

use std::str::FromStr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a DER-encoded certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

impl FromStr for Fingerprint {
    type Err = &'static str;

    /// Parses 64 hexadecimal digits, with or without colons.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const PROBLEM: &str = "a fingerprint is a SHA-256 in 64 hexadecimal digits";
        let digits: Vec<u32> = text
            .chars()
            .filter(|letter| *letter != ':')
            .map(|letter| letter.to_digit(16))
            .collect::<Option<_>>()
            .ok_or(PROBLEM)?;
        let bytes: Vec<u8> =
            digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | *digit as u8)).collect();
        if digits.len() != 64 {
            return Err(PROBLEM);
        }
        bytes.try_into().map(Fingerprint).map_err(|_| PROBLEM)
    }
}

/// Returns a TLS configuration that trusts the CA with this fingerprint and the CAs in `authorities` (PEM), and no
/// others. `own` is the certificate and key (PEM) for client authentication.
///
/// # Errors
/// Fails if a certificate or key is invalid.
pub(super) fn client_config(
    fingerprint: Fingerprint,
    authorities: &[u8],
    own: Option<(Vec<u8>, Vec<u8>)>,
) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Pinned { fingerprint, authorities: certificates(authorities)?, provider: provider.clone() };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let Some((certificate, key)) = own else { return Ok(builder.with_no_client_auth()) };
    let problem = |error: &dyn std::fmt::Display| format!("this client's certificate: {error}");
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| problem(&error))?;
    builder.with_client_auth_cert(certificates(&certificate)?, key).map_err(|error| problem(&error))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("no certificate (PEM): {error}"))
}

#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    authorities: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.authorities.iter().cloned());
        let is_pinned =
            |certificate: &&CertificateDer<'_>| Sha256::digest(certificate).as_slice() == self.fingerprint.0;
        if let Some(authority) = intermediates.iter().chain([end_entity]).find(is_pinned) {
            roots.add(authority.clone().into_owned())?;
        }
        if roots.is_empty() {
            return Err(Error::General("no certificate of the node's chain has the trusted fingerprint".to_string()));
        }
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_64_digits_with_colons_or_without() {
        let plain = "0123456789abcdef".repeat(4);
        let colons: Vec<String> =
            plain.to_uppercase().as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into()).collect();
        let Fingerprint(bytes) = plain.parse().unwrap();
        assert_eq!(bytes[..4], [0x01, 0x23, 0x45, 0x67]);
        assert_eq!(colons.join(":").parse(), Ok(Fingerprint(bytes)));
        for wrong in ["", "01", &plain[1..], &"g".repeat(64), &plain.repeat(2)] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }
}
