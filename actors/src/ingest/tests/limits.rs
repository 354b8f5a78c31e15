//! Everything that arrives has a limit.

use super::*;

#[tokio::test]
async fn a_message_too_large_is_552_by_size_and_by_octets() {
    let limits = Limits { max_message_bytes: 100_000, ..Limits::default() };
    let site = start(Settings { limits, ..Settings::default() }).await;
    let said = talk(site.address, &[b"EHLO c\r\nMAIL FROM:<a@b.test> SIZE=200000\r\nQUIT\r\n"]).await;
    assert_eq!(codes(&said), [220, 250, 552, 221]);
    let large = "x".repeat(70) + "\r\n";
    let said = talk(site.address, &[session(&large.repeat(3_000)).as_bytes()]).await;
    assert_eq!(codes(&said), [220, 250, 250, 250, 354, 552, 221], "{said}");
    let said = talk(site.address, &[session(&large.repeat(1_000)).as_bytes()]).await;
    assert_eq!(codes(&said)[5], 250);
}

#[tokio::test]
async fn bdat_beyond_the_limit_is_swallowed_and_refused() {
    let limits = Limits { max_message_bytes: 10, ..Limits::default() };
    let site = start(Settings { limits, ..Settings::default() }).await;
    let text = "EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<b@example.test>\r\nBDAT 8\r\n12345678BDAT 8\r\nabcdefghBDAT 2 LAST\r\nxyNOOP\r\nQUIT\r\n";
    let said = talk(site.address, &[text.as_bytes()]).await;
    assert_eq!(codes(&said), [220, 250, 250, 250, 250, 552, 552, 250, 221], "{said}");
    assert!(site.intake.mails.lock().is_empty());
}

#[tokio::test]
async fn too_many_recipients_are_452_and_the_rest_go_on() {
    let limits = Limits { max_recipients: 3, ..Limits::default() };
    let site = start(Settings { limits, ..Settings::default() }).await;
    let rcpts: String = (0..5).map(|n| format!("RCPT TO:<u{n}@example.test>\r\n")).collect();
    let text = format!("EHLO c\r\nMAIL FROM:<a@b.test>\r\n{rcpts}DATA\r\nx\r\n.\r\nQUIT\r\n");
    assert_eq!(
        codes(&talk(site.address, &[text.as_bytes()]).await),
        [220, 250, 250, 250, 250, 250, 452, 452, 354, 250, 221]
    );
    assert_eq!(site.intake.mails.lock()[0].recipients.len(), 3);
}

#[tokio::test]
async fn a_long_line_is_500_and_the_session_goes_on() {
    let site = start(Settings::default()).await;
    let long = format!("NOOP {}\r\nNOOP\r\nQUIT\r\n", "x".repeat(100_000));
    assert_eq!(codes(&talk(site.address, &[long.as_bytes()]).await), [220, 500, 250, 221]);
}

#[tokio::test]
async fn too_many_errors_end_the_session() {
    let limits = Limits { max_errors: 3, ..Limits::default() };
    let site = start(Settings { limits, ..Settings::default() }).await;
    let said = talk(site.address, &["FOO\r\n".repeat(10).as_bytes()]).await;
    assert_eq!(codes(&said), [220, 500, 500, 500, 421], "{said}");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_421_and_places_are_given_back() {
    let limits = Limits { max_connections_per_ip: 1, ..Limits::default() };
    let site = start(Settings { limits, ..Settings::default() }).await;
    let mut first = TcpStream::connect(site.address).await.unwrap();
    let mut greeting = [0; 4];
    first.read_exact(&mut greeting).await.unwrap();
    assert_eq!(codes(&talk(site.address, &[b"QUIT\r\n"]).await), [421]);
    assert_eq!(site.counters.refused()["connections"], 1);
    drop(first);
    let start = std::time::Instant::now();
    while codes(&talk(site.address, &[b"QUIT\r\n"]).await) != [220, 221] {
        assert!(start.elapsed() < Duration::from_secs(60));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn messages_beyond_the_rate_are_450() {
    let limits = Limits { messages_per_minute_per_ip: 2, ..Limits::default() };
    let site = start(Settings { limits, ..Settings::default() }).await;
    for expected in [250, 250, 450] {
        let said = talk(site.address, &[session("x").as_bytes()]).await;
        assert_eq!(codes(&said)[2], expected, "{said}");
    }
}

#[tokio::test]
async fn a_mail_in_a_loop_is_554() {
    let site = start(Settings::default()).await;
    let hops = "Received: from x by y; date\r\n".repeat(51);
    assert_eq!(codes(&talk(site.address, &[session(&format!("{hops}\r\nx")).as_bytes()]).await)[5], 554);
}

#[tokio::test]
async fn a_silent_client_is_told_of_its_timeout() {
    let limits = Limits { command_timeout: Duration::from_millis(50), ..Limits::default() };
    let site = start(Settings { limits, ..Settings::default() }).await;
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert_eq!(codes(&said), [220, 421], "{said}");
}
