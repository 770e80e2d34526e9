//! TLS, as far as a connection string asks for it.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use lock_proto::LockError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_rustls::{Connect, TlsConnector, client};

use super::certificate::end_point;
use super::url::invalid;

/// What must be proven of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nothing: whoever listens can't read, but who answers may be anybody.
    Nothing,
    /// That a trusted authority signed its certificate.
    Authority,
    /// That, and that the certificate is for the host.
    Host,
}

/// Whom to trust.
#[derive(Clone, Debug)]
pub(super) enum Roots {
    /// Whomever the system trusts.
    System,
    /// These, in PEM format, from the named option.
    These(Vec<u8>, &'static str),
}

/// The program's own certificate, and its key, as PEM.
pub(super) type Identity = (Vec<u8>, Vec<u8>);

/// How to shake hands with one server.
pub(super) struct Handshake {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// A connection that nobody else can read.
pub(super) struct SecureStream<S>(client::TlsStream<S>);

/// A handshake under way.
pub(super) struct Shaking<S>(Connect<S>);

/// What all handshakes have in common.
pub(super) fn configured(
    proof: Proof,
    roots: &Roots,
    identity: Option<&Identity>,
) -> Result<Arc<ClientConfig>, LockError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = verifier(proof, roots, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider can do all of them")
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate, "sslcert")?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
                invalid("the file of sslkey holds no key in PEM format, or one with a passphrase")
            })?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|_| invalid("the key of sslkey is of no known kind"))?
        }
    };
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(Arc::new(config))
}

/// Reads the file that an option names.
pub(super) fn read(option: &'static str, path: &str) -> Result<Vec<u8>, LockError> {
    std::fs::read(Path::new(path))
        .map_err(|error| invalid(format!("the file of {option} can't be read: {error}")))
}

impl Handshake {
    /// With the server `host`, whose name may be anything unless it is to be proven.
    pub(super) fn new(config: &Arc<ClientConfig>, host: &str) -> Option<Self> {
        let name = ServerName::try_from(host.to_owned()).ok()?;
        Some(Self { config: Arc::clone(config), name })
    }

    /// Of which no name is known.
    pub(super) fn nameless(config: &Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from("localhost").expect("it is a name");
        Self { config: Arc::clone(config), name }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsConnect<S> for Handshake {
    type Stream = SecureStream<S>;
    type Error = io::Error;
    type Future = Shaking<S>;

    fn connect(self, stream: S) -> Self::Future {
        Shaking(TlsConnector::from(self.config).connect(self.name, stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Shaking<S> {
    type Output = io::Result<SecureStream<S>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_ok(SecureStream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for SecureStream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        let (_, session) = self.0.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        certificate
            .and_then(|certificate| end_point(certificate))
            .map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for SecureStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for SecureStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

fn verifier(
    proof: Proof,
    roots: &Roots,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, LockError> {
    if proof == Proof::Nothing {
        return Ok(Arc::new(Lenient { roots: None, provider: Arc::clone(provider) }));
    }
    let roots = trusted(roots)?;
    if proof == Proof::Authority {
        return Ok(Arc::new(Lenient { roots: Some(roots), provider: Arc::clone(provider) }));
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
        .map_err(|_| nobody_trusted("tls_root_certificates"))
}

fn trusted(roots: &Roots) -> Result<RootCertStore, LockError> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::System => {
            // Some of what a system trusts may be unknown to rustls.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(invalid(
                    "the system has no root certificates to prove the server's with: install \
                     them, or name some with sslrootcert",
                ));
            }
        }
        Roots::These(pem, option) => {
            store.add_parsable_certificates(certificates(pem, option)?);
            if store.is_empty() {
                return Err(nobody_trusted(option));
            }
        }
    }
    Ok(store)
}

fn certificates(
    pem: &[u8],
    option: &'static str,
) -> Result<Vec<CertificateDer<'static>>, LockError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates.ok().filter(|found| !found.is_empty()).ok_or_else(|| nobody_trusted(option))
}

fn nobody_trusted(option: &'static str) -> LockError {
    LockError::InvalidConfig { option, problem: "they are no certificates in PEM format".into() }
}

/// Asks for less than a certificate for the host.
///
/// That the server has the certificate's key is asked for all the same: the proof of the password
/// may be bound to the certificate.
#[derive(Debug)]
struct Lenient {
    /// Who must have signed the certificate, if anybody.
    roots: Option<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _host: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(certificate)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                roots,
                intermediates,
                now,
                algorithms,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
