//! Master-file text: what it means, what is wrong with it, and that nothing makes the reader panic.

use super::*;
use proptest::prelude::*;

fn zone(text: &str) -> Zone {
    Zone::parse(text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn mistakes(text: &str) -> Vec<(usize, String)> {
    Zone::parse(text).unwrap_err().into_iter().map(|m| (m.line, m.what)).collect()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test]
async fn origins_relative_names_omitted_owners_ttls_and_classes_are_understood() {
    let zone = zone(
        "$ORIGIN example.test.\n$TTL 1h\n\
         @ 3600 IN SOA ns hostmaster ( 1 2h ; serial, refresh\n  3 4\n 5 )\n  IN 60 NS ns\n\
         @ MX 20 b\n  MX 10 a.other.test.\n\
         a A 192.0.2.1\n  AAAA 2001:db8::1\nWWW CNAME A\n\
         $ORIGIN sub.example.test.\nc in a 192.0.2.3\n",
    );
    let hosts = vec![(10, "a.other.test".to_owned()), (20, "b.example.test".to_owned())];
    assert_eq!(zone.mx("Example.TEST.").await, Ok(hosts));
    assert_eq!(zone.addresses("www.example.test").await, Ok(ips(&["192.0.2.1", "2001:db8::1"])));
    assert_eq!(zone.addresses("c.sub.example.test").await, Ok(ips(&["192.0.2.3"])));
}

#[tokio::test]
async fn strings_keep_their_blanks_semicolons_escapes_and_length() {
    let long = "k".repeat(600);
    let zone = zone(&format!(
        "a.test. TXT \"v=DKIM1; p=\" \"ab\\\"c\" ; a comment\na.test. TXT plain\na.test. TXT ( \"one\"\n \"two\" )\n\
         b.test. TXT \"\\228\\\\\"\nlong.test. TXT \"{long}\"\n"
    ));
    assert_eq!(zone.txt("a.test").await.unwrap(), ["v=DKIM1; p=ab\"c", "plain", "onetwo"]);
    assert_eq!(zone.txt("b.test").await.unwrap(), ["\u{e4}\\"]);
    assert_eq!(zone.txt("long.test").await.unwrap(), [long]);
}

#[tokio::test]
async fn reverse_names_answer_for_both_families() {
    let nibbles = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.";
    let zone = zone(&format!("7.2.0.192.in-addr.arpa. PTR Mail.A.test.\n{nibbles} PTR six.a.test.\n"));
    assert_eq!(zone.ptr("192.0.2.7".parse().unwrap()).await.unwrap(), ["mail.a.test"]);
    assert_eq!(zone.ptr("2001:db8::1".parse().unwrap()).await.unwrap(), ["six.a.test"]);
    assert_eq!(zone.ptr("192.0.2.8".parse().unwrap()).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn absent_names_absent_types_and_impossible_names_are_empty_answers() {
    let zone = zone("a.test. A 192.0.2.1\n");
    assert_eq!(zone.txt("a.test").await, Ok(Vec::new()));
    let label = "x".repeat(64);
    for name in ["b.test", "", ".", "a..test", ".a.test", label.as_str(), "a.test.."] {
        assert_eq!(zone.addresses(name).await, Ok(Vec::new()), "{name:?}");
    }
}

/// The cases of RFC 4592 section 2.2.1, in its own wording of which names match.
#[tokio::test]
async fn wildcards_answer_below_their_closest_encloser_only() {
    let zone = zone(
        "$ORIGIN example.\n* TXT \"wild\"\n* MX 10 host1\nsub.* TXT \"literal\"\nhost1 A 192.0.2.1\n\
         _ssh._tcp.host1 SRV 0 0 22 host1\n_ssh._tcp.host2 SRV 0 0 22 host1\n",
    );
    for name in ["host3.example", "foo.bar.example"] {
        assert_eq!(zone.txt(name).await.unwrap(), ["wild"], "{name}");
    }
    // The name exists, if only through names below it: the wildcard is silent.
    for name in [
        "host1.example",
        "host2.example",
        "_telnet._tcp.host1.example",
        "ghost.*.example",
        "_tcp.host1.example",
    ] {
        assert_eq!(zone.txt(name).await, Ok(Vec::new()), "{name}");
    }
    assert_eq!(zone.txt("sub.*.example").await.unwrap(), ["literal"]);
    assert_eq!(zone.addresses("host3.example").await, Ok(Vec::new()));
}

#[tokio::test]
async fn cname_chains_are_followed_and_endless_ones_fail() {
    let mut text = String::from(
        "end.test. A 192.0.2.9\nl0.test. CNAME end.test.\nloop.test. CNAME loop.test.\nout.test. CNAME a.gone.\n",
    );
    for n in 1..=17 {
        text.push_str(&format!("l{n}.test. CNAME l{}.test.\n", n - 1));
    }
    let zone = zone(&text);
    assert_eq!(zone.addresses("l15.test").await, Ok(ips(&["192.0.2.9"])));
    assert!(matches!(zone.addresses("l17.test").await, Err(DnsError::Temporary(_))));
    assert!(matches!(zone.txt("loop.test").await, Err(DnsError::Temporary(_))));
    assert_eq!(zone.addresses("out.test").await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_name_can_fail_as_a_whole_or_for_some_types() {
    let zone = zone("slow.test. TIMEOUT\nhalf.test. A 192.0.2.1\nhalf.test. SERVFAIL TXT MX\n");
    assert!(zone.addresses("slow.test").await.is_err() && zone.mx("slow.test").await.is_err());
    assert_eq!(zone.txt("half.test").await, Err(DnsError::Temporary("SERVFAIL for half.test".into())));
    assert!(zone.mx("half.test").await.is_err());
    assert_eq!(zone.addresses("half.test").await, Ok(ips(&["192.0.2.1"])));
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let text = "  A 192.0.2.1\n\
                a.test. A 192.0.2.256\n\
                b.test. AAAA 192.0.2.1\n\
                c.test. MX ten a.test.\n\
                d.test. NAPSTER x\n\
                e.test. CNAME a.test.\ne.test. A 192.0.2.1\n\
                $INCLUDE other.zone\n\
                f..test. A 192.0.2.1\n\
                g.test. TXT \"open\n\
                h.test. )\n\
                i.test. A\n\
                j.test. TXT ( \"a\"\n";
    let lines: Vec<usize> = mistakes(text).iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 11, 12, 13]);
    assert!(mistakes(text)[6].1.contains("$INCLUDE"));
}

#[tokio::test]
async fn a_broken_owner_does_not_lend_its_records_to_the_owner_before() {
    let found = mistakes("a.test. A 192.0.2.1\nx..y A 192.0.2.2\n  A 192.0.2.3\n");
    assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn no_text_makes_the_reader_panic(text in "(?s).{0,300}") {
        let _ = Zone::parse(&text);
    }

    #[test]
    fn no_near_zone_text_makes_the_reader_or_an_answer_panic(
        words in prop::collection::vec("[a*@.\\\\0-9]{1,8}|\\$ORIGIN|TXT|MX|CNAME|TIMEOUT|A|IN|[\n\n();\" ]", 0..60),
        name in "[a*@.\\\\é]{0,12}",
    ) {
        if let Ok(zone) = Zone::parse(&words.join(" ")) {
            let _ = zone.answer(&name, Kind::Txt, |node| &node.txt);
        }
    }

    #[test]
    fn what_is_written_is_answered(text in "[ -~]{0,400}", label in "[a-z0-9]{1,63}") {
        let escaped: String = text.chars().flat_map(|c| if matches!(c, '"' | '\\') { vec!['\\', c] } else { vec![c] }).collect();
        let zone = zone(&format!("$ORIGIN t.\n{label} TXT \"{escaped}\"\n"));
        prop_assert_eq!(zone.answer(&format!("{label}.T."), Kind::Txt, |node| &node.txt), Ok(vec![text]));
    }
}
