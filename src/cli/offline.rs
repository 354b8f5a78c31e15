//! Commands that need no running gateway: judge, train, rewrite, restore, link, keys, log.

use super::args::{Judge, KeysCommand, LinkCommand, LogCommand, Train};
use super::{Failure, exit, output};
use crate::app::keys;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::path::Path;
use tidegate_actors::rewrite_links;
use tidegate_schemas::link::{Link, LinkKeys, token_of};
use tidegate_schemas::mail::domain_of;

mod judge;
mod paths;

pub(super) fn judge(args: &Judge) -> Result<(), Failure> {
    judge::run(args)
}

pub(super) fn train(args: &Train) -> Result<(), Failure> {
    let messages = paths::messages(&args.paths)?;
    if let Ok(access) = crate::admin::Access::load(&args.data)
        && std::net::TcpStream::connect(access.address).is_ok()
    {
        let kind = if args.spam { "spam" } else { "ham" };
        return progress(messages, |raw| {
            super::desk::post(&access, "POST", &format!("train?kind={kind}"), &raw).map(|_| ())
        });
    }
    std::fs::create_dir_all(&args.data)?;
    let path = crate::app::model_path(&args.data);
    let mut model = crate::app::open_model(&path).map_err(|e| Failure::new(exit::DATA, e))?;
    progress(messages, |raw| {
        // The mark is named by what was marked: the same file twice teaches once.
        let id = format!("train:{}:{}", args.spam, hex::encode(Sha256::digest(&raw)));
        model.learn(&id, &raw, args.spam);
        Ok(())
    })?;
    model.save(&path).map_err(|e| Failure::new(exit::IO, e))
}

fn progress(
    messages: Vec<paths::Message>,
    mut each: impl FnMut(Bytes) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let bar = indicatif::ProgressBar::new(messages.len() as u64);
    let count = messages.len();
    for message in messages {
        each(message.octets()?)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    output::note(&format!("{count} messages learned"));
    Ok(())
}

/// Keys of a data directory, or throw-away ones.
fn keys_of(data: Option<&Path>) -> Result<LinkKeys, Failure> {
    match data {
        Some(data) => keys::open(data).map_err(|e| Failure::new(exit::CONFIG, e)),
        None => LinkKeys::generate().map_err(|e| Failure::new(exit::SOFTWARE, e)),
    }
}

fn link_for(keys: &LinkKeys, rcpt: &str, url: &str) -> Link {
    let tenant = format!("operator/provider/{}", domain_of(rcpt));
    let user = keys.pseudonym(&tenant, rcpt);
    Link { url: url.to_owned(), tenant, user, mail: tidegate_schemas::new_id() }
}

pub(super) fn rewrite(rcpt: &str, data: Option<&Path>, file: &Path) -> Result<(), Failure> {
    let raw = paths::read(file)?;
    let keys = keys_of(data)?;
    let options = rewrite_links::Options { rewrite_text: false, rewrite_signed: false };
    let template = link_for(&keys, rcpt, "");
    let mut encode = |url: &str| {
        let link = Link { url: url.to_owned(), ..template.clone() };
        keys.encode("http://127.0.0.1:8080", &link).ok()
    };
    let mut decode = |link: &str| keys.decode(link).ok().map(|l| l.url);
    let outcome = rewrite_links::rewrite_again(&raw, &options, &mut encode, &mut decode);
    output::note(&format!("{} links rewritten", outcome.rewritten));
    Ok(output::octets(&outcome.raw)?)
}

pub(super) fn restore(data: Option<&Path>, file: &Path) -> Result<(), Failure> {
    let raw = paths::read(file)?;
    let keys = keys_of(data)?;
    let mut decode = |link: &str| keys.decode(link).ok().map(|l| l.url);
    Ok(output::octets(&rewrite_links::restore(&raw, &mut decode))?)
}

pub(super) fn link(command: &LinkCommand) -> Result<(), Failure> {
    match command {
        LinkCommand::Encode { rcpt, data, site, url } => {
            let keys = keys_of(data.as_deref())?;
            let token = keys.encode(site, &link_for(&keys, rcpt, url));
            output::line(&token.map_err(|e| Failure::new(exit::DATA, e))?);
            Ok(())
        }
        LinkCommand::Decode { data, token } => {
            let keys = keys::open(data).map_err(|e| Failure::new(exit::CONFIG, e))?;
            let bare = token_of(token).unwrap_or(token);
            let link = keys.decode(bare).map_err(|e| Failure::new(exit::DATA, e))?;
            let Link { url, tenant, user, mail } = link;
            output::line(
                &serde_json::json!({"url": url, "tenant": tenant, "user": user, "mail": mail}).to_string(),
            );
            Ok(())
        }
    }
}

pub(super) fn keys(command: &KeysCommand, data: &Path) -> Result<(), Failure> {
    let keys = match command {
        KeysCommand::List => keys::open(data),
        KeysCommand::Rotate => keys::rotate(data),
    };
    for id in keys.map_err(|e| Failure::new(exit::CONFIG, e))?.ids() {
        output::line(id);
    }
    Ok(())
}

pub(super) fn log(command: &LogCommand) -> Result<(), Failure> {
    let LogCommand::Verify { data } = command;
    let report = crate::backends::log::verify(data)?;
    print_report(&report);
    if report.whole() {
        return Ok(());
    }
    Err(Failure::text(exit::DATA, "the log is damaged; see above"))
}

fn print_report(report: &crate::backends::log::verify::Report) {
    for segment in &report.segments {
        let state = segment.damage.as_deref().unwrap_or("sound");
        output::line(&format!("{}  {} frames  {state}", segment.file.display(), segment.frames));
    }
    for (topic, count) in &report.records {
        output::line(&format!("{topic}  {count} records"));
    }
    output::line(&format!("store  {} changes", report.changes));
}
