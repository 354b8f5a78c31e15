//! The site in a real browser: headless Chromium through chromedriver.
//!
//! Held here is what no HTTP client can tell: that the content policy lets our own pages work and nothing is
//! refused in the console, that "go on" really arrives (also through the target's own redirects, which
//! browsers hold against `form-action`), that text is readable in both colour schemes, and that a phone needs
//! no sideways scrolling. Pictures go to `target/screenshots`. Without chromedriver the tests say so and pass,
//! except where `CI` is set. They run one at a time: each starts a browser.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail loudly"
)]

use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use futures::FutureExt as _;
use hyper_util::client::legacy::connect::HttpConnector;
use parking_lot::RwLock;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tidegate::web::site::{Counters, Settings, Site};
use tidegate_actors::ports::fakes::{FixedDirectory, MemoryIntake, MemoryStore};
use tidegate_actors::ports::{Store, get_row};
use tidegate_schemas::link::{Link, LinkKeys};
use tidegate_schemas::rows::{ListRow, ReputationRow, day_of};
use tidegate_schemas::{Policy, RawRow, Row, SignalKind, Write, new_id, now_ms};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};

const TENANT: &str = "isp/msp/a.test";
const USER: &str = "0123456789abcdef";
/// The browser says it is one: a headless one would not be taken for a person.
const AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";

static ONE_AT_A_TIME: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);

/// A running chromedriver; ends with the test.
struct Driver {
    child: Child,
    port: u16,
}

impl Driver {
    /// `None` when there is no chromedriver and this is not CI.
    fn start() -> Option<Driver> {
        let spawned =
            Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "CI needs chromedriver: {error}");
                println!(
                    "skipped: chromedriver does not start ({error}); install chromium and chromium-driver"
                );
                return None;
            }
        };
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("started successfully on port ")?;
            rest.trim_end_matches('.').trim().parse().ok()
        });
        std::thread::spawn(move || lines.map_while(Result::ok).count());
        Some(Driver { child, port: port.expect("chromedriver names its port") })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A command of Chromium's own that WebDriver does not have.
#[derive(Debug)]
struct Own {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Own {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (warp::http::Method, Option<String>) {
        (warp::http::Method::POST, Some(self.body.to_string()))
    }
}

async fn devtools(browser: &Client, command: &str, params: Value) -> Value {
    let body = json!({ "cmd": command, "params": params });
    browser.issue_cmd(Own { path: "goog/cdp/execute", body }).await.unwrap()
}

/// What the console says, as far as it is a warning or worse.
async fn complaints(browser: &Client) -> Vec<String> {
    let log = browser.issue_cmd(Own { path: "se/log", body: json!({ "type": "browser" }) }).await.unwrap();
    log.as_array().unwrap().iter().map(|entry| entry["message"].to_string()).collect()
}

/// The site and a target, on loopback.
struct World {
    site: SocketAddr,
    target: SocketAddr,
    keys: LinkKeys,
    store: Arc<MemoryStore>,
    intake: Arc<MemoryIntake>,
    directory: Arc<FixedDirectory>,
    _stop: watch::Sender<bool>,
}

impl World {
    async fn new() -> World {
        let policy = Policy {
            brand: "Harbour Mail".into(),
            contact: "helpdesk@harbour.example".into(),
            proceed_when_blocked: true,
            ..Policy::default()
        };
        let keys = LinkKeys::generate().unwrap();
        let directory = Arc::new(FixedDirectory::of("a.test", policy.clone()));
        let (store, intake) = (Arc::new(MemoryStore::default()), Arc::new(MemoryIntake::default()));
        let counters = Arc::new(Counters::new(&prometheus::Registry::new()).unwrap());
        let shared = Arc::new(RwLock::new(Arc::new(keys.clone())));
        let settings = Settings { policy: Arc::new(policy), ..Settings::default() };
        let site =
            Site::new(shared, directory.clone(), store.clone(), intake.clone(), settings, counters).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(Arc::new(site).serve(listener, stopped));
        World { site: address, target: target().await, keys, store, intake, directory, _stop: stop }
    }

    fn link(&self, url: &str) -> String {
        let link = Link { url: url.into(), tenant: TENANT.into(), user: USER.into(), mail: new_id() };
        self.keys.encode(&format!("http://{}", self.site), &link).unwrap()
    }

    fn has(&self, kind: SignalKind, client: &str) -> bool {
        self.intake.signals.lock().iter().any(|s| s.kind() == kind && s.client == client)
    }
}

/// A web server that sends `/hop` on to another name and shows the referrer it was told everywhere else.
async fn target() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut lines = tokio::io::BufReader::new(stream);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && lines.read_line(&mut head).await.unwrap_or(0) > 0 {}
                let referred = head.to_lowercase().contains("\r\nreferer:");
                let answer = if head.starts_with("GET /hop") {
                    "HTTP/1.1 302 Found\r\nLocation: http://arrival.example/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()
                } else {
                    let page =
                        format!("<!doctype html><title>arrived</title><p id=\"referred\">{referred}</p>");
                    format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                        page.len()
                    )
                };
                let _client_may_be_gone = lines.get_mut().write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

/// Runs a test in a browser of its own; the browser ends also when the test fails.
async fn in_browser(test: impl AsyncFnOnce(Client, &World)) {
    let _turn = ONE_AT_A_TIME.lock().await;
    let Some(driver) = Driver::start() else { return };
    let world = World::new().await;
    let profile = tempfile::tempdir().unwrap();
    let resolve = format!("--host-resolver-rules=MAP *.example {}", world.target);
    let user = format!("--user-data-dir={}", profile.path().display());
    let agent = format!("--user-agent={AGENT}");
    let flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-features=HttpsUpgrades,HttpsFirstBalancedModeAutoEnable",
        &resolve,
        &user,
        &agent,
    ];
    let wanted =
        json!({ "goog:chromeOptions": { "args": flags }, "goog:loggingPrefs": { "browser": "ALL" } });
    let browser = ClientBuilder::new(HttpConnector::new())
        .capabilities(wanted.as_object().unwrap().clone())
        .connect(&format!("http://127.0.0.1:{}", driver.port))
        .await
        .expect("chromium starts");
    let outcome = AssertUnwindSafe(test(browser.clone(), &world)).catch_unwind().await;
    let _closed = browser.close().await;
    drop(driver);
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Sets screen and colours.
async fn dress(browser: &Client, width: u32, height: u32, scheme: &str) {
    let phone = width < 600;
    let size = json!({ "width": width, "height": height, "deviceScaleFactor": if phone { 2 } else { 1 }, "mobile": phone });
    devtools(browser, "Emulation.setDeviceMetricsOverride", size).await;
    let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
    devtools(browser, "Emulation.setEmulatedMedia", features).await;
}

async fn picture(browser: &Client, name: &str) {
    let shot = devtools(browser, "Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
    let octets =
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, shot["data"].as_str().unwrap());
    let folder: PathBuf = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("screenshots");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), octets.unwrap()).unwrap();
}

/// Everything a reader would stumble over: contrast below WCAG AA, sideways scrolling, small targets.
const AUDIT: &str = r#"
const seen = [];
const parse = (text) => {
  const part = text.match(/[\d.]+/g).map(Number);
  return { r: part[0], g: part[1], b: part[2], a: part.length > 3 ? part[3] : 1 };
};
const light = (c) => [c.r, c.g, c.b].map((v) => v / 255)
  .map((v) => v <= 0.04045 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour.a > 0.99) return colour;
  }
  return { r: 255, g: 255, b: 255, a: 1 };
};
document.querySelectorAll('details').forEach((d) => { d.open = true; });
for (const element of document.querySelectorAll('body *')) {
  const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || element.getClientRects().length === 0) continue;
  const style = getComputedStyle(element);
  const [a, b] = [light(parse(style.color)), light(ground(element))].sort((x, y) => y - x);
  const contrast = (a + 0.05) / (b + 0.05);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  if (contrast < (large ? 3 : 4.5)) seen.push(`contrast ${contrast.toFixed(2)} of "${element.textContent.trim().slice(0, 40)}"`);
}
for (const element of document.querySelectorAll('button, summary, nav a')) {
  const box = element.getBoundingClientRect();
  if (box.height > 0 && box.height < 44) seen.push(`small target ${box.height} "${element.textContent.trim()}"`);
}
const wide = document.scrollingElement.scrollWidth;
if (wide > window.innerWidth) seen.push(`scrolls sideways: ${wide} of ${window.innerWidth}`);
return seen;
"#;

async fn audit(browser: &Client, what: &str) {
    let seen = browser.execute(AUDIT, Vec::new()).await.unwrap();
    assert_eq!(seen, json!([]), "{what}");
}

/// Waits for an element. An answer that was "aborted by navigation" is asked for again: the page it was about
/// is gone, the one that is meant is coming.
async fn appears(browser: &Client, locator: Locator<'_>) -> fantoccini::elements::Element {
    let start = std::time::Instant::now();
    loop {
        match browser.find(locator).await {
            Ok(element) => return element,
            Err(error) => assert!(start.elapsed() < Duration::from_secs(60), "{locator:?}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_person_reads_where_a_link_leads_goes_on_and_arrives() {
    in_browser(async |browser: Client, world: &World| {
        browser.goto(&world.link("http://www.harbour-post.example/hop?parcel=1")).await.unwrap();
        let host = browser.find(Locator::Css(".host")).await.unwrap();
        assert_eq!(host.text().await.unwrap(), "www.harbour-post.example");
        let size = browser
            .execute("return getComputedStyle(document.querySelector('.host')).fontSize", Vec::new())
            .await;
        assert!(
            size.unwrap().as_str().unwrap().trim_end_matches("px").parse::<f32>().unwrap() >= 25.0,
            "large"
        );
        assert_eq!(complaints(&browser).await, Vec::<String>::new());
        assert!(world.has(SignalKind::Click, "human"));
        browser.find(Locator::Css("button.go")).await.unwrap().click().await.unwrap();
        appears(&browser, Locator::Id("referred")).await;
        assert_eq!(browser.current_url().await.unwrap().as_str(), "http://arrival.example/");
        let referred = browser.find(Locator::Id("referred")).await.unwrap().text().await.unwrap();
        assert_eq!(referred, "false", "the target is not told where its visitor came from");
        assert_eq!(complaints(&browser).await, Vec::<String>::new());
        assert!(world.has(SignalKind::Proceed, "human"), "a browser's form counts as a person's");
    })
    .await;
}

#[tokio::test]
async fn a_person_trusts_a_site_and_reports_another() {
    in_browser(async |browser: Client, world: &World| {
        browser.goto(&world.link("http://www.harbour-post.example/")).await.unwrap();
        browser
            .find(Locator::XPath("//button[starts-with(., 'Always trust')]"))
            .await
            .unwrap()
            .click()
            .await
            .unwrap();
        appears(&browser, Locator::XPath("//h1[starts-with(., 'Saved')]")).await;
        picture(&browser, "saved.png").await;
        let list = format!("{TENANT}/{USER}");
        let row: ListRow =
            get_row(&*world.store, &list, "link|.harbour-post.example").await.unwrap().expect("an entry");
        assert_eq!(row.action, "allow");
        browser.find(Locator::Css("button.go")).await.unwrap().click().await.unwrap();
        appears(&browser, Locator::Id("referred")).await;

        browser.goto(&world.link("http://prize.example/")).await.unwrap();
        browser.find(Locator::Css("details.report > summary")).await.unwrap().click().await.unwrap();
        browser
            .find(Locator::Id("comment"))
            .await
            .unwrap()
            .send_keys("I never ordered <this>")
            .await
            .unwrap();
        browser.find(Locator::Css("details.report button")).await.unwrap().click().await.unwrap();
        appears(&browser, Locator::XPath("//h1[starts-with(., 'Thank you')]")).await;
        audit(&browser, "thanks").await;
        let report = world.intake.signals.lock().last().cloned().unwrap();
        assert_eq!((report.kind(), report.reason.as_str()), (SignalKind::Report, "I never ordered <this>"));
        assert_eq!(complaints(&browser).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn the_start_page_decodes_a_pasted_link() {
    in_browser(async |browser: Client, world: &World| {
        browser.goto(&format!("http://{}/", world.site)).await.unwrap();
        let link = world.link("https://www.harbour-post.example/parcels?id=1");
        browser.find(Locator::Id("link")).await.unwrap().send_keys(&link).await.unwrap();
        browser.find(Locator::Css("button.go")).await.unwrap().click().await.unwrap();
        let host = appears(&browser, Locator::Css(".answer .host")).await;
        assert_eq!(host.text().await.unwrap(), "www.harbour-post.example");
        audit(&browser, "home").await;
        picture(&browser, "home.png").await;
        browser.goto(&format!("http://{}/report", world.site)).await.unwrap();
        audit(&browser, "report").await;
        picture(&browser, "report.png").await;
        assert_eq!(complaints(&browser).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn pages_are_readable_in_light_and_dark_on_desk_and_phone() {
    in_browser(async |browser: Client, world: &World| {
        world.directory.lists.lock().push((
            TENANT.into(),
            "link".into(),
            ".prize-office.example".into(),
            false,
        ));
        let dangerous = RawRow {
            table: "feeds",
            partition: "dangerous".into(),
            sort: "wallet-check.example".into(),
            value: "{}".into(),
            expires_ms: 0,
        };
        let mut writes = vec![Write::Put(dangerous)];
        for (sign, source) in
            [("bad", "isp/msp/x.test|1"), ("bad", "isp/msp/y.test|2"), ("good", "isp/msp/z.test|3")]
        {
            let row = ReputationRow {
                domain: "harbour-post.example".into(),
                day: day_of(now_ms()),
                sign: sign.into(),
                source: source.into(),
            };
            writes.push(Write::Put(row.raw(0)));
        }
        world.store.apply(writes).await.unwrap();
        let long =
            format!("https://{}very-long-name-of-a-shop.example/{}", "sub.".repeat(20), "path".repeat(60));
        let pages = [
            ("warning", world.link("https://www.harbour-post.example/parcels/track?id=4711&from=mail")),
            ("look-alike", world.link("http://login@www.аррӏе.example/straße/übersicht")),
            ("long", world.link(&long)),
            ("blocked", world.link("https://www.prize-office.example/win")),
            ("dangerous", world.link("http://wallet-check.example/")),
            ("damaged", format!("http://{}/u/1.a1.AAAA", world.site)),
        ];
        for (name, link) in &pages {
            for (screen, width, height) in [("desk", 1_200, 900), ("phone", 390, 844), ("narrow", 320, 640)] {
                for scheme in ["light", "dark"] {
                    dress(&browser, width, height, scheme).await;
                    browser.goto(link).await.unwrap();
                    if screen != "narrow" {
                        picture(&browser, &format!("{name}-{screen}-{scheme}.png")).await;
                    }
                    audit(&browser, &format!("{name} {screen} {scheme}")).await;
                }
            }
        }
        let serious: Vec<String> =
            complaints(&browser).await.into_iter().filter(|m| !m.contains("status of 40")).collect();
        assert_eq!(serious, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn a_blocked_site_can_only_be_left_behind_or_overridden_where_policy_allows() {
    in_browser(async |browser: Client, world: &World| {
        world.directory.lists.lock().push((
            TENANT.into(),
            "link".into(),
            ".prize-office.example".into(),
            false,
        ));
        browser.goto(&world.link("http://www.prize-office.example/win")).await.unwrap();
        let title = browser.find(Locator::Css("h1")).await.unwrap().text().await.unwrap();
        assert!(title.contains("This link is blocked"), "{title}");
        browser.find(Locator::Css(".card details > summary")).await.unwrap().click().await.unwrap();
        browser.find(Locator::Css(".card button.danger")).await.unwrap().click().await.unwrap();
        appears(&browser, Locator::Id("referred")).await;
        assert_eq!(world.intake.signals.lock().last().unwrap().decision, "overridden");

        world.directory.lists.lock().push((
            "isp".into(),
            "link".into(),
            ".prize-office.example".into(),
            false,
        ));
        browser.goto(&world.link("http://www.prize-office.example/win")).await.unwrap();
        assert!(
            browser.find(Locator::Css("button")).await.is_err(),
            "nothing to press past the operator's block"
        );
    })
    .await;
}
