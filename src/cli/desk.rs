//! Commands that speak to a running gateway through its admin API.

use super::args::{Command, DeadCommand, Gateway, HeldCommand, QueueCommand};
use super::{Failure, exit, output};
use crate::admin::Access;
use serde_json::Value;

/// Long enough for a replay of a day.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3_600);

/// Runs one of the commands that need a gateway.
pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Apply { file, gateway } => apply(&gateway, &file),
        Command::Export { gateway } => {
            let text = call(&gateway, "GET", "export", b"")?;
            output::line(text.as_str().unwrap_or_default().trim_end());
            Ok(())
        }
        Command::Queue { command, gateway } => queue(&gateway, &command),
        Command::Held { command, gateway } => held(&gateway, &command),
        Command::Dead { command, gateway } => dead(&gateway, &command),
        Command::Trace { id, gateway } => trace(&gateway, &id),
        Command::Replay { since, until, dry_run, gateway } => replay(&gateway, &since, &until, dry_run),
        _ => Err(Failure::text(exit::USAGE, "this command does not speak to a gateway")),
    }
}

fn apply(gateway: &Gateway, file: &std::path::Path) -> Result<(), Failure> {
    let text =
        std::fs::read(file).map_err(|e| Failure::text(exit::NO_INPUT, format!("{}: {e}", file.display())))?;
    let changes = call(gateway, "POST", "apply", &text)?;
    let lines = changes.as_array().cloned().unwrap_or_default();
    if lines.is_empty() {
        output::note("nothing changes");
    }
    for line in lines {
        output::line(line.as_str().unwrap_or_default());
    }
    Ok(())
}

fn queue(gateway: &Gateway, command: &QueueCommand) -> Result<(), Failure> {
    match command {
        QueueCommand::List => {
            let columns = ["id", "topic", "from", "to", "attempts", "due_ms", "reply"];
            list(gateway, "queue", &columns)
        }
        QueueCommand::Show { id } => show(gateway, &format!("queue/{id}")),
        QueueCommand::Retry { id } => order(gateway, &format!("queue/{id}/retry")),
        QueueCommand::Remove { id } => order(gateway, &format!("queue/{id}/remove")),
    }
}

fn held(gateway: &Gateway, command: &HeldCommand) -> Result<(), Failure> {
    match command {
        HeldCommand::List { tenant } => {
            let columns = ["id", "tenant", "reason", "score", "mail_from", "recipients", "subject"];
            list(gateway, &format!("held?tenant={}", encoded(tenant)), &columns)
        }
        HeldCommand::Show { id } => show(gateway, &format!("held/{id}")),
        HeldCommand::Release { id, malware, by } => {
            order(gateway, &format!("held/{id}/release?malware={malware}&by={}", encoded(by)))
        }
        HeldCommand::Remove { id } => order(gateway, &format!("held/{id}/remove")),
    }
}

fn dead(gateway: &Gateway, command: &DeadCommand) -> Result<(), Failure> {
    match command {
        DeadCommand::List => list(gateway, "dead", &["id", "stage", "tenant", "why"]),
        DeadCommand::Show { id } => show(gateway, &format!("dead/{id}")),
        DeadCommand::Replay { id } => order(gateway, &format!("dead/{id}/replay")),
        DeadCommand::Remove { id } => order(gateway, &format!("dead/{id}/remove")),
    }
}

fn trace(gateway: &Gateway, id: &str) -> Result<(), Failure> {
    let rows = call(gateway, "GET", &format!("trace/{id}"), b"")?;
    let rows = rows.as_array().cloned().unwrap_or_default();
    if rows.is_empty() {
        return Err(Failure::text(exit::NO_INPUT, format!("nothing is known of {id}")));
    }
    for row in rows {
        if gateway.json {
            output::line(&row.to_string());
            continue;
        }
        output::line(&format!("{}  {}", time(&row["at_ms"]), row["what"].as_str().unwrap_or_default()));
        for evidence in row["evidence"].as_array().into_iter().flatten() {
            let weight = evidence["weight"].as_f64().unwrap_or_default();
            let (code, why) = (&evidence["code"], &evidence["why"]);
            output::line(&format!("    {weight:+6.1}  {:<24} {}", plain(code), plain(why)));
        }
    }
    Ok(())
}

fn replay(gateway: &Gateway, since: &str, until: &str, dry_run: bool) -> Result<(), Failure> {
    let (since, until) = (moment(since)?, moment(until)?);
    let bar = indicatif::ProgressBar::new_spinner().with_message("judging");
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    let path = format!("replay?since={since}&until={until}&dry_run={dry_run}");
    let rows = call(gateway, "POST", &path, b"");
    bar.finish_and_clear();
    print(gateway, &rows?, &["trace", "tenant", "from", "before", "now", "changed"]);
    Ok(())
}

/// RFC 3339 in UTC, or milliseconds.
fn moment(text: &str) -> Result<u64, Failure> {
    if let Ok(ms) = text.parse::<u64>() {
        return Ok(ms);
    }
    let parsed = mail_parser::DateTime::parse_rfc3339(text);
    let seconds = parsed.map(|d| d.to_timestamp()).and_then(|s| u64::try_from(s).ok());
    let wrong =
        || Failure::text(exit::USAGE, format!("`{text}`: expected 2026-11-27T08:00:00Z or milliseconds"));
    Ok(seconds.ok_or_else(wrong)? * 1_000)
}

fn list(gateway: &Gateway, path: &str, columns: &[&str]) -> Result<(), Failure> {
    let rows = call(gateway, "GET", path, b"")?;
    print(gateway, &rows, columns);
    Ok(())
}

fn print(gateway: &Gateway, rows: &Value, columns: &[&str]) {
    let rows = rows.as_array().cloned().unwrap_or_default();
    if !gateway.json && !rows.is_empty() {
        output::line(&columns.join("\t"));
    }
    for row in rows {
        if gateway.json {
            output::line(&row.to_string());
            continue;
        }
        let cells: Vec<String> = columns.iter().map(|c| cell(c, &row[*c])).collect();
        output::line(&cells.join("\t"));
    }
}

fn cell(column: &str, value: &Value) -> String {
    match value {
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        number if column.ends_with("_ms") => time(number),
        Value::Number(n) if n.is_f64() => format!("{:.1}", n.as_f64().unwrap_or_default()),
        other => plain(other),
    }
}

/// Text without quotes, and without what could drive a terminal.
fn plain(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn time(ms: &Value) -> String {
    match ms.as_u64() {
        Some(0) | None => "now".into(),
        Some(ms) => mail_parser::DateTime::from_timestamp((ms / 1_000) as i64).to_rfc3339(),
    }
}

fn show(gateway: &Gateway, path: &str) -> Result<(), Failure> {
    let row = call(gateway, "GET", path, b"")?;
    match row["message"].as_str() {
        Some(message) if !gateway.json => {
            for (key, value) in row.as_object().into_iter().flatten().filter(|(k, _)| *k != "message") {
                output::line(&format!("{key}: {}", cell(key, value)));
            }
            output::line("");
            output::octets(message.as_bytes())?;
        }
        _ => output::line(&row.to_string()),
    }
    Ok(())
}

fn order(gateway: &Gateway, path: &str) -> Result<(), Failure> {
    call(gateway, "POST", path, b"").map(|_| ())
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// One call of the API; its errors become ours.
fn call(gateway: &Gateway, method: &str, path: &str, body: &[u8]) -> Result<Value, Failure> {
    let access = Access::load(&gateway.data).map_err(|e| Failure::new(exit::UNAVAILABLE, e))?;
    post(&access, method, path, body)
}

pub(super) fn post(access: &Access, method: &str, path: &str, body: &[u8]) -> Result<Value, Failure> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .into();
    let url = format!("http://{}/api/v1/{path}", access.address);
    let bearer = format!("Bearer {}", access.token);
    let sent = match method {
        "GET" => agent.get(&url).header("authorization", &bearer).call(),
        _ => agent.post(&url).header("authorization", &bearer).send(body),
    };
    let away = |e: ureq::Error| Failure::text(exit::UNAVAILABLE, format!("the gateway does not answer: {e}"));
    let mut reply = sent.map_err(away)?;
    let status = reply.status().as_u16();
    let value: Value = reply.body_mut().with_config().limit(1 << 30).read_json().map_err(away)?;
    if status == 200 {
        return Ok(value);
    }
    let code = match status {
        404 => exit::NO_INPUT,
        400 => exit::DATA,
        503 => exit::UNAVAILABLE,
        _ => exit::SOFTWARE,
    };
    Err(Failure::text(code, plain(&value["error"])))
}
