//! The resolver against a name server of our own on loopback.

use super::*;
use hickory_resolver::proto::op::{Message, MessageType, OpCode};
use hickory_resolver::proto::rr::Record;
use hickory_resolver::proto::rr::rdata::{A, MX, TXT};
use hickory_resolver::proto::serialize::binary::BinEncodable;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// What the name server says, by the first label.
fn reply(question: &[u8], over_udp: bool) -> Option<Vec<u8>> {
    let asked = Message::from_vec(question).ok()?;
    let query = asked.queries.first()?.clone();
    let name = query.name().clone();
    let mut answer = Message::response(asked.id, OpCode::Query);
    answer.metadata.message_type = MessageType::Response;
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    let first = name.iter().next().map(|label| String::from_utf8_lossy(label).to_lowercase())?;
    let mut add = |data: RData| {
        answer.add_answer(Record::from_rdata(name.clone(), 60, data));
    };
    match (first.as_str(), query.query_type()) {
        ("both", RecordType::A) => add(RData::A(A::new(192, 0, 2, 1))),
        ("hosts", RecordType::MX) => {
            add(RData::MX(MX::new(20, Name::from_ascii("B.test.").ok()?)));
            add(RData::MX(MX::new(10, Name::from_ascii("a.test.").ok()?)));
            add(RData::MX(MX::new(30, Name::root())));
        }
        ("long", RecordType::TXT) if over_udp => answer.metadata.truncation = true,
        ("long", RecordType::TXT) => add(RData::TXT(TXT::new(vec!["a".repeat(250), "b".repeat(250)]))),
        ("sick", _) => answer.metadata.response_code = ResponseCode::ServFail,
        ("gone", _) => answer.metadata.response_code = ResponseCode::NXDomain,
        ("mute", _) => return None,
        _ => {}
    }
    answer.to_bytes().ok()
}

/// A name server on one port for UDP and TCP, and the count of its UDP questions.
async fn server() -> (SocketAddr, Arc<AtomicUsize>) {
    let (udp, tcp) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // The same number may be taken for UDP; then another.
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = tcp.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        let mut buffer = [0_u8; 1_500];
        while let Ok((size, peer)) = udp.recv_from(&mut buffer).await {
            count.fetch_add(1, Ordering::SeqCst);
            if let Some(answer) = reply(&buffer[..size], true) {
                udp.send_to(&answer, peer).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            while let Ok(size) = stream.read_u16().await {
                let mut question = vec![0_u8; usize::from(size)];
                stream.read_exact(&mut question).await.unwrap();
                let answer = reply(&question, false).unwrap();
                stream.write_u16(answer.len() as u16).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        }
    });
    (address, asked)
}

fn system(server: SocketAddr, timeout: Duration) -> System {
    System::new(&Options { servers: vec![server], timeout, retries: 0, ..Options::default() }).unwrap()
}

const PATIENT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn answers_have_the_form_that_the_port_promises() {
    let (address, _) = server().await;
    let system = system(address, PATIENT);
    // AAAA has no data, which does not spoil the A.
    assert_eq!(system.addresses("both.test").await, Ok(vec!["192.0.2.1".parse().unwrap()]));
    let hosts = vec![(10, "a.test".to_owned()), (20, "b.test".to_owned()), (30, String::new())];
    assert_eq!(system.mx("hosts.test").await, Ok(hosts));
}

#[tokio::test]
async fn absent_is_empty_and_servfail_is_temporary() {
    let (address, _) = server().await;
    let system = system(address, PATIENT);
    assert_eq!(system.txt("gone.test").await, Ok(Vec::new()));
    assert_eq!(system.txt("both.test").await, Ok(Vec::new()));
    assert_eq!(system.txt("a..test").await, Ok(Vec::new()));
    assert!(
        matches!(system.txt("sick.test").await, Err(DnsError::Temporary(why)) if why.contains("sick.test"))
    );
}

#[tokio::test]
async fn a_cut_answer_is_asked_for_again_over_tcp() {
    let (address, _) = server().await;
    let texts = system(address, PATIENT).txt("long.test").await.unwrap();
    assert_eq!(texts, [format!("{}{}", "a".repeat(250), "b".repeat(250))]);
}

#[tokio::test]
async fn a_mute_server_is_temporary() {
    let (address, _) = server().await;
    assert!(system(address, Duration::from_millis(200)).txt("mute.test").await.is_err());
}

#[tokio::test]
async fn the_same_question_is_asked_once_within_its_ttl() {
    let (address, asked) = server().await;
    let system = system(address, PATIENT);
    for _ in 0..5 {
        assert_eq!(system.mx("hosts.test").await.unwrap().len(), 3);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
