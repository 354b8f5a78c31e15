//! Sessions through real sockets, with fakes behind the ports.

mod attacks;
mod dialogue;
mod limits;

use super::*;
use crate::ports::fakes::{FixedDirectory, MemoryIntake};
use crate::ports::{ClientLists, ListHit};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tidegate_schemas::Policy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A server with `example.test` (any user) and `listed.test` (only ann) behind it.
pub(super) struct Site {
    pub address: SocketAddr,
    pub intake: Arc<MemoryIntake>,
    pub counters: Arc<Counters>,
    pub stop: watch::Sender<bool>,
    pub served: tokio::task::JoinHandle<()>,
    pub certificate: rustls::pki_types::CertificateDer<'static>,
}

/// Says that everybody is on two lists.
struct TwoLists;

#[async_trait::async_trait]
impl ClientLists for TwoLists {
    async fn hits(&self, _: std::net::IpAddr) -> Vec<ListHit> {
        let hit = |list: &str| ListHit { list: list.into(), weight: 3.0, why: "listed".into() };
        vec![hit("one.test"), hit("two.test")]
    }
}

pub(super) fn directory(policy: Policy) -> FixedDirectory {
    let mut directory = FixedDirectory::of("example.test", policy.clone());
    let mut listed = (*FixedDirectory::of("listed.test", policy).domains["listed.test"]).clone();
    listed.any_user = false;
    directory.domains.insert("listed.test".into(), Arc::new(listed));
    directory.users.push("ann@listed.test".into());
    directory.logins.push(("ann@example.test".into(), "secret".into()));
    directory
}

pub(super) async fn start(settings: Settings) -> Site {
    start_with(settings, directory(Policy::default())).await
}

pub(super) async fn start_with(mut settings: Settings, directory: FixedDirectory) -> Site {
    let made = rcgen::generate_simple_self_signed(["mx.test".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let certificate = made.cert.der().clone();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
    settings.tls = Some(Arc::new(config));
    settings.hostname = "mx.test".into();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (intake, counters) = (Arc::new(MemoryIntake::default()), Arc::new(Counters::default()));
    let server = Server::new(
        settings,
        intake.clone(),
        Arc::new(directory),
        None,
        Some(Arc::new(TwoLists)),
        counters.clone(),
    );
    let (stop, stopped) = watch::channel(false);
    let served = tokio::spawn(Arc::new(server).serve(listener, stopped));
    Site { address, intake, counters, stop, served, certificate }
}

/// Sends octets in pieces, closes the writing end, gives everything the server said.
pub(super) async fn talk(address: SocketAddr, pieces: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in pieces {
        if stream.write_all(piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let _half = stream.shutdown().await;
    let mut said = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut said)).await;
    assert!(read.is_ok(), "the server neither answers nor closes: {}", String::from_utf8_lossy(&said));
    String::from_utf8(said).unwrap()
}

/// A dialogue that sends one message and quits.
pub(super) fn session(message: &str) -> String {
    format!(
        "EHLO c.test\r\nMAIL FROM:<a@out.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n{message}\r\n.\r\nQUIT\r\n"
    )
}

/// Reply codes in order, last lines only.
pub(super) fn codes(said: &str) -> Vec<u16> {
    said.lines()
        .filter(|l| l.as_bytes().get(3) == Some(&b' '))
        .filter_map(|l| l.get(..3)?.parse().ok())
        .collect()
}
