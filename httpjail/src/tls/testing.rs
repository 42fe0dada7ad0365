//! What the TLS tests share: a handshake over memory, no sockets.

use super::CertificateAuthority;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Error, HandshakeKind, RootCertStore, ServerConfig, ServerConnection};
use std::io::Read;
use std::sync::Arc;

/// A client and a server joined by two buffers.
pub(super) struct Pair {
    pub(super) client: ClientConnection,
    pub(super) server: ServerConnection,
}

/// Which side gave up, and why.
#[derive(Debug)]
pub(super) enum Failure {
    Client(Error),
    Server(Error),
}

impl Pair {
    pub(super) fn new(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).expect("a server name");
        Pair {
            client: ClientConnection::new(Arc::clone(client), name).expect("a client"),
            server: ServerConnection::new(Arc::clone(server)).expect("a server"),
        }
    }

    /// Passes bytes until both sides are silent: handshake, tickets and late alerts. The client's error comes first.
    pub(super) fn run(&mut self) -> Result<HandshakeKind, Failure> {
        loop {
            let mut wire = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut wire).expect("memory");
            }
            let to_server = wire.len();
            let mut bytes = wire.as_slice();
            while !bytes.is_empty() {
                self.server.read_tls(&mut bytes).expect("memory");
                if let Err(error) = self.server.process_new_packets() {
                    let mut alert = Vec::new();
                    self.server.write_tls(&mut alert).expect("memory");
                    self.client.read_tls(&mut alert.as_slice()).expect("memory");
                    return match self.client.process_new_packets() {
                        Err(error) => Err(Failure::Client(error)),
                        Ok(_) => Err(Failure::Server(error)),
                    };
                }
            }
            let mut wire = Vec::new();
            while self.server.wants_write() {
                self.server.write_tls(&mut wire).expect("memory");
            }
            let mut bytes = wire.as_slice();
            while !bytes.is_empty() {
                self.client.read_tls(&mut bytes).expect("memory");
                self.client.process_new_packets().map_err(Failure::Client)?;
            }
            if to_server == 0 && wire.is_empty() {
                assert!(!self.client.is_handshaking() && !self.server.is_handshaking());
                return Ok(self.server.handshake_kind().expect("a finished handshake"));
            }
        }
    }

    /// Sends a word each way, so that the client has surely read its tickets and the keys are the same.
    pub(super) fn talk(&mut self) {
        use std::io::Write;
        self.server.writer().write_all(b"word").expect("memory");
        self.run().expect("still connected");
        let mut word = [0; 4];
        self.client.reader().read_exact(&mut word).expect("a word");
        assert_eq!(&word, b"word");
    }
}

/// A client that trusts `authority` alone, speaking `versions`.
pub(super) fn client(
    authority: &CertificateAuthority,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    client_with(super::provider(), authority, versions)
}

/// The same with cryptography of its own.
pub(super) fn client_with(
    provider: Arc<CryptoProvider>,
    authority: &CertificateAuthority,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).expect("a root");
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A server with one certificate.
pub(super) fn server(key: rustls::sign::CertifiedKey) -> Arc<ServerConfig> {
    let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(key));
    let builder = ServerConfig::builder_with_provider(super::provider());
    let builder = builder
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth();
    Arc::new(builder.with_cert_resolver(resolver))
}

/// Says why a test does not run here; where everything must be there, that is a failure.
pub(super) fn skip(reason: &str) {
    assert!(std::env::var_os("HTTPJAIL_TEST_REQUIRE").is_none(), "{reason}");
    println!("skipped: {reason}");
}

/// Runs a program to its end: its standard output if it succeeded, else what it complained about. `None`, and a line that
/// says so, where it is not installed.
pub(super) fn run_program(program: &str, arguments: &[&str]) -> Option<Result<String, String>> {
    match std::process::Command::new(program).args(arguments).output() {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
            skip(&format!("{program} is not installed"));
            None
        }
        Err(err) => panic!("{program}: {err}"),
        Ok(output) if output.status.success() => Some(Ok(String::from_utf8_lossy(&output.stdout).into_owned())),
        Ok(output) => Some(Err(String::from_utf8_lossy(&output.stderr).into_owned())),
    }
}
