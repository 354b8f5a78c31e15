//! The redirect site over real sockets: what each click and each button does, and what none of them can do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail loudly"
)]

use parking_lot::RwLock;
use proptest::prelude::*;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tidegate::web::site::{Counters, Settings, Site};
use tidegate_actors::ports::fakes::{FixedDirectory, MemoryIntake, MemoryStore};
use tidegate_actors::ports::{Directory, DomainFacts, IntakeError, Listed, Scan, Store, StoreError};
use tidegate_schemas::link::{Link, LinkKeys, token_of};
use tidegate_schemas::rows::{LearnedRow, ListRow, TABLES, day_of};
use tidegate_schemas::tenant::Mode;
use tidegate_schemas::{Policy, RawRow, Row, Signal, SignalKind, Write, new_id, now_ms};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const TENANT: &str = "isp/msp/a.test";
const USER: &str = "0123456789abcdef";
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

/// A running site with everything behind it in reach.
struct World {
    address: SocketAddr,
    keys: LinkKeys,
    directory: Arc<FixedDirectory>,
    store: Arc<MemoryStore>,
    intake: Arc<MemoryIntake>,
    registry: prometheus::Registry,
    stop: watch::Sender<bool>,
    served: tokio::task::JoinHandle<()>,
}

/// An answer, taken apart.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|l| l.to_lowercase().starts_with(&format!("{name}:")))?;
        Some(line[name.len() + 1..].trim())
    }
}

impl World {
    async fn new(policy: Policy) -> World {
        World::with(policy, Settings::default()).await
    }

    async fn with(policy: Policy, settings: Settings) -> World {
        let directory = Arc::new(FixedDirectory::of("a.test", policy));
        World::over(directory.clone(), directory, settings).await
    }

    async fn over(directory: Arc<FixedDirectory>, asked: Arc<dyn Directory>, settings: Settings) -> World {
        let keys = LinkKeys::generate().unwrap();
        let shared = Arc::new(RwLock::new(Arc::new(keys.clone())));
        let (store, intake) = (Arc::new(MemoryStore::default()), Arc::new(MemoryIntake::default()));
        let registry = prometheus::Registry::new();
        let counters = Arc::new(Counters::new(&registry).unwrap());
        let site = Site::new(shared, asked, store.clone(), intake.clone(), settings, counters).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let served = tokio::spawn(Arc::new(site).serve(listener, stopped));
        World { address, keys, directory, store, intake, registry, stop, served }
    }

    /// `/u/TOKEN` of a link to this address.
    fn path(&self, url: &str) -> String {
        self.path_of(&Link { url: url.into(), tenant: TENANT.into(), user: USER.into(), mail: new_id() })
    }

    fn path_of(&self, link: &Link) -> String {
        let whole = self.keys.encode("https://links.test", link).unwrap();
        format!("/u/{}", token_of(&whole).unwrap())
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("host")) {
            request += "Host: links.test\r\n";
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if method == "POST" {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        exchange(self.address, &format!("{request}\r\n{body}")).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[("User-Agent", FIREFOX)], "").await
    }

    /// Sends a form as a browser does from a page of the site.
    async fn post(&self, path: &str, body: &str) -> Answer {
        let form = ("Content-Type", "application/x-www-form-urlencoded");
        let origin = ("Origin", "https://links.test");
        self.ask("POST", path, &[("User-Agent", FIREFOX), form, origin], body).await
    }

    /// Opens a link's page and presses one of its buttons.
    async fn press(&self, path: &str, action: &str) -> Answer {
        let page = self.get(path).await;
        let proof = proof_for(&page.body, &format!("{path}/{action}")).expect("the page has the button");
        self.post(&format!("{path}/{action}"), &format!("proof={proof}")).await
    }

    fn signals(&self) -> Vec<Signal> {
        self.intake.signals.lock().clone()
    }

    fn last(&self) -> Signal {
        self.signals().last().unwrap().clone()
    }

    async fn feed(&self, kind: &str, name: &str) {
        let row = RawRow {
            table: "feeds",
            partition: kind.into(),
            sort: name.into(),
            value: "{}".into(),
            expires_ms: 0,
        };
        self.store.apply(vec![Write::Put(row)]).await.unwrap();
    }

    fn list(&self, path: &str, value: &str, allow: bool) {
        self.directory.lists.lock().push((path.into(), "link".into(), value.into(), allow));
    }

    async fn all_rows(&self) -> Vec<RawRow> {
        let mut rows = Vec::new();
        for table in TABLES {
            for partition in self.store.partitions(table, "", 1_000).await.unwrap() {
                let scan = Scan { table, partition: &partition, prefix: "", after: "", limit: 10_000 };
                rows.extend(self.store.scan(scan).await.unwrap());
            }
        }
        rows
    }
}

async fn exchange(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The other side may answer and close before it has read everything.
    let _refused_early = stream.write_all(request.as_bytes()).await;
    let mut bytes = Vec::new();
    let _reset = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// The proof in the form with this action.
fn proof_for(page: &str, action: &str) -> Option<String> {
    let (_, form) = page.split_once(&format!("action=\"{action}\""))?;
    let (form, _) = form.split_once("</form>")?;
    let (_, value) = form.split_once("name=\"proof\" value=\"")?;
    Some(value.split('"').next()?.to_owned())
}

fn mode(mode: Mode) -> Policy {
    Policy { mode, ..Policy::default() }
}

// --- what a click does ---

#[tokio::test]
async fn an_unknown_site_gets_the_warning_page_with_its_host_and_a_durable_click() {
    let world = World::new(Policy::default()).await;
    let answer = world.get(&world.path("https://www.shop.example.com/a?b=c")).await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.body.contains("<span class=\"lead\">www.shop.</span><strong>example.com</strong>"),
        "{}",
        answer.body
    );
    assert!(answer.header("location").is_none());
    let click = world.last();
    assert_eq!(
        (click.kind(), click.decision.as_str(), click.client.as_str()),
        (SignalKind::Click, "warned", "human")
    );
    assert_eq!((click.host.as_str(), click.domain.as_str()), ("www.shop.example.com", "example.com"));
    assert_eq!((click.tenant.as_str(), click.user.as_str()), (TENANT, USER));
    assert!(
        click.url.is_empty() && click.ip.is_empty(),
        "a click keeps neither the address nor the client's"
    );
}

#[tokio::test]
async fn the_hint_behind_the_token_and_any_query_are_ignored() {
    let world = World::new(mode(Mode::Silent)).await;
    let path = world.path("https://a.example/x");
    for tail in ["", "/", "/www.evil.test", "/a/b/c", "?url=https://evil.test/", "/go", "/x?utm=1"] {
        let answer = world.get(&format!("{path}{tail}")).await;
        assert_eq!((answer.status, answer.header("location")), (302, Some("https://a.example/x")), "{tail}");
    }
}

#[tokio::test]
async fn a_silent_redirect_carries_the_exact_address_and_tells_the_target_nothing() {
    let world = World::new(mode(Mode::Silent)).await;
    let url = "https://User@A.example:8443/b%2Fc/..;d?e=f&g=%zz#h'(i)!";
    let answer = world.get(&world.path(url)).await;
    assert_eq!((answer.status, answer.header("location")), (302, Some(url)));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.body.is_empty());
    assert_eq!(world.last().decision, "redirected");
}

#[tokio::test]
async fn a_block_list_wins_over_a_known_good_site_and_the_mode() {
    let world = World::new(mode(Mode::Silent)).await;
    world.feed("good", "example.com").await;
    world.list("isp/msp", ".example.com", false);
    let answer = world.get(&world.path("https://www.example.com/")).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("Your mail provider blocks this site."));
    assert!(!answer.body.contains("/go\""), "no way on");
    assert_eq!(world.last().decision, "blocked");
}

#[tokio::test]
async fn a_known_dangerous_site_stays_closed_though_a_list_allows_it() {
    let world = World::new(mode(Mode::Silent)).await;
    world.feed("dangerous", "evil.example").await;
    world.list("isp", ".evil.example", true);
    world.list(&format!("{TENANT}/{USER}"), "login.evil.example", true);
    let answer = world.get(&world.path("https://login.evil.example/")).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("known to be dangerous"));
}

#[tokio::test]
async fn allowed_good_and_learned_sites_open_at_once_even_where_the_mode_is_warn() {
    let world = World::new(Policy::default()).await;
    world.list(TENANT, ".allowed.example", true);
    world.feed("good", "good.example").await;
    let now = now_ms();
    for (index, days_ago) in [1, 2, 3, 1, 2].into_iter().enumerate() {
        let row = LearnedRow {
            domain: "learned.example".into(),
            day: day_of(now - days_ago * 86_400_000),
            tenant: TENANT.into(),
            user: format!("u{index}"),
        };
        world.store.apply(vec![Write::Put(row.raw(0))]).await.unwrap();
    }
    for (host, why) in [
        ("allowed.example", "allow list"),
        ("www.good.example", "known good"),
        ("x.learned.example", "learned"),
    ] {
        let answer = world.get(&world.path(&format!("https://{host}/"))).await;
        assert_eq!(answer.status, 302, "{host}");
        assert_eq!(world.last().reason, why);
    }
    assert_eq!(world.get(&world.path("https://other.example/")).await.status, 200);
}

#[tokio::test]
async fn an_allow_entry_for_one_host_opens_no_sibling() {
    let world = World::new(Policy::default()).await;
    world.list(TENANT, "docs.example.com", true);
    assert_eq!(world.get(&world.path("https://docs.example.com/")).await.status, 302);
    assert_eq!(world.get(&world.path("https://evil.docs.example.com/")).await.status, 200);
    assert_eq!(world.get(&world.path("https://notdocs.example.com/")).await.status, 200);
}

#[tokio::test]
async fn sampling_shows_the_page_on_its_share_only() {
    let always = World::new(Policy { sample_share: 1.0, ..mode(Mode::Sample) }).await;
    assert_eq!(always.get(&always.path("https://a.example/")).await.status, 200);
    let never = World::new(Policy { sample_share: 0.0, ..mode(Mode::Sample) }).await;
    assert_eq!(never.get(&never.path("https://a.example/")).await.status, 302);
}

// --- links that must not lead anywhere ---

#[tokio::test]
async fn a_damaged_or_foreign_link_shows_no_target_and_never_redirects() {
    let world = World::new(mode(Mode::Silent)).await;
    let path = world.path("https://secret-target.example/");
    let (front, back) = path.split_at(path.len() - 2);
    let damaged = format!("{front}{}{}", if back.starts_with('A') { 'B' } else { 'A' }, &back[1..]);
    let strangers = LinkKeys::generate().unwrap();
    let link = Link {
        url: "https://secret-target.example/".into(),
        tenant: TENANT.into(),
        user: USER.into(),
        mail: new_id(),
    };
    let forged = format!("/u/{}", token_of(&strangers.encode("https://x.test", &link).unwrap()).unwrap());
    let unknown_key = path.replacen(".a1.", ".zz.", 1);
    let unknown_version = path.replacen("/u/1.", "/u/9.", 1);
    for (path, status) in [(damaged, 400), (forged, 400), (unknown_key, 404), (unknown_version, 404)] {
        let answer = world.get(&path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.header("location").is_none());
        assert!(!answer.body.contains("secret-target"));
        assert!(answer.body.contains("cannot be read"));
    }
    assert!(world.signals().is_empty());
}

#[tokio::test]
async fn there_is_no_open_redirect() {
    let world = World::new(mode(Mode::Silent)).await;
    let tries = [
        "/u/?url=https://evil.test/",
        "/u/https://evil.test/",
        "/u/..?url=https://evil.test",
        "//evil.test/%2f..",
        "/u//evil.test",
        "/u/%2e%2e/evil",
        "/redirect?to=https://evil.test",
        "/u",
        "/u/",
        "/\\evil.test",
        "/u/..//evil.test",
        "https://evil.test/",
        "/u/a.b.c.d",
        "/?next=//evil.test",
    ];
    for path in tries {
        let answer = world.get(path).await;
        assert!(answer.header("location").is_none(), "{path}");
        assert!(!answer.body.contains("evil.test"), "{path}");
        assert!(
            answer.status == 404
                || (path.starts_with("/?") || path == "https://evil.test/") && answer.status == 200,
            "{path} {}",
            answer.status
        );
    }
}

#[tokio::test]
async fn a_link_whose_tenant_is_gone_or_moved_always_asks_and_teaches_nothing() {
    let world = World::new(mode(Mode::Silent)).await;
    world.feed("good", "good.example").await;
    for tenant in ["isp/msp/gone.test", "isp/other/a.test", "a.test", ""] {
        let link = Link {
            url: "https://good.example/".into(),
            tenant: tenant.into(),
            user: USER.into(),
            mail: new_id(),
        };
        let path = world.path_of(&link);
        let answer = world.get(&path).await;
        assert_eq!(answer.status, 200, "{tenant}");
        assert!(answer.body.contains("another organisation"));
        assert!(!answer.body.contains("Always trust"));
        assert_eq!(world.press(&path, "go").await.status, 303);
        assert_eq!(world.last().client, "unknown:outside");
        assert_eq!(world.press(&path, "report").await.status, 200);
        assert_eq!(world.last().client, "unknown:outside", "such a report freezes nothing");
    }
}

#[tokio::test]
async fn a_link_opened_at_another_tenants_host_always_asks() {
    let policy = Policy { redirect_base: "https://links.msp.test".into(), ..mode(Mode::Silent) };
    let settings = Settings { hosts: vec!["old.msp.test".into()], ..Settings::default() };
    let world = World::with(policy, settings).await;
    let path = world.path("https://a.example/");
    for (host, status) in
        [("links.msp.test", 302), ("old.msp.test", 302), ("links.other.test", 200), ("", 200)]
    {
        let answer = world.ask("GET", &path, &[("Host", host), ("User-Agent", FIREFOX)], "").await;
        assert_eq!(answer.status, status, "{host}");
    }
}

// --- when something is away ---

#[tokio::test]
async fn with_the_log_away_nothing_is_redirected_and_the_page_is_still_shown() {
    let world = World::new(mode(Mode::Silent)).await;
    let path = world.path("https://a.example/");
    *world.intake.fail.lock() = Some(IntakeError::Away("told so".into()));
    let answer = world.get(&path).await;
    assert_eq!((answer.status, answer.header("location")), (200, None));
    assert!(answer.body.contains("a.example") && answer.body.contains("cannot be kept"));
    assert!(!answer.body.contains(&format!("{path}/go")));
    let proof = world.keys.proof("form", &[&path[3..], "go"]);
    let gone = world.post(&format!("{path}/go"), &format!("proof={proof}")).await;
    assert_eq!((gone.status, gone.header("location")), (503, None));
    *world.intake.fail.lock() = None;
    assert_eq!(world.get(&path).await.status, 302, "and it works again");
}

#[tokio::test]
async fn with_the_store_away_an_unchecked_site_is_not_opened_and_no_button_acts() {
    let world = World::new(mode(Mode::Silent)).await;
    world.store.set_away(true);
    let path = world.path("https://a.example/");
    let answer = world.get(&path).await;
    assert_eq!((answer.status, answer.header("location")), (200, None));
    assert!(answer.body.contains("could not be checked"));
    for action in ["go", "trust", "block"] {
        let proof = world.keys.proof("form", &[&path[3..], action]);
        let answer = world.post(&format!("{path}/{action}"), &format!("proof={proof}")).await;
        assert_eq!((answer.status, answer.header("location")), (503, None), "{action}");
    }
    assert!(world.signals().iter().all(|s| s.kind() == SignalKind::Click));
}

#[tokio::test]
async fn with_the_store_away_a_block_that_is_known_still_blocks() {
    let world = World::new(mode(Mode::Silent)).await;
    world.list("isp", ".a.example", false);
    world.store.set_away(true);
    assert_eq!(world.get(&world.path("https://a.example/")).await.status, 403);
}

/// A directory that cannot be reached.
struct AwayDirectory;

#[async_trait::async_trait]
impl Directory for AwayDirectory {
    async fn domain(&self, _: &str) -> Result<Option<Arc<DomainFacts>>, StoreError> {
        Err(StoreError("away".into()))
    }
    async fn user_exists(&self, _: &str, _: &str) -> Result<bool, StoreError> {
        Err(StoreError("away".into()))
    }
    async fn login(&self, _: &str, _: &str) -> Result<Option<String>, StoreError> {
        Err(StoreError("away".into()))
    }
    async fn listed(&self, _: &str, _: &str, _: &[String]) -> Result<Option<Listed>, StoreError> {
        Err(StoreError("away".into()))
    }
}

#[tokio::test]
async fn with_the_directory_away_even_a_known_good_site_asks() {
    let fixed = Arc::new(FixedDirectory::default());
    let world = World::over(fixed, Arc::new(AwayDirectory), Settings::default()).await;
    world.feed("good", "a.example").await;
    let answer = world.get(&world.path("https://a.example/")).await;
    assert_eq!((answer.status, answer.header("location")), (200, None));
}

// --- machines ---

#[tokio::test]
async fn head_answers_like_get_and_is_no_person() {
    let world = World::new(mode(Mode::Silent)).await;
    let path = world.path("https://a.example/");
    let answer = world.ask("HEAD", &path, &[("User-Agent", FIREFOX)], "").await;
    assert_eq!((answer.status, answer.body.as_str()), (302, ""));
    assert_eq!(world.last().client, "machine:head");
    world.list("isp", ".a.example", false);
    assert_eq!(world.ask("HEAD", &path, &[("User-Agent", FIREFOX)], "").await.status, 403);
}

#[tokio::test]
async fn a_browser_that_loads_ahead_gets_no_target_and_leaves_no_click() {
    let world = World::new(mode(Mode::Silent)).await;
    for sign in [("Sec-Purpose", "prefetch;prerender"), ("Purpose", "prefetch"), ("X-Moz", "prefetch")] {
        let answer =
            world.ask("GET", &world.path("https://a.example/"), &[("User-Agent", FIREFOX), sign], "").await;
        assert_eq!((answer.status, answer.header("location")), (503, None));
        assert!(!answer.body.contains("a.example"));
    }
    assert!(world.signals().is_empty());
}

#[tokio::test]
async fn a_scanner_that_presses_go_is_sent_on_but_is_no_person_and_edits_no_list() {
    let world = World::new(Policy::default()).await;
    let path = world.path("https://a.example/");
    let page = world.ask("GET", &path, &[("User-Agent", "python-requests/2.32")], "").await;
    assert_eq!(world.last().client, "machine:agent");
    for (action, status) in [("go", 303), ("trust", 403), ("block", 403)] {
        let proof = proof_for(&page.body, &format!("{path}/{action}")).unwrap();
        let form = ("Content-Type", "application/x-www-form-urlencoded");
        let agent = ("User-Agent", "python-requests/2.32");
        let answer =
            world.ask("POST", &format!("{path}/{action}"), &[agent, form], &format!("proof={proof}")).await;
        assert_eq!(answer.status, status, "{action}");
    }
    assert_eq!((world.last().kind(), world.last().client.as_str()), (SignalKind::Proceed, "machine:agent"));
}

// --- the buttons ---

#[tokio::test]
async fn going_on_is_kept_before_the_person_is_sent_on() {
    let world = World::new(Policy::default()).await;
    let answer = world.press(&world.path("https://a.example/x?y"), "go").await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("https://a.example/x?y")));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    let proceed = world.last();
    assert_eq!((proceed.kind(), proceed.client.as_str()), (SignalKind::Proceed, "human"));
    assert_eq!((proceed.decision.as_str(), proceed.domain.as_str()), ("proceeded", "a.example"));
}

#[tokio::test]
async fn going_on_is_decided_anew_when_the_button_is_pressed() {
    let world = World::new(Policy::default()).await;
    let path = world.path("https://a.example/");
    let page = world.get(&path).await;
    let proof = proof_for(&page.body, &format!("{path}/go")).unwrap();
    world.list("isp", ".a.example", false);
    let answer = world.post(&format!("{path}/go"), &format!("proof={proof}")).await;
    assert_eq!((answer.status, answer.header("location")), (403, None));
    assert!(world.signals().iter().all(|s| s.kind() != SignalKind::Proceed));
}

#[tokio::test]
async fn trust_and_block_write_one_entry_of_the_users_own_list_after_the_signal() {
    let world = World::new(Policy::default()).await;
    for (url, action, value, allow) in [
        ("https://www.a.example/x", "trust", ".a.example", "allow"),
        ("https://www.b.example/x", "block", ".b.example", "block"),
        ("https://someone.github.io/x", "trust", "someone.github.io", "allow"),
        ("https://docs.google.com/forms/x", "block", "docs.google.com", "block"),
        ("http://192.0.2.7/x", "block", "192.0.2.7", "block"),
    ] {
        let answer = world.press(&world.path(url), action).await;
        assert_eq!(answer.status, 200, "{url}");
        let signal = world.last();
        assert_eq!((signal.kind(), signal.scope.as_str()), (SignalKind::ListEdit, "user"));
        assert_eq!((signal.decision.as_str(), signal.ip.as_str()), (allow, "127.0.0.1"));
        let key = format!("link|{value}");
        let row = world.store.get("lists", &format!("{TENANT}/{USER}"), &key).await.unwrap().expect(value);
        assert_eq!(ListRow::from_value(&row).unwrap().action, allow);
    }
}

#[tokio::test]
async fn a_user_can_take_back_his_own_block_but_not_one_above_him() {
    let world = World::new(Policy::default()).await;
    let path = world.path("https://a.example/");
    world.list(&format!("{TENANT}/{USER}"), ".a.example", false);
    assert!(world.get(&path).await.body.contains("You blocked this site yourself."));
    assert_eq!(world.press(&path, "trust").await.status, 200);
    world.directory.lists.lock().clear();
    world.list(TENANT, ".a.example", false);
    let proof = world.keys.proof("form", &[&path[3..], "trust"]);
    let before = world.all_rows().await;
    assert_eq!(world.post(&format!("{path}/trust"), &format!("proof={proof}")).await.status, 403);
    assert_eq!(world.all_rows().await, before);
}

#[tokio::test]
async fn a_known_dangerous_site_can_be_neither_trusted_nor_opened_whatever_the_policy() {
    let world = World::new(Policy { proceed_when_blocked: true, ..Policy::default() }).await;
    world.feed("dangerous", "evil.example").await;
    let path = world.path("https://evil.example/");
    for action in ["go", "trust"] {
        let proof = world.keys.proof("form", &[&path[3..], action]);
        let answer = world.post(&format!("{path}/{action}"), &format!("proof={proof}")).await;
        assert_eq!((answer.status, answer.header("location")), (403, None), "{action}");
    }
}

#[tokio::test]
async fn past_the_tenants_own_block_only_by_policy_and_it_is_told_apart() {
    let open = World::new(Policy { proceed_when_blocked: true, ..Policy::default() }).await;
    open.list(TENANT, ".a.example", false);
    assert_eq!(open.press(&open.path("https://a.example/"), "go").await.status, 303);
    assert_eq!(open.last().decision, "overridden");
    open.list("isp", ".b.example", false);
    let page = open.get(&open.path("https://b.example/")).await;
    assert!(page.status == 403 && !page.body.contains("/go\""), "not past the operator's");
}

#[tokio::test]
async fn a_report_keeps_the_address_and_the_words_cut_to_length() {
    let world = World::new(Policy::default()).await;
    let path = world.path("https://a.example/x?y=z");
    let page = world.get(&path).await;
    let proof = proof_for(&page.body, &format!("{path}/report")).unwrap();
    let comment = "%3Cscript%3E".to_owned() + &"x".repeat(5_000);
    let answer = world.post(&format!("{path}/report"), &format!("proof={proof}&comment={comment}")).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("Thank you") && !answer.body.contains("<script"));
    let report = world.last();
    assert_eq!((report.kind(), report.url.as_str()), (SignalKind::Report, "https://a.example/x?y=z"));
    assert_eq!((report.reason.len(), &report.reason[..8]), (2_000, "<script>"));
    assert_eq!((report.client.as_str(), report.decision.as_str()), ("human", "reported"));
}

#[tokio::test]
async fn a_link_can_be_reported_by_pasting_it() {
    let world = World::new(Policy::default()).await;
    let page = world.get("/report").await;
    let proof = proof_for(&page.body, "/report").unwrap();
    let link = format!("https://links.test{}/a.example", world.path("https://a.example/"));
    let link: String = url::form_urlencoded::byte_serialize(link.as_bytes()).collect();
    let answer = world.post("/report", &format!("proof={proof}&link={link}&comment=fraud")).await;
    assert_eq!(answer.status, 200);
    assert_eq!((world.last().kind(), world.last().reason.as_str()), (SignalKind::Report, "fraud"));
    for wrong in ["https://elsewhere.test/", "", "1.a1.AAAA"] {
        assert_eq!(world.post("/report", &format!("proof={proof}&link={wrong}")).await.status, 400);
    }
    assert_eq!(world.signals().len(), 1);
}

#[tokio::test]
async fn a_pasted_link_is_decoded_and_leaves_no_trace() {
    let world = World::new(Policy::default()).await;
    let link = format!("https://links.test{}", world.path("https://www.a.example/b"));
    let answer = world.post("/decode", &format!("link={link}")).await;
    assert!(answer.body.contains("https://www.a.example/b"), "{}", answer.body);
    let wrong = world.post("/decode", "link=https://evil.test/%3Cscript%3E").await;
    assert!(wrong.body.contains("not a whole link") && !wrong.body.contains("evil.test"));
    assert!(world.signals().is_empty() && world.all_rows().await.is_empty());
}

// --- what must not work ---

#[tokio::test]
async fn a_form_without_its_proof_or_from_another_site_does_nothing() {
    let world = World::new(Policy::default()).await;
    let path = world.path("https://a.example/");
    let other = world.path("https://b.example/");
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    for action in ["go", "trust", "block", "report"] {
        let right = format!("proof={}", world.keys.proof("form", &[&path[3..], action]));
        let of_other_action = format!("proof={}", world.keys.proof("form", &[&path[3..], "x"]));
        let of_other_link = format!("proof={}", world.keys.proof("form", &[&other[3..], action]));
        let to = format!("{path}/{action}");
        for body in ["", "proof=", &of_other_action, &of_other_link, &right[..right.len() - 1]] {
            let answer = world.post(&to, body).await;
            assert_eq!((answer.status, answer.header("location")), (403, None), "{action} {body}");
        }
        let foreign = [("Origin", "https://evil.test"), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")];
        for sign in foreign {
            let answer = world.ask("POST", &to, &[("User-Agent", FIREFOX), form, sign], &right).await;
            assert_eq!((answer.status, answer.header("location")), (403, None), "{action} {sign:?}");
        }
    }
    assert!(world.signals().is_empty() && world.all_rows().await.is_empty());
}

#[tokio::test]
async fn a_client_that_does_not_say_where_its_form_comes_from_teaches_nothing() {
    let world = World::new(Policy::default()).await;
    let path = world.path("https://a.example/");
    let proof = world.keys.proof("form", &[&path[3..], "go"]);
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let body = format!("proof={proof}");
    let answer = world.ask("POST", &format!("{path}/go"), &[("User-Agent", FIREFOX), form], &body).await;
    assert_eq!((answer.status, world.last().client.as_str()), (303, "unknown:origin"));
}

#[tokio::test]
async fn no_get_changes_anything_but_clicks() {
    let world = World::new(Policy::default()).await;
    let path = world.path("https://a.example/");
    world.feed("good", "good.example").await;
    let before = world.all_rows().await;
    let proof = world.keys.proof("form", &[&path[3..], "trust"]);
    let mut asked = 0;
    for method in ["GET", "HEAD"] {
        for tail in ["", "/go", "/trust", "/block", "/report"] {
            let url = format!("{path}{tail}?proof={proof}&comment=x");
            assert_eq!(world.ask(method, &url, &[("User-Agent", FIREFOX)], "").await.status, 200);
            asked += 1;
        }
        for page in [
            "/",
            "/report",
            "/decode",
            "/static/site.css",
            "/brand.css?c=123456",
            "/nowhere",
            "/favicon.ico",
            "/robots.txt",
        ] {
            world.ask(method, page, &[("User-Agent", FIREFOX)], "").await;
        }
    }
    assert_eq!(world.all_rows().await, before);
    let signals = world.signals();
    assert_eq!(signals.len(), asked);
    assert!(signals.iter().all(|s| s.kind() == SignalKind::Click));
}

#[tokio::test]
async fn other_methods_and_other_actions_are_refused() {
    let world = World::new(mode(Mode::Silent)).await;
    let path = world.path("https://a.example/");
    for method in ["PUT", "DELETE", "OPTIONS", "PATCH"] {
        assert_eq!(world.ask(method, &path, &[], "").await.status, 405, "{method}");
    }
    for to in [path.clone(), format!("{path}/delete"), format!("{path}/go/"), format!("{path}/GO")] {
        assert_eq!(world.post(&to, "").await.status, 404, "{to}");
    }
    assert!(world.signals().is_empty());
}

#[tokio::test]
async fn forms_that_are_too_long_or_no_forms_are_refused() {
    let world = World::new(Policy::default()).await;
    let path = format!("{}/report", world.path("https://a.example/"));
    assert_eq!(world.post(&path, &"x".repeat(17_000)).await.status, 413);
    let json = ("Content-Type", "application/json");
    assert_eq!(world.ask("POST", &path, &[json], "{}").await.status, 415);
    assert_eq!(world.ask("POST", &path, &[], "").await.status, 415);
    let chunked = format!(
        "POST {path} HTTP/1.1\r\nHost: links.test\r\nConnection: close\r\nContent-Type: \
         application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    );
    assert_eq!(exchange(world.address, &chunked).await.status, 411);
}

#[tokio::test]
async fn too_many_forms_from_one_address_are_refused() {
    let settings = Settings { posts_a_minute: 3, ..Settings::default() };
    let world = World::with(Policy::default(), settings).await;
    let path = world.path("https://a.example/");
    let proof = world.keys.proof("form", &[&path[3..], "go"]);
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(world.post(&format!("{path}/go"), &format!("proof={proof}")).await.status);
    }
    assert_eq!(seen, [303, 303, 303, 429, 429]);
}

#[tokio::test]
async fn a_full_list_takes_no_new_entry_but_still_changes_old_ones() {
    let settings = Settings { list_entries: 2, ..Settings::default() };
    let world = World::with(Policy::default(), settings).await;
    let paths: Vec<String> =
        ["a", "b", "c"].iter().map(|n| world.path(&format!("https://{n}.example/"))).collect();
    assert_eq!(world.press(&paths[0], "block").await.status, 200);
    assert_eq!(world.press(&paths[1], "block").await.status, 200);
    assert_eq!(world.press(&paths[2], "block").await.status, 409);
    assert_eq!(world.press(&paths[0], "trust").await.status, 200);
    assert_eq!(world.all_rows().await.len(), 2);
}

// --- pages ---

#[tokio::test]
async fn every_page_has_its_protective_headers_and_no_script_or_inline_style() {
    let world = World::new(Policy::default()).await;
    world.list("isp", ".blocked.example", false);
    let warning = world.path("https://a.example/");
    let blocked = world.path("https://blocked.example/");
    for path in ["/", "/report", "/nowhere", "/u/1.a1.AAAA", &warning, &blocked] {
        let answer = world.get(path).await;
        let csp = answer.header("content-security-policy").unwrap();
        assert!(
            csp.starts_with("default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'"),
            "{csp}"
        );
        assert!(csp.contains("frame-ancestors 'none'") && csp.contains("base-uri 'none'"));
        assert_eq!(
            csp.contains("http:"),
            path == warning,
            "only a page with a way on leads a form elsewhere: {path}"
        );
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-robots-tag"), Some("noindex, nofollow"));
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        for banned in ["<script", "style=", "<style", "javascript:", " onclick", " onload"] {
            assert!(!answer.body.contains(banned), "{path} has {banned}");
        }
        assert!(answer.body.starts_with("<!doctype html>") && answer.body.contains("<html lang=\"en\">"));
        assert_eq!(answer.body.matches("<main>").count(), 1);
        assert_eq!(answer.body.matches("<h1").count(), 1, "{path}");
    }
}

#[tokio::test]
async fn every_text_field_has_a_label() {
    let world = World::new(Policy::default()).await;
    for path in ["/".to_owned(), "/report".to_owned(), world.path("https://a.example/")] {
        let page = world.get(&path).await.body;
        let mut fields = 0;
        for field in page.split("<textarea id=\"").skip(1) {
            let id = field.split('"').next().unwrap();
            assert!(page.contains(&format!("<label for=\"{id}\"")), "{path} {id}");
            fields += 1;
        }
        assert!(fields > 0, "{path}");
    }
}

#[tokio::test]
async fn a_tenants_brand_is_worn_and_escaped() {
    let policy = Policy {
        brand: "<b>Ärzte & Co</b>".into(),
        colour: "#ffcc00".into(),
        contact: "it@a.test".into(),
        ..Policy::default()
    };
    let world = World::new(policy).await;
    let page = world.get(&world.path("https://a.example/")).await.body;
    assert!(page.contains("&lt;b&gt;Ärzte &amp; Co&lt;/b&gt;") && !page.contains("<b>Ärzte"));
    assert!(
        page.contains("href=\"/brand.css?c&#x3D;ffcc00\"") || page.contains("href=\"/brand.css?c=ffcc00\"")
    );
    assert!(page.contains("href=\"mailto:it@a.test\""));
    let css = world.get("/brand.css?c=ffcc00").await;
    assert_eq!(css.header("content-type"), Some("text/css; charset=utf-8"));
    assert!(css.body.contains("--brand: #ffcc00; --brand-ink: #000000"));
    assert_eq!(world.get("/brand.css?c=;}body{}").await.status, 400);
}

#[tokio::test]
async fn a_contact_or_colour_that_is_none_does_no_harm() {
    let policy =
        Policy { contact: "javascript:alert(1)@x".into(), colour: "red;}".into(), ..Policy::default() };
    let world = World::new(policy).await;
    let page = world.get(&world.path("https://a.example/")).await.body;
    assert!(!page.contains("href=\"javascript") && !page.contains("href=\"mailto:javascript"));
    assert!(!page.contains("red;"));
}

#[tokio::test]
async fn a_look_alike_name_is_shown_in_both_forms_with_a_warning() {
    let world = World::new(Policy::default()).await;
    let page = world.get(&world.path("https://www.аррӏе.example/")).await.body;
    assert!(page.contains("<strong>аррӏе.example</strong>"));
    assert!(page.contains("www.xn--80ak6aa92e.example"));
    assert!(page.contains("Look twice.") && page.contains("apple"));
}

#[tokio::test]
async fn addresses_that_deceive_are_explained() {
    let world = World::new(Policy::default()).await;
    let page = world.get(&world.path("http://bank.example@192.0.2.7/login")).await.body;
    assert!(page.contains("<strong>192.0.2.7</strong>"));
    assert!(page.contains("bare number") && page.contains("not encrypted") && page.contains("before an “@”"));
}

#[tokio::test]
async fn clicks_and_buttons_are_counted_by_tenant() {
    let world = World::new(Policy::default()).await;
    world.press(&world.path("https://a.example/"), "go").await;
    let families = world.registry.gather();
    let count = |name: &str, label: &str| {
        let family = families.iter().find(|f| f.name() == name).unwrap();
        let metric =
            family.get_metric().iter().find(|m| m.get_label().iter().any(|l| l.value() == label)).unwrap();
        assert!(metric.get_label().iter().any(|l| l.value() == TENANT));
        metric.get_counter().get_value()
    };
    assert_eq!(count("tidegate_site_clicks_total", "warned"), 1.0);
    assert_eq!(count("tidegate_site_actions_total", "go"), 1.0);
}

// --- slow and many clients ---

#[tokio::test]
async fn a_client_that_never_finishes_its_request_is_cut_off() {
    let settings = Settings { head_within: Duration::from_millis(100), ..Settings::default() };
    let world = World::with(Policy::default(), settings).await;
    let mut slow = TcpStream::connect(world.address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: links.test\r\n").await.unwrap();
    let mut rest = Vec::new();
    // Far above the limit set here and below the one that would hold without it.
    let cut = tokio::time::timeout(Duration::from_secs(25), slow.read_to_end(&mut rest)).await;
    assert!(cut.is_ok(), "still open");
    assert!(!String::from_utf8_lossy(&rest).contains(" 200 "));
}

#[tokio::test]
async fn a_body_that_never_comes_is_not_waited_for() {
    let settings = Settings { answer_within: Duration::from_millis(100), ..Settings::default() };
    let world = World::with(Policy::default(), settings).await;
    let request = "POST /decode HTTP/1.1\r\nHost: links.test\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                   Content-Length: 100\r\nConnection: close\r\n\r\nlink=";
    assert_eq!(exchange(world.address, request).await.status, 503);
}

#[tokio::test]
async fn a_request_head_of_any_length_is_bounded() {
    let world = World::new(Policy::default()).await;
    let long =
        format!("GET /u/{} HTTP/1.1\r\nHost: links.test\r\nConnection: close\r\n\r\n", "a".repeat(200_000));
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let _cut = stream.write_all(long.as_bytes()).await;
    let mut bytes = Vec::new();
    let _reset = stream.read_to_end(&mut bytes).await;
    assert!(!String::from_utf8_lossy(&bytes).contains(" 200 "));
    assert_eq!(world.get("/").await.status, 200);
}

#[tokio::test]
async fn a_long_address_still_makes_its_way() {
    let world = World::new(mode(Mode::Silent)).await;
    let url = format!("https://a.example/?q={}", "x".repeat(16_000));
    let answer = world.get(&world.path(&url)).await;
    assert_eq!((answer.status, answer.header("location")), (302, Some(url.as_str())));
}

/// Sends one request on an open connection and reads its answer's head.
async fn round_trip(stream: &mut TcpStream) -> String {
    stream.write_all(b"HEAD / HTTP/1.1\r\nHost: links.test\r\n\r\n").await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    let world = World::with(Policy::default(), Settings { connections: 1, ..Settings::default() }).await;
    let mut first = TcpStream::connect(world.address).await.unwrap();
    assert!(round_trip(&mut first).await.contains(" 200 "));
    let address = world.address;
    let second = tokio::spawn(async move {
        exchange(address, "GET / HTTP/1.1\r\nHost: l.test\r\nConnection: close\r\n\r\n").await
    });
    for _ in 0..50 {
        round_trip(&mut first).await;
        assert!(!second.is_finished(), "served beyond the limit");
    }
    drop(first);
    assert_eq!(second.await.unwrap().status, 200);
}

#[tokio::test]
async fn on_stop_idle_connections_end_and_serving_returns() {
    let world = World::new(Policy::default()).await;
    let mut idle = TcpStream::connect(world.address).await.unwrap();
    round_trip(&mut idle).await;
    world.stop.send(true).unwrap();
    world.served.await.unwrap();
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_rotated_key_set_is_picked_up_while_running() {
    let keys = LinkKeys::generate().unwrap();
    let shared = Arc::new(RwLock::new(Arc::new(keys.clone())));
    let directory = Arc::new(FixedDirectory::of("a.test", mode(Mode::Silent)));
    let counters = Arc::new(Counters::new(&prometheus::Registry::new()).unwrap());
    let (store, intake) = (Arc::new(MemoryStore::default()), Arc::new(MemoryIntake::default()));
    let site = Site::new(shared.clone(), directory, store, intake, Settings::default(), counters).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(Arc::new(site).serve(listener, stopped));
    let rotated = keys.rotated().unwrap();
    let link =
        Link { url: "https://a.example/".into(), tenant: TENANT.into(), user: USER.into(), mail: new_id() };
    let token = rotated.encode("https://links.test", &link).unwrap();
    let request = format!(
        "GET /u/{} HTTP/1.1\r\nHost: links.test\r\nConnection: close\r\nUser-Agent: {FIREFOX}\r\n\r\n",
        token_of(&token).unwrap()
    );
    assert_eq!(exchange(address, &request).await.status, 404);
    *shared.write() = Arc::new(rotated);
    assert_eq!(exchange(address, &request).await.status, 302);
}

// --- properties ---

/// Names of all tags of a page, in order.
fn tags(page: &str) -> Vec<&str> {
    page.split('<').skip(1).map(|t| t.split([' ', '>', '\n']).next().unwrap_or_default()).collect()
}

#[test]
fn whatever_an_address_holds_the_page_has_the_same_tags_and_a_redirect_one_clean_location() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let warn = runtime.block_on(World::new(Policy::default()));
    let silent = runtime.block_on(World::new(mode(Mode::Silent)));
    let plain = runtime.block_on(warn.get(&warn.path("https://a.example/?x"))).body;
    let config = ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() };
    let hostile = "https://a\\.example/\\?x([ -~\r\n\t]|<script>|\"><b>|\\PC|[\u{0}\u{202e}\u{2028}]){0,24}";
    proptest!(config, |(url in hostile)| {
        let (page, sent) = runtime.block_on(async {
            (warn.get(&warn.path(&url)).await, silent.get(&silent.path(&url)).await)
        });
        prop_assert_eq!(page.status, 200);
        prop_assert_eq!(tags(&page.body), tags(&plain));
        prop_assert_eq!(page.body.matches('"').count(), plain.matches('"').count());
        prop_assert_eq!(sent.status, 302);
        prop_assert_eq!(sent.head.lines().filter(|l| l.to_lowercase().starts_with("location:")).count(), 1);
        prop_assert_eq!(sent.head.lines().count(), 9, "no header smuggled: {}", sent.head);
        prop_assert!(sent.header("location").unwrap().starts_with("https://a.example/"));
    });
}
