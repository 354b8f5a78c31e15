//! The stage over made-up DNS.

use super::*;
use crate::ports::DnsError;
use crate::ports::fakes::FixedDirectory;
use crate::stage::Port;
use parking_lot::Mutex;
use std::collections::HashMap;
use tidegate_schemas::{Client, Policy, Recipient};

/// Answers from tables; names in `silent` never answer at all.
#[derive(Default)]
struct Table {
    txt: HashMap<&'static str, Vec<&'static str>>,
    a: Mutex<HashMap<String, Vec<IpAddr>>>,
    ptr: HashMap<IpAddr, Vec<&'static str>>,
    silent: Vec<&'static str>,
    all_silent: bool,
}

impl Table {
    async fn pause(&self, name: &str) {
        if self.all_silent || self.silent.contains(&name) {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Dns for Table {
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
        self.pause(name).await;
        Ok(self.a.lock().get(name).cloned().unwrap_or_default())
    }
    async fn mx(&self, _: &str) -> Result<Vec<(u16, String)>, DnsError> {
        Ok(Vec::new())
    }
    async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError> {
        self.pause(name).await;
        Ok(self.txt.get(name).into_iter().flatten().map(|t| (*t).to_owned()).collect())
    }
    async fn ptr(&self, ip: IpAddr) -> Result<Vec<String>, DnsError> {
        self.pause("ptr").await;
        Ok(self.ptr.get(&ip).into_iter().flatten().map(|t| (*t).to_owned()).collect())
    }
}

const IP: [u8; 4] = [192, 0, 2, 7];

fn table() -> Table {
    let mut table = Table::default();
    table.txt.insert("a.test", vec!["v=spf1 ip4:192.0.2.7 -all"]);
    table.txt.insert("_dmarc.a.test", vec!["v=DMARC1; p=reject"]);
    table.ptr.insert(IpAddr::from(IP), vec!["mail.a.test"]);
    table.a.lock().insert("mail.a.test".into(), vec![IpAddr::from(IP)]);
    table
}

fn mail(from: &str, raw: &str) -> Mail {
    Mail {
        tenant: "isp/msp/example.test".into(),
        client: Client { ip: IpAddr::from(IP).to_string(), helo: "mail.a.test".into(), ..Client::default() },
        mail_from: from.into(),
        recipients: vec![Recipient { address: "b@example.test".into(), ..Recipient::default() }],
        raw: raw.to_owned().into(),
        ..Mail::default()
    }
}

fn list(zone: &str) -> ListSpec {
    ListSpec { zone: zone.into(), weight: 4.0, codes: BTreeMap::new(), ipv6: true }
}

fn settings() -> Settings {
    Settings {
        authserv_id: "mx.us.test".into(),
        client_lists: vec![list("bl.test")],
        domain_lists: vec![list("dbl.test")],
        ..Settings::default()
    }
}

fn healthy(table: &Table) {
    let two = vec![IpAddr::from([127, 0, 0, 2])];
    table.a.lock().insert("2.0.0.127.bl.test".into(), two.clone());
    table.a.lock().insert("test.dbl.test".into(), two);
}

async fn check_with(table: Table, directory: FixedDirectory, mail: Mail) -> Mail {
    let dns: Arc<dyn Dns> = Arc::new(table);
    let lists = Arc::new(Lists::new(dns.clone(), &settings()));
    let stage = CheckDns::new(dns, Arc::new(directory), lists, settings());
    let step = stage.work(mail.into()).await.unwrap();
    match step.out.into_iter().next() {
        Some((Port::Next, Record::Mail(mail))) => *mail,
        other => panic!("{other:?}"),
    }
}

async fn check(table: Table, mail: Mail) -> Mail {
    check_with(table, FixedDirectory::of("example.test", Policy::default()), mail).await
}

fn weight(mail: &Mail, code: &str) -> Option<f32> {
    mail.evidence.iter().find(|e| e.code == code).map(|e| e.weight)
}

const PLAIN: &str = "From: x@a.test\r\nSubject: s\r\n\r\nhello\r\n";

#[tokio::test]
async fn an_honest_mail_passes_everything_and_says_so_in_its_header() {
    let mail = check(table(), mail("x@a.test", PLAIN)).await;
    assert_eq!(
        (mail.auth.spf.as_str(), mail.auth.dmarc.as_str(), mail.auth.iprev.as_str()),
        ("pass", "pass", "pass")
    );
    assert!(mail.added_headers.starts_with("Authentication-Results: mx.us.test;"), "{}", mail.added_headers);
    assert!(mail.added_headers.contains("spf=pass smtp.mailfrom=a.test"), "{}", mail.added_headers);
    assert!(mail.added_headers.contains("Received-SPF: pass"));
    assert_eq!(mail.raw, PLAIN.as_bytes());
}

#[tokio::test]
async fn a_forged_author_fails_dmarc_with_the_policy_of_its_domain() {
    let mail = check(table(), mail("evil@b.test", PLAIN)).await;
    assert!(mail.has("DMARC_REJECT") && mail.auth.dmarc_policy == "reject", "{:?}", mail.evidence);
}

#[tokio::test(start_paused = true)]
async fn silent_dns_is_temperror_of_weight_zero_within_the_deadline() {
    let start = tokio::time::Instant::now();
    let mail = check(Table { all_silent: true, ..table() }, mail("x@a.test", PLAIN)).await;
    assert!(start.elapsed() <= Duration::from_secs(9));
    assert_eq!(
        (mail.auth.spf.as_str(), mail.auth.iprev.as_str(), mail.auth.dmarc.as_str()),
        ("temperror", "temperror", "temperror")
    );
    let sum: f32 = mail.evidence.iter().map(|e| e.weight).sum();
    assert_eq!(sum, 0.0, "{:?}", mail.evidence);
}

#[tokio::test]
async fn a_listed_client_and_a_listed_link_are_evidence() {
    let table = table();
    healthy(&table);
    table.a.lock().insert("7.2.0.192.bl.test".into(), vec![IpAddr::from([127, 0, 0, 3])]);
    table.a.lock().insert("evil.test.dbl.test".into(), vec![IpAddr::from([127, 0, 1, 2])]);
    let text =
        "From: x@a.test\r\nContent-Type: text/html\r\n\r\n<a href=\"http://www.evil.test/x\">y</a>\r\n";
    let mail = check(table, mail("x@a.test", text)).await;
    assert_eq!(
        (weight(&mail, "DNSBL_BL_TEST"), weight(&mail, "DOMAIN_LIST_DBL_TEST")),
        (Some(4.0), Some(4.0))
    );
}

#[tokio::test]
async fn a_list_that_lists_everybody_or_nobody_drops_out() {
    for answers_all in [true, false] {
        let table = table();
        let any = vec![IpAddr::from([127, 0, 0, 2])];
        table.a.lock().insert("7.2.0.192.bl.test".into(), any.clone());
        if answers_all {
            table.a.lock().insert("2.0.0.127.bl.test".into(), any.clone());
            table.a.lock().insert("1.0.0.127.bl.test".into(), any);
        }
        let mail = check(table, mail("x@a.test", PLAIN)).await;
        assert_eq!(weight(&mail, "DNSBL_BL_TEST"), None, "answers_all {answers_all}");
    }
}

#[tokio::test]
async fn a_tenants_exemption_comes_before_the_list() {
    let table = table();
    healthy(&table);
    table.a.lock().insert("7.2.0.192.bl.test".into(), vec![IpAddr::from([127, 0, 0, 3])]);
    let directory = FixedDirectory::of("example.test", Policy::default());
    directory.lists.lock().push(("isp".into(), "ip".into(), "192.0.2.0/24".into(), true));
    let mail = check_with(table, directory, mail("x@a.test", PLAIN)).await;
    assert_eq!(weight(&mail, "DNSBL_BL_TEST"), Some(0.0));
}

#[test]
fn codes_of_a_list_have_their_own_weights_and_others_count_nothing() {
    let spec = ListSpec { codes: [("127.0.0.4".to_owned(), 6.0)].into(), ..list("x.test") };
    let parsed: ListSpec =
        toml::from_str("zone = \"x.test\"\nweight = 4.0\ncodes = { \"127.0.0.4\" = 6.0 }").unwrap();
    assert_eq!(parsed, spec);
    assert!(toml::from_str::<ListSpec>("zone = \"x\"\nwieght = 1.0").is_err());
}

#[tokio::test]
async fn a_forged_result_of_ours_is_cut_from_the_message() {
    let forged = format!("Authentication-Results: mx.us.test; dmarc=pass\r\n{PLAIN}");
    let mail = check(table(), mail("x@a.test", &forged)).await;
    assert_eq!(mail.raw, PLAIN.as_bytes());
}

#[tokio::test]
async fn a_signed_mail_verifies_through_the_port_and_a_changed_one_does_not() {
    use base64::Engine as _;
    use mail_auth::common::crypto::Ed25519Key;
    let der = Ed25519Key::generate_pkcs8().unwrap();
    let key = Ed25519Key::from_pkcs8_der(&der).unwrap();
    let public = base64::engine::general_purpose::STANDARD.encode(key.public_key());
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        base64::engine::general_purpose::STANDARD.encode(&der)
    );
    let keys =
        crate::deliver::dkim::Keys::from_pem(&[("a.test".into(), "s1".into(), pem.into_bytes())]).unwrap();
    let signature = keys.sign("a.test", b"", PLAIN.as_bytes()).unwrap().unwrap();
    let record: &'static str = Box::leak(format!("v=DKIM1; k=ed25519; p={public}").into_boxed_str());
    let signed_table = || {
        let mut table = table();
        table.txt.insert("s1._domainkey.a.test", vec![record]);
        table.txt.insert("s1._domainkey.a.test.", vec![record]);
        table
    };
    let good = check(signed_table(), mail("x@elsewhere.test", &format!("{signature}{PLAIN}"))).await;
    assert_eq!((good.auth.dkim.as_str(), good.auth.dmarc.as_str()), ("pass", "pass"), "{:?}", good.evidence);
    let changed = check(
        signed_table(),
        mail("x@elsewhere.test", &format!("{signature}{PLAIN}").replace("hello", "hallo")),
    )
    .await;
    assert_eq!(
        (changed.auth.dkim.as_str(), changed.auth.dmarc.as_str()),
        ("fail", "fail"),
        "{:?}",
        changed.evidence
    );
}

#[tokio::test]
async fn outbound_and_released_mail_is_not_checked() {
    let mut own = mail("x@a.test", PLAIN);
    own.direction = Direction::Outbound as i32;
    assert!(check(table(), own).await.evidence.is_empty());
    let mut released = mail("x@a.test", PLAIN);
    released.released_by = "ops".into();
    assert!(check(table(), released).await.evidence.is_empty());
}
