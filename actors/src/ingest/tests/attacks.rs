//! Smuggling, relaying, early talking, garbage.

use super::*;
use proptest::prelude::*;

#[tokio::test]
async fn no_known_end_of_data_trick_makes_two_mails_of_one() {
    let tricks = [
        "\n.\n",
        "\n.\r\n",
        "\r.\r",
        "\r.\r\n",
        "\r\n.\n",
        "\r\n.\r",
        "\r\n\0.\r\n",
        "\n.\r",
        "\r.\n",
        "\r\n.\r\r\n",
        "\r\r\n.\r\n",
        "\n\n.\r\n",
        "\r\n\x0b.\r\n",
    ];
    for trick in tricks {
        let site = start(Settings::default()).await;
        let smuggled = format!(
            "Subject: outer\r\n\r\nx{trick}MAIL FROM:<evil@x.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\nSubject: inner\r\n\r\ny"
        );
        talk(site.address, &[session(&smuggled).as_bytes()]).await;
        let mails = site.intake.mails.lock();
        assert!(mails.len() <= 1, "{trick:?} gave {} mails", mails.len());
        assert!(mails.iter().all(|m| m.mail_from == "a@out.test"), "{trick:?}");
    }
}

#[tokio::test]
async fn every_smuggling_case_of_the_facts_is_refused_or_one_mail() {
    let Some(folder) = corpora() else { return };
    let table = std::fs::read_to_string(folder.join("facts/smtp-smuggling-end-of-data.tsv")).unwrap();
    let mut cases = 0;
    for line in table.lines().filter(|l| !l.starts_with('#')) {
        for cell in line
            .split('\t')
            .filter(|c| c.contains("\\n") || c.contains("\\r") || c.contains("<LF>") || c.contains("<CR>"))
        {
            let trick = cell
                .replace("\\r", "\r")
                .replace("\\n", "\n")
                .replace("<CR>", "\r")
                .replace("<LF>", "\n")
                .replace("\\x00", "\0")
                .replace("\\0", "\0")
                .replace("<NUL>", "\0");
            if trick == "\r\n.\r\n" || trick.len() > 12 {
                continue;
            }
            cases += 1;
            let site = start(Settings::default()).await;
            let text = format!(
                "A: b\r\n\r\nx{trick}MAIL FROM:<evil@x.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\ny"
            );
            talk(site.address, &[session(&text).as_bytes()]).await;
            let mails = site.intake.mails.lock();
            assert!(mails.len() <= 1 && mails.iter().all(|m| m.mail_from != "evil@x.test"), "{cell}");
        }
    }
    assert!(cases >= 5, "{cases} cases were read");
}

fn corpora() -> Option<std::path::PathBuf> {
    let given = std::env::var_os("TIDEGATE_CORPORA").map(std::path::PathBuf::from);
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let beside = root.ancestors().flat_map(|a| [a.join("shared/corpora"), a.join("../shared/corpora")]);
    let found = given.into_iter().chain(beside).find(|p| p.join("README.md").exists());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI needs the corpora; set TIDEGATE_CORPORA");
        eprintln!("skipped: no corpora here; set TIDEGATE_CORPORA");
    }
    found
}

#[tokio::test]
async fn nobody_gets_mail_relayed() {
    let site = start(Settings::default()).await;
    for to in [
        "x@world.test",
        "x%world.test@example.test",
        "world.test!x@example.test",
        "\"x@world.test\"@example.test",
        "@example.test:x@world.test",
        "x@example.test.world.test",
        "x@[127.0.0.1]",
        "x@world.test%example.test",
        "x@example.test@world.test",
        "x@example.test.",
        "x@",
    ] {
        let text = format!("EHLO c\r\nMAIL FROM:<b@example.test>\r\nRCPT TO:<{to}>\r\nQUIT\r\n");
        let said = talk(site.address, &[text.as_bytes()]).await;
        assert!(codes(&said)[3] >= 500, "{to}: {said}");
    }
}

#[tokio::test]
async fn unknown_users_are_550_and_postmaster_always_exists() {
    let site = start(Settings::default()).await;
    let text = "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<bob@listed.test>\r\nRCPT TO:<Postmaster@listed.test>\r\nRCPT TO:<ann@listed.test>\r\nQUIT\r\n";
    assert_eq!(codes(&talk(site.address, &[text.as_bytes()]).await), [220, 250, 250, 550, 250, 250, 221]);
}

#[tokio::test]
async fn early_talkers_are_refused() {
    let limits = Limits { greet_delay: Duration::from_secs(20), ..Limits::default() };
    let site = start(Settings { limits, refuse_early_talkers: true, ..Settings::default() }).await;
    let said = talk(site.address, &[b"EHLO c\r\n"]).await;
    assert_eq!(codes(&said), [554], "{said}");
}

#[tokio::test]
async fn a_listed_client_is_refused_with_a_reason_unless_the_tenant_exempts_it() {
    let policy = Policy { refuse_listed_at: 2, contact: "help@isp.test".into(), ..Policy::default() };
    let site = start_with(Settings::default(), directory(policy.clone())).await;
    let said = talk(site.address, &[session("x").as_bytes()]).await;
    assert!(
        said.contains(
            "550 5.7.1 [127.0.0.1] is listed by one.test, two.test; if that is wrong, ask help@isp.test"
        ),
        "{said}"
    );
    let signals = site.intake.signals.lock().clone();
    assert_eq!(
        (signals.len(), signals[0].ip.as_str(), signals[0].tenant.as_str()),
        (1, "127.0.0.1", "isp/msp/example.test")
    );

    let exempting = directory(policy);
    exempting.lists.lock().push(("isp/msp".into(), "ip".into(), "127.0.0.0/24".into(), true));
    let site = start_with(Settings::default(), exempting).await;
    talk(site.address, &[session("x").as_bytes()]).await;
    assert_eq!(site.intake.mails.lock().len(), 1);
}

#[tokio::test]
async fn a_blocked_sender_is_refused_by_name_of_the_level() {
    let directory = directory(Policy::default());
    directory.lists.lock().push(("isp/msp/example.test".into(), "sender".into(), "out.test".into(), false));
    let site = start_with(Settings::default(), directory).await;
    let said = talk(site.address, &[session("x").as_bytes()]).await;
    assert!(said.contains("550 5.7.1 The sender is blocked by the domain"), "{said}");
}

#[tokio::test]
async fn line_ends_that_are_not_crlf_are_no_commands() {
    let site = start(Settings::default()).await;
    let said = talk(site.address, &[b"EHLO c\nNOOP\r\nEHLO\rc\r\nQUIT\r\n"]).await;
    assert_eq!(codes(&said), [220, 500, 250, 500, 221], "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]
    #[test]
    fn no_octets_make_the_server_panic_or_take_an_unframed_mail(
        octets in proptest::collection::vec(any::<u8>(), 0..400),
        prefix in 0_usize..4,
    ) {
        let starts = ["", "EHLO c\r\n", "EHLO c\r\nMAIL FROM:<a@b.test>\r\n", "EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n"];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let site = start(Settings::default()).await;
            talk(site.address, &[starts[prefix].as_bytes(), &octets]).await;
            let framed = octets.windows(5).any(|w| w == b"\r\n.\r\n") || octets.starts_with(b".\r\n");
            let count = site.intake.mails.lock().len();
            assert!(count == 0 || framed);
            site.stop.send_replace(true);
            site.served.await.unwrap();
        });
    }
}
