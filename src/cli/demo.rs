//! `tidegate demo`: the whole gateway on this machine, sample mail of our own through it, and what to open next.
//!
//! It is the very gateway that `run` starts, with a configuration that it writes into its folder for the
//! reader to look at; mail is delivered into a Maildir there.

use super::args::Demo;
use super::{Failure, exit, output};
use crate::app::{self, Listening};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SAMPLES: &[(&str, &str)] = &[
    ("a newsletter with links", include_str!("demo/newsletter.eml")),
    ("a letter that pretends to be a bank", include_str!("demo/phish.eml")),
    ("a plain note without links", include_str!("demo/note.eml")),
];
const ZONE: &str = include_str!("demo/zone.txt");
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn demo(args: &Demo) -> Result<(), Failure> {
    let mut kept = None;
    let folder = match &args.data {
        Some(folder) => folder.clone(),
        None => {
            let folder = std::env::temp_dir().join(format!("tidegate-demo-{}", std::process::id()));
            kept = Some(folder.clone());
            folder
        }
    };
    std::fs::create_dir_all(&folder)?;
    let outcome = inside(args, &std::path::absolute(&folder)?);
    if let Some(temporary) = kept {
        let _gone = std::fs::remove_dir_all(temporary);
    }
    outcome
}

fn inside(args: &Demo, folder: &Path) -> Result<(), Failure> {
    let maildir = folder.join("Maildir");
    let file = write_config(folder, &maildir)?;
    let config = crate::config::load(&file).map_err(|e| Failure::new(exit::CONFIG, e))?;
    crate::telemetry::start(&config.telemetry);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let gateway = app::start(config, folder.join("data"), &[]).await.map_err(super::run::failed)?;
        let listening = gateway.listening().clone();
        let shown = maildir.clone();
        let told = tokio::task::spawn_blocking(move || send_all(&listening, &shown)).await?;
        told?;
        if !args.once {
            output::line("\nRunning until Ctrl-C.");
            super::run::wait_for_signal().await;
        }
        gateway.stop().await.map_err(super::run::failed)
    })
}

/// An address on loopback: the usual port when it is free, any other when not.
fn free(port: u16) -> SocketAddr {
    let usual = SocketAddr::from(([127, 0, 0, 1], port));
    match TcpListener::bind(usual) {
        Ok(_) => usual,
        Err(_) => SocketAddr::from(([127, 0, 0, 1], 0)),
    }
}

fn write_config(folder: &Path, maildir: &Path) -> Result<PathBuf, Failure> {
    // The site's own address must be known before it listens: it stands in every link.
    let site = match free(8080) {
        any if any.port() == 0 => TcpListener::bind(any)?.local_addr()?,
        usual => usual,
    };
    let text = format!(
        "# Written by `tidegate demo`.\n[server]\nhostname = \"mx.example.test\"\ntenants = \"tenants.toml\"\n\n\
         [listen]\nsmtp = [\"{}\"]\nsite = \"{site}\"\nmetrics = \"{}\"\n\n\
         [dns]\nzone = \"zone.txt\"\n\n[deliver]\ndefault_route = \"maildir:{}\"\n\n\
         [site]\nbase = \"http://{site}\"\n\n[telemetry]\nlevel = \"warn\"\n",
        free(2525),
        free(9090),
        maildir.display()
    );
    let tenants = "[[domain]]\nname = \"example.test\"\nunder = \"isp/msp\"\n\
                   policy = { brand = \"Example MSP\", contact = \"help@example.test\" }\n";
    std::fs::write(folder.join("tenants.toml"), tenants)?;
    std::fs::write(folder.join("zone.txt"), ZONE)?;
    let file = folder.join("tidegate.toml");
    std::fs::write(&file, text)?;
    Ok(file)
}

fn send_all(listening: &Listening, maildir: &Path) -> Result<(), Failure> {
    let smtp =
        listening.smtp.first().copied().ok_or_else(|| Failure::text(exit::SOFTWARE, "no SMTP listener"))?;
    output::line(&format!("SMTP     {smtp}   (anything @example.test)"));
    for (what, message) in SAMPLES {
        let reply = send(smtp, message)?;
        output::line(&format!("sent     {what}: {reply}"));
    }
    let files = wait_for(maildir, SAMPLES.len() - 1)?;
    for file in &files {
        output::line(&format!("arrived  {}", file.display()));
    }
    if let Some(link) = files.iter().find_map(|f| first_link(&std::fs::read_to_string(f).ok()?)) {
        output::line(&format!("\nopen     {link}\n         the warning page of a rewritten link"));
    }
    if let (Some(metrics), Some(site)) = (listening.metrics, listening.site) {
        output::line(&format!("open     http://{site}/            the security center"));
        output::line(&format!("open     http://{metrics}/metrics  and /health"));
    }
    if let Some(data) = &listening.data {
        output::line(&format!("try      tidegate held list --data {}", data.display()));
    }
    Ok(())
}

/// Sends one message and gives the reply to its final dot.
fn send(smtp: SocketAddr, message: &str) -> Result<String, Failure> {
    let mut write = TcpStream::connect(smtp)?;
    write.set_read_timeout(Some(PATIENCE))?;
    let mut read = BufReader::new(write.try_clone()?);
    let mut reply = || -> std::io::Result<String> {
        loop {
            let mut line = String::new();
            read.read_line(&mut line)?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line.trim_end().to_owned());
            }
        }
    };
    reply()?;
    let sender = message.lines().find_map(|l| l.strip_prefix("X-Demo-Sender: ")).unwrap_or("demo@news.test");
    for command in
        ["EHLO mail.news.test", &format!("MAIL FROM:<{sender}>"), "RCPT TO:<ann@example.test>", "DATA"]
    {
        write.write_all(format!("{command}\r\n").as_bytes())?;
        reply()?;
    }
    let body = message.replace("\r\n", "\n").replace('\n', "\r\n");
    write.write_all(body.as_bytes())?;
    write.write_all(b".\r\n")?;
    Ok(reply()?)
}

/// Files of the Maildir, once there are at least so many.
fn wait_for(maildir: &Path, count: usize) -> Result<Vec<PathBuf>, Failure> {
    let start = Instant::now();
    loop {
        let entries = std::fs::read_dir(maildir.join("new")).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries.map(|e| e.path()).collect();
        files.sort();
        if files.len() >= count {
            return Ok(files);
        }
        if start.elapsed() > PATIENCE {
            return Err(Failure::text(exit::SOFTWARE, "the sample mail did not arrive"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn first_link(text: &str) -> Option<String> {
    let at = text.find("/u/1.")?;
    let start = text[..at].rfind("http")?;
    let end = text[at..].find(['"', '\'', '>', ' ', '\r', '\n']).map_or(text.len(), |e| at + e);
    Some(text[start..end].to_owned())
}
