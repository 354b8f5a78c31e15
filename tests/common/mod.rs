//! The harness of the end-to-end tests: the real binary, a real SMTP client and a real sink, all on loopback.
//!
//! Ports are taken by the system: the gateway writes where it listens to `listening.json` in its data
//! directory. Waiting is always for a condition, with a patience that a slow machine does not exhaust.

#![allow(dead_code, unreachable_pub, reason = "a harness: each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test fails by panicking")]

pub mod sink;
pub mod smtp;

use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a condition may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `check` gives something.
pub fn wait_for<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A gateway with its own data directory; killed when dropped.
pub struct Gateway {
    pub folder: tempfile::TempDir,
    child: Option<Child>,
    env: Vec<(String, String)>,
}

impl Gateway {
    /// Starts one that delivers to `sink`; `extra` is appended to its configuration.
    pub fn start(sink: SocketAddr, extra: &str) -> Gateway {
        Gateway::start_with(sink, extra, "", &[])
    }

    /// As `start`, with more tenants and environment.
    pub fn start_with(sink: SocketAddr, extra: &str, tenants: &str, env: &[(&str, &str)]) -> Gateway {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "[server]\nhostname = \"mx.example.test\"\ntenants = \"tenants.toml\"\n\
             [listen]\nsmtp = [\"127.0.0.1:0\"]\nsubmission = [\"127.0.0.1:0\"]\nsite = \"127.0.0.1:0\"\n\
             metrics = \"127.0.0.1:0\"\n[dns]\nzone = \"zone.txt\"\n\
             [deliver]\ndefault_route = \"smtp:{sink}\"\noutbound_route = \"smtp:{sink}\"\n\
             retry_seconds = [1, 1, 1, 1]\n{extra}\n"
        );
        let zone = "$TTL 60\nnews.test. IN A 127.0.0.1\nnews.test. IN TXT \"v=spf1 ip4:127.0.0.1 -all\"\n\
                    1.0.0.127.in-addr.arpa. IN PTR news.test.\n";
        let domain = "[[domain]]\nname = \"example.test\"\nunder = \"isp/msp\"\n";
        std::fs::write(folder.path().join("tidegate.toml"), config).unwrap();
        std::fs::write(folder.path().join("zone.txt"), zone).unwrap();
        std::fs::write(folder.path().join("tenants.toml"), format!("{domain}{tenants}")).unwrap();
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut gateway = Gateway { folder, child: None, env };
        gateway.spawn();
        gateway
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts the process and waits until it listens.
    pub fn spawn(&mut self) {
        let _old = std::fs::remove_file(self.data().join("listening.json"));
        let mut command = tidegate();
        command.args(["run", "--config"]).arg(self.folder.path().join("tidegate.toml"));
        command.arg("--data").arg(self.data()).envs(self.env.iter().cloned()).stdin(Stdio::null());
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let mut child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let start = Instant::now();
        while !self.data().join("listening.json").exists() {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the gateway ended: {status}\n{}", self.log());
            }
            assert!(start.elapsed() < PATIENCE, "the gateway does not listen\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child = Some(child);
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn set_env(&mut self, key: &str, value: &str) {
        self.env.retain(|(k, _)| k != key);
        self.env.push((key.into(), value.into()));
    }

    fn listening(&self, what: &str) -> SocketAddr {
        let text = std::fs::read_to_string(self.data().join("listening.json")).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let address = json[what].as_array().map_or(&json[what], |all| &all[0]);
        address.as_str().unwrap_or_else(|| panic!("no {what} in {json}")).parse().unwrap()
    }

    pub fn smtp(&self) -> SocketAddr {
        self.listening("smtp")
    }

    pub fn submission(&self) -> SocketAddr {
        self.listening("submission")
    }

    pub fn site(&self) -> SocketAddr {
        self.listening("site")
    }

    pub fn metrics(&self) -> SocketAddr {
        self.listening("metrics")
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = wait_for("the gateway to end", || child.try_wait().unwrap());
        status.code()
    }

    /// Runs a command against this gateway; its stdout.
    pub fn command(&self, words: &[&str]) -> String {
        let output = self.try_command(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn try_command(&self, words: &[&str]) -> Output {
        tidegate().args(words).arg("--data").arg(self.data()).output().unwrap()
    }

    /// Lines of a list command, as JSON.
    pub fn list(&self, words: &[&str]) -> Vec<Value> {
        let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
        self.command(&words).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The value of a metric (sum over its labels that contain `label`).
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let text = get(self.metrics(), "/metrics").1;
        let lines = text.lines().filter(|l| l.starts_with(name) && l.contains(label) && !l.starts_with('#'));
        lines.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the gateway\n{}", self.log());
        }
        self.kill();
    }
}

/// The binary under test.
pub fn tidegate() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
}

/// GET: status, body, header block.
pub fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    http(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
}

/// POST of a form, as the site's own page would send it.
pub fn post(address: SocketAddr, path: &str, form: &str) -> (u16, String, String) {
    let length = form.len();
    http(
        address,
        &format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
        ),
    )
}

fn http(address: SocketAddr, request: &str) -> (u16, String, String) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    let reply = String::from_utf8_lossy(&reply).into_owned();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, body.to_owned(), head.to_owned())
}

/// The corpora of real mail, where they are. In CI they must be.
pub fn corpora() -> Option<PathBuf> {
    let given = std::env::var_os("TIDEGATE_CORPORA").map(PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let beside = root.ancestors().flat_map(|a| [a.join("shared/corpora"), a.join("../shared/corpora")]);
    let found = given.into_iter().chain(beside).find(|p| p.join("README.md").exists());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI needs the corpora; set TIDEGATE_CORPORA");
        eprintln!("skipped: no corpora here; set TIDEGATE_CORPORA");
    }
    found
}
