//! The HTTP side of the desk. JSON in, JSON out; one route a command.

use super::{AdminError, Desk};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tidegate_schemas::{Signal, SignalKind};
use tokio::sync::watch;
use warp::http::StatusCode;
use warp::{Filter, Reply};

/// Largest request body: a message to learn from.
const MAX_BODY: u64 = 64 << 20;

/// How to reach the desk of a data directory: address and token, in a file only its owner reads.
#[derive(Clone, Debug)]
pub struct Access {
    /// Where it listens.
    pub address: SocketAddr,
    /// Bearer token.
    pub token: String,
}

impl Access {
    const FILE: &'static str = "admin.access";

    /// A fresh token for this address.
    pub fn new(address: SocketAddr) -> std::io::Result<Access> {
        let mut secret = [0_u8; 32];
        getrandom::fill(&mut secret).map_err(std::io::Error::other)?;
        Ok(Access { address, token: hex::encode(secret) })
    }

    /// Writes the file with mode 0600.
    pub fn save(&self, data: &Path) -> std::io::Result<()> {
        crate::files::write_private(
            &data.join(Self::FILE),
            format!("{} {}\n", self.address, self.token).as_bytes(),
        )
    }

    /// Reads the file of a running gateway.
    pub fn load(data: &Path) -> anyhow::Result<Access> {
        let path = data.join(Self::FILE);
        let text = std::fs::read_to_string(&path).map_err(|e| {
            anyhow::anyhow!("{}: {e}; is a gateway running on this data directory?", path.display())
        })?;
        let (address, token) = text
            .trim()
            .split_once(' ')
            .ok_or_else(|| anyhow::anyhow!("{}: not of this form", path.display()))?;
        Ok(Access { address: address.parse()?, token: token.to_owned() })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Query {
    tenant: String,
    limit: Option<usize>,
    by: String,
    malware: bool,
    since: u64,
    until: u64,
    dry_run: bool,
    kind: String,
}

/// Serves the API until told to stop.
pub async fn serve(
    desk: Arc<Desk>,
    listener: tokio::net::TcpListener,
    token: String,
    stop: watch::Receiver<bool>,
) {
    crate::web::plain::serve(routes(desk, token), listener, stop).await;
}

fn routes(desk: Arc<Desk>, token: String) -> warp::filters::BoxedFilter<(warp::reply::Response,)> {
    let token = Arc::new(token);
    let known = warp::path("api")
        .and(warp::path("v1"))
        .and(warp::method())
        .and(warp::path::tail())
        .and(warp::query::<Query>())
        .and(warp::header::optional::<String>("authorization"))
        .and(warp::body::content_length_limit(MAX_BODY).or(warp::get()).unify())
        .and(warp::body::bytes())
        .then(
            move |method: warp::http::Method, tail: warp::path::Tail, query, bearer: Option<String>, body| {
                let (desk, token) = (desk.clone(), token.clone());
                async move {
                    let given = bearer.as_deref().and_then(|b| b.strip_prefix("Bearer ")).unwrap_or_default();
                    if !bool::from(given.as_bytes().ct_eq(token.as_bytes())) {
                        return reply(
                            StatusCode::UNAUTHORIZED,
                            &json!({"error": "a bearer token is needed"}),
                        );
                    }
                    let parts: Vec<&str> = tail.as_str().split('/').collect();
                    match act(&desk, method.as_str(), &parts, query, body).await {
                        Ok(value) => reply(StatusCode::OK, &value),
                        Err(error) => reply(status(&error), &json!({"error": error.to_string()})),
                    }
                }
            },
        );
    let other =
        warp::any().map(|| reply(StatusCode::BAD_REQUEST, &json!({"error": "no request of this API"})));
    known.or(other).unify().boxed()
}

fn reply(status: StatusCode, value: &Value) -> warp::reply::Response {
    warp::reply::with_status(warp::reply::json(value), status).into_response()
}

fn status(error: &AdminError) -> StatusCode {
    match error {
        AdminError::NotFound(_) => StatusCode::NOT_FOUND,
        AdminError::Bad(_) => StatusCode::BAD_REQUEST,
        AdminError::Refused(_) => StatusCode::FORBIDDEN,
        AdminError::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
        AdminError::Away(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn act(
    desk: &Desk,
    method: &str,
    parts: &[&str],
    query: Query,
    body: bytes::Bytes,
) -> Result<Value, AdminError> {
    let limit = query.limit.unwrap_or(1_000);
    let by = if query.by.is_empty() { "operator" } else { query.by.as_str() };
    let done = |()| json!({"done": true});
    match (method, parts) {
        ("GET", ["queue"]) => value(desk.queue_list(limit).await?),
        ("GET", ["queue", id]) => Ok(mail_value(&desk.queue_show(id).await?)),
        ("POST", ["queue", id, "retry"]) => desk.queue_retry(id).await.map(done),
        ("POST", ["queue", id, "remove"]) => desk.queue_remove(id).await.map(done),
        ("GET", ["held"]) => value(desk.held_list(&query.tenant, limit).await?),
        ("GET", ["held", id]) => Ok(mail_value(&desk.held_show(id).await?)),
        ("POST", ["held", id, "release"]) => desk.held_release(id, by, query.malware).await.map(done),
        ("POST", ["held", id, "remove"]) => desk.held_remove(id, by).await.map(done),
        ("GET", ["dead"]) => value(desk.dead_list().await?),
        ("GET", ["dead", id]) => value(desk.dead_show(id).await?),
        ("POST", ["dead", id, "replay"]) => desk.dead_replay(id).await.map(done),
        ("POST", ["dead", id, "remove"]) => desk.dead_remove(id).await.map(done),
        ("GET", ["trace", id]) => value(desk.trace(id).await?),
        ("POST", ["replay"]) => value(desk.replay(query.since, query.until, query.dry_run).await?),
        ("POST", ["apply"]) => apply(desk, &body).await,
        ("GET", ["export"]) => export(desk).await,
        ("POST", ["train"]) => train(desk, &query.kind, body).await.map(done),
        _ => Err(AdminError::NotFound(format!("no such command: {method} {}", parts.join("/")))),
    }
}

fn value<T: serde::Serialize>(rows: T) -> Result<Value, AdminError> {
    serde_json::to_value(rows).map_err(|e| AdminError::Broken(e.to_string()))
}

/// A mail as JSON: what is known of it, and the message itself as text.
fn mail_value(mail: &tidegate_schemas::Mail) -> Value {
    json!({
        "id": mail.id, "trace": mail.trace, "tenant": mail.tenant, "from": mail.mail_from,
        "to": mail.recipients.iter().map(|r| r.address.as_str()).collect::<Vec<_>>(),
        "replies": mail.recipients.iter().map(|r| r.reply.as_str()).collect::<Vec<_>>(),
        "received_ms": mail.received_ms, "due_ms": mail.due_ms, "attempts": mail.attempts,
        "hold_reason": mail.hold_reason, "score": mail.score, "evidence": mail.evidence,
        "message": String::from_utf8_lossy(&mail.octets()),
    })
}

async fn apply(desk: &Desk, body: &[u8]) -> Result<Value, AdminError> {
    let text = std::str::from_utf8(body).map_err(|_| AdminError::Bad("the file is not UTF-8".into()))?;
    let tenants = crate::tenants::parse(text).map_err(|e| AdminError::Bad(e.to_string()))?;
    let changes =
        crate::tenants::apply(&desk.store, &tenants).await.map_err(|e| AdminError::Away(e.to_string()))?;
    value(changes)
}

async fn export(desk: &Desk) -> Result<Value, AdminError> {
    let tenants = crate::tenants::export(&desk.store).await?;
    toml::to_string(&tenants).map(Value::String).map_err(|e| AdminError::Broken(e.to_string()))
}

async fn train(desk: &Desk, kind: &str, body: bytes::Bytes) -> Result<(), AdminError> {
    let kind = match kind {
        "spam" => SignalKind::MarkSpam,
        "ham" => SignalKind::MarkHam,
        _ => return Err(AdminError::Bad("kind is spam or ham".into())),
    };
    let signal = Signal { raw: body, reason: "train".into(), ..Signal::new(kind, "") };
    let outputs = vec![crate::backends::intake::output(crate::backends::intake::SIGNALS, &signal.into())];
    Ok(desk.log.append(tidegate_topology::log::Batch { outputs, writes: Vec::new() }).await?)
}
