//! What a well-behaved client gets.

use super::*;
use crate::ports::IntakeError;
use base64::Engine as _;
use tidegate_schemas::Direction;

#[tokio::test]
async fn a_pipelined_session_delivers_the_message_octet_for_octet() {
    let site = start(Settings::default()).await;
    let said = talk(site.address, &[session("Subject: x\r\n\r\n..dot\r\nend").as_bytes()]).await;
    assert_eq!(codes(&said), [220, 250, 250, 250, 354, 250, 221], "{said}");
    let mails = site.intake.mails.lock();
    assert_eq!(mails[0].raw, "Subject: x\r\n\r\n.dot\r\nend\r\n".as_bytes());
    assert!(said.contains(&mails[0].trace), "the reply names the trace id: {said}");
    assert_eq!(
        (mails[0].mail_from.as_str(), mails[0].recipients[0].address.as_str()),
        ("a@out.test", "b@example.test")
    );
    assert!(mails[0].added_headers.starts_with("Received: from c.test"), "{}", mails[0].added_headers);
    assert_eq!(mails[0].tenant, "isp/msp/example.test");
}

#[tokio::test]
async fn a_message_arrives_the_same_however_it_is_cut_into_packets() {
    let site = start(Settings::default()).await;
    let whole = session("A: b\r\n\r\nx\r\n...\r\n..\r\ny");
    for size in [1, 2, 3, 5, 7, 64] {
        let pieces: Vec<&[u8]> = whole.as_bytes().chunks(size).collect();
        talk(site.address, &pieces).await;
    }
    let mails = site.intake.mails.lock();
    assert_eq!(mails.len(), 6);
    assert!(mails.iter().all(|m| m.raw == "A: b\r\n\r\nx\r\n..\r\n.\r\ny\r\n".as_bytes()));
}

#[tokio::test]
async fn recipients_of_two_tenants_become_two_records_with_one_trace() {
    let site = start(Settings::default()).await;
    let text = "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.test>\r\nRCPT TO:<ann@listed.test>\r\nRCPT TO:<c@example.test>\r\n\
                RCPT TO:<b@example.test>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n";
    talk(site.address, &[text.as_bytes()]).await;
    let mails = site.intake.mails.lock();
    let counts: Vec<_> = mails.iter().map(|m| (m.tenant.as_str(), m.recipients.len())).collect();
    assert_eq!(counts, [("isp/msp/example.test", 2), ("isp/msp/listed.test", 1)]);
    assert_eq!(mails[0].trace, mails[1].trace);
    assert!(!mails[0].added_headers.contains("for <"), "other recipients are not told");
}

#[tokio::test]
async fn bdat_pieces_make_one_message_and_dots_stay() {
    let site = start(Settings::default()).await;
    let text = "EHLO c\r\nMAIL FROM:<a@o.test>\r\nRCPT TO:<b@example.test>\r\nBDAT 9\r\nA: b\r\n\r\n.BDAT 5 LAST\r\n.\r\nx\nBDAT 0 LAST\r\nQUIT\r\n";
    let said = talk(site.address, &[text.as_bytes()]).await;
    assert!(codes(&said).contains(&550), "a bare LF in a piece is refused too: {said}");
    let text =
        text.replace(".\r\nx\n", ".x\r\n\n").replace("BDAT 5 LAST\r\n.x\r\n\n", "BDAT 4 LAST\r\n.x\r\n");
    let said = talk(site.address, &[text.as_bytes()]).await;
    assert_eq!(site.intake.mails.lock()[0].raw, "A: b\r\n\r\n..x\r\n".as_bytes(), "{said}");
}

#[tokio::test]
async fn the_log_away_is_451_and_a_full_disk_452() {
    let site = start(Settings::default()).await;
    *site.intake.fail.lock() = Some(IntakeError::Away("x".into()));
    assert!(codes(&talk(site.address, &[session("x").as_bytes()]).await).contains(&451));
    *site.intake.fail.lock() = Some(IntakeError::Full("x".into()));
    assert!(codes(&talk(site.address, &[session("x").as_bytes()]).await).contains(&452));
    *site.intake.fail.lock() = None;
    assert_eq!(codes(&talk(site.address, &[session("x").as_bytes()]).await)[5], 250);
}

#[tokio::test]
async fn dsn_parameters_travel_with_the_mail() {
    let site = start(Settings::default()).await;
    let text = "EHLO c\r\nMAIL FROM:<a@o.test> RET=HDRS ENVID=e1 BODY=8BITMIME\r\n\
                RCPT TO:<b@example.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b@example.test\r\nDATA\r\nx\r\n.\r\nQUIT\r\n";
    talk(site.address, &[text.as_bytes()]).await;
    let mails = site.intake.mails.lock();
    assert_eq!((mails[0].ret.as_str(), mails[0].envid.as_str(), mails[0].eight_bit), ("HDRS", "e1", true));
    assert_eq!(mails[0].recipients[0].notify, "SUCCESS,FAILURE");
}

async fn tls(stream: TcpStream, site: &Site) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(site.certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect("mx.test".try_into().unwrap(), stream).await.unwrap()
}

async fn expect(stream: &mut (impl AsyncReadExt + Unpin), end: &str) -> String {
    let mut said = String::new();
    let mut buffer = [0; 4096];
    while !said.contains(end) {
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "closed after {said}");
        said.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    said
}

#[tokio::test]
async fn submission_wants_tls_then_auth_and_sends_as_the_login_only() {
    let site = start(Settings { mode: Mode::Submission, ..Settings::default() }).await;
    let said =
        talk(site.address, &[b"EHLO c\r\nAUTH PLAIN AGEAYg==\r\nMAIL FROM:<ann@example.test>\r\nQUIT\r\n"])
            .await;
    assert_eq!(codes(&said), [220, 250, 538, 530, 221], "{said}");
    assert!(said.contains("STARTTLS") && !said.contains("AUTH PLAIN LOGIN"));

    let mut plain = TcpStream::connect(site.address).await.unwrap();
    expect(&mut plain, "220 ").await;
    plain.write_all(b"EHLO c\r\nSTARTTLS\r\n").await.unwrap();
    expect(&mut plain, "220 2.0.0").await;
    let mut secure = tls(plain, &site).await;
    let password = base64::engine::general_purpose::STANDARD.encode("\0ann@example.test\0secret");
    let text = format!(
        "EHLO c\r\nAUTH PLAIN {password}\r\nMAIL FROM:<boss@example.test>\r\nMAIL FROM:<ann+x@example.test>\r\n\
         RCPT TO:<x@world.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\nSubject: s\r\n\r\nx\r\n.\r\nQUIT\r\n"
    );
    secure.write_all(text.as_bytes()).await.unwrap();
    let said = expect(&mut secure, "221 ").await;
    assert_eq!(codes(&said), [250, 235, 553, 250, 250, 250, 354, 250, 221], "{said}");
    let mails = site.intake.mails.lock();
    let directions: Vec<_> = mails.iter().map(|m| m.direction()).collect();
    assert_eq!(directions, [Direction::Outbound, Direction::Inbound]);
    assert!(mails[0].added_headers.contains("ESMTPSA") && mails[0].added_headers.contains("Message-ID: "));
    assert_eq!(mails[0].client.login, "ann@example.test");
}

#[tokio::test]
async fn commands_sent_before_the_handshake_are_not_taken_for_said_inside() {
    let site = start(Settings::default()).await;
    let mut plain = TcpStream::connect(site.address).await.unwrap();
    expect(&mut plain, "220 ").await;
    plain.write_all(b"EHLO c\r\nSTARTTLS\r\nMAIL FROM:<evil@x.test>\r\n").await.unwrap();
    expect(&mut plain, "220 2.0.0").await;
    let mut secure = tls(plain, &site).await;
    secure.write_all(b"EHLO c\r\nRCPT TO:<b@example.test>\r\nQUIT\r\n").await.unwrap();
    let said = expect(&mut secure, "221 ").await;
    assert_eq!(codes(&said), [250, 503, 221], "{said}");
}

#[tokio::test]
async fn a_wrong_password_is_535_and_three_of_them_end_the_session() {
    let site = start(Settings { mode: Mode::Submission, implicit_tls: true, ..Settings::default() }).await;
    let mut secure = tls(TcpStream::connect(site.address).await.unwrap(), &site).await;
    let wrong = base64::engine::general_purpose::STANDARD.encode("\0ann@example.test\0nope");
    let text = format!("EHLO c\r\nAUTH LOGIN\r\n*\r\n{}", format!("AUTH PLAIN {wrong}\r\n").repeat(4));
    secure.write_all(text.as_bytes()).await.unwrap();
    let said = expect(&mut secure, "421 ").await;
    assert_eq!(codes(&said), [220, 250, 334, 501, 535, 535, 421], "{said}");
}

#[tokio::test]
async fn relay_hosts_send_for_protected_domains_and_for_no_others() {
    let relay_hosts = vec!["127.0.0.1".parse().unwrap()];
    let site = start(Settings { relay_hosts, ..Settings::default() }).await;
    let text = |from: &str| format!("EHLO c\r\nMAIL FROM:<{from}>\r\nRCPT TO:<x@world.test>\r\nQUIT\r\n");
    let said = talk(site.address, &[text("b@example.test").as_bytes()]).await;
    assert_eq!(codes(&said), [220, 250, 250, 250, 221], "{said}");
    let said = talk(site.address, &[text("b@elsewhere.test").as_bytes()]).await;
    assert_eq!(codes(&said), [220, 250, 250, 550, 221], "{said}");
}

#[tokio::test]
async fn proxy_headers_of_trusted_proxies_name_the_client() {
    let trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let site = start(Settings { proxy_protocol: true, trusted_proxies, ..Settings::default() }).await;
    let v1 = format!("PROXY TCP4 192.0.2.7 127.0.0.1 5 25\r\n{}", session("x"));
    talk(site.address, &[v1.as_bytes()]).await;
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend_from_slice(&[192, 0, 2, 9, 127, 0, 0, 1, 0, 5, 0, 25]);
    v2.extend_from_slice(session("x").as_bytes());
    talk(site.address, &[&v2]).await;
    let mails = site.intake.mails.lock();
    let ips: Vec<_> = mails.iter().map(|m| m.client.ip.as_str()).collect();
    assert_eq!(ips, ["192.0.2.7", "192.0.2.9"]);
}

#[tokio::test]
async fn xclient_is_for_trusted_hosts_only() {
    let text = session("x").replace("MAIL", "XCLIENT ADDR=192.0.2.8 HELO=real.test\r\nMAIL");
    let site = start(Settings::default()).await;
    assert!(codes(&talk(site.address, &[text.as_bytes()]).await).contains(&550));
    let xclient_hosts = vec!["127.0.0.1".parse().unwrap()];
    let site = start(Settings { xclient_hosts, ..Settings::default() }).await;
    talk(site.address, &[text.as_bytes()]).await;
    let mails = site.intake.mails.lock();
    assert_eq!((mails[0].client.ip.as_str(), mails[0].client.helo.as_str()), ("192.0.2.8", "real.test"));
}

#[tokio::test]
async fn stopping_tells_idle_sessions_and_ends() {
    let site = start(Settings::default()).await;
    let mut idle = TcpStream::connect(site.address).await.unwrap();
    expect(&mut idle, "220 ").await;
    site.stop.send_replace(true);
    let said = expect(&mut idle, "421 ").await;
    assert!(said.starts_with("421 4.3.2"), "{said}");
    tokio::time::timeout(Duration::from_secs(60), site.served).await.unwrap().unwrap();
}
