//! The gateway under test as a child process: started, killed, measured.

use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A child process started from a shell-like command line.
pub struct Gateway {
    words: Vec<String>,
    child: Child,
}

impl Gateway {
    /// Starts it; its output goes to stderr.
    pub fn start(command: &str) -> Result<Gateway> {
        let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        let child = spawn(&words)?;
        Ok(Gateway { words, child })
    }

    /// kill -9, then a new one.
    pub fn kill_and_restart(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = spawn(&self.words)?;
        Ok(())
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn spawn(words: &[String]) -> Result<Child> {
    let (program, arguments) = words.split_first().context("an empty command")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().with_context(|| format!("cannot start {program}"))
}

/// Waits until a port is open; the time it took.
pub async fn ready(address: SocketAddr, patience: Duration) -> Result<Duration> {
    let start = Instant::now();
    while start.elapsed() < patience {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return Ok(start.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("{address} did not open within {patience:?}")
}

/// CPU seconds (user and system) of a process so far, from /proc.
pub fn cpu_seconds(pid: u32) -> f64 {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return 0.0 };
    let after = stat.rsplit(')').next().unwrap_or_default();
    let field = |n: usize| after.split_whitespace().nth(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    // Fields 14 and 15 of the line, in clock ticks of 10 ms.
    (field(11) + field(12)) / 100.0
}

/// Largest resident set of a process so far, MiB.
pub fn peak_rss_mib(pid: u32) -> f64 {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return 0.0 };
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}
