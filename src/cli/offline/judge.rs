//! `tidegate judge`: the judging stages over message files, one JSON line each.
//!
//! The very stages of the pipeline run, on an empty store and a directory of one made-up tenant; DNS is the
//! zone file when one is given, and then nothing else.

use super::super::args::Judge;
use super::super::{Failure, exit, output};
use super::paths;
use crate::app::{judging, model_path, open_model};
use crate::config::Config;
use bytes::Bytes;
use serde_json::json;
use std::sync::Arc;
use tidegate_actors::ports::fakes::{FixedDirectory, MemoryStore};
use tidegate_schemas::mail::{Client, Mail, Recipient, domain_of};
use tidegate_schemas::{Policy, Verdict};

pub(super) fn run(args: &Judge) -> Result<(), Failure> {
    let config = match &args.config {
        Some(path) => crate::config::load(path).map_err(|e| Failure::new(exit::CONFIG, e))?,
        None => Config::default(),
    };
    let messages = paths::messages(&args.paths)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let judge = judge_of(args, &config)?;
        for message in messages {
            let raw = message.octets()?;
            let mail = judge.judge(mail_of(args, raw)).await;
            output::line(&line(&message.path.display().to_string(), &mail).to_string());
        }
        Ok(())
    })
}

fn judge_of(args: &Judge, config: &Config) -> Result<crate::admin::Judge, Failure> {
    let wrong = |e: crate::app::StartError| Failure::new(exit::CONFIG, e);
    let mut config = config.clone();
    if let Some(zone) = &args.zone {
        config.dns.zone = Some(std::path::absolute(zone)?);
    }
    let dns = judging::dns(&config).map_err(wrong)?;
    let model = match &args.data {
        Some(data) => open_model(&model_path(data)).map_err(|e| Failure::new(exit::DATA, e))?,
        None => tidegate_actors::score_spam::classifier::Model::default(),
    };
    let directory = Arc::new(FixedDirectory::of(&domain_of(&args.rcpt), Policy::default()));
    let model = Arc::new(parking_lot::RwLock::new(model));
    judging::judge(&config, dns, directory, Arc::new(MemoryStore::default()), model).map_err(wrong)
}

fn mail_of(args: &Judge, raw: Bytes) -> Mail {
    let mail_from = args.mail_from.clone().unwrap_or_else(|| sender_of(&raw));
    let client = Client {
        ip: args.ip.map_or_else(|| "127.0.0.1".into(), |ip| ip.to_string()),
        helo: args.helo.clone(),
        esmtp: true,
        ..Client::default()
    };
    let id = tidegate_schemas::new_id();
    Mail {
        trace: id.clone(),
        id,
        tenant: format!("isp/msp/{}", domain_of(&args.rcpt)),
        received_ms: tidegate_schemas::now_ms(),
        client,
        mail_from,
        recipients: vec![Recipient { address: args.rcpt.clone(), ..Recipient::default() }],
        raw,
        spam_probability: -1.0,
        ..Mail::default()
    }
}

/// Return-Path, else From.
fn sender_of(raw: &[u8]) -> String {
    let message = tidegate_actors::parse::few_headers(raw);
    let Some(message) = message else { return String::new() };
    let path = message.header_raw("Return-Path").map(|p| p.trim().trim_matches(['<', '>']).to_owned());
    let from = || message.from().and_then(|f| f.first()).and_then(|a| a.address()).map(str::to_owned);
    path.filter(|p| p.contains('@')).or_else(from).unwrap_or_default()
}

fn line(path: &str, mail: &Mail) -> serde_json::Value {
    let verdict = mail.verdict.and_then(|v| Verdict::try_from(v).ok()).map_or("none", Verdict::word);
    let probability = (mail.spam_probability >= 0.0).then_some(mail.spam_probability);
    json!({
        "path": path,
        "verdict": verdict,
        "score": mail.score,
        "spam_probability": probability,
        "evidence": mail.evidence,
        "auth": {
            "iprev": mail.auth.iprev, "spf": mail.auth.spf, "dkim": mail.auth.dkim,
            "dmarc": mail.auth.dmarc, "arc": mail.auth.arc,
        },
    })
}
