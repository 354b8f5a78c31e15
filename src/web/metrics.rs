//! `/metrics` for Prometheus and `/health` for load balancers and supervisors.

use prometheus::{Encoder, Registry, TextEncoder};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::watch;
use warp::http::StatusCode;
use warp::{Filter, Reply};

/// What `/health` answers: whether all is well, and the state of the parts.
pub type Health = Arc<dyn Fn() -> (bool, Value) + Send + Sync>;

/// Serves both until told to stop.
pub async fn serve(
    registry: Registry,
    health: Health,
    listener: tokio::net::TcpListener,
    stop: watch::Receiver<bool>,
) {
    let metrics = warp::path!("metrics").and(warp::get()).map(move || text(&registry));
    let health = warp::path!("health").and(warp::get()).map(move || {
        let (well, parts) = health();
        let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        warp::reply::with_status(warp::reply::json(&json!({"well": well, "parts": parts})), status)
    });
    let nothing = warp::any().map(|| StatusCode::NOT_FOUND);
    let routes = metrics.or(health).or(nothing).map(Reply::into_response).boxed();
    super::plain::serve(routes, listener, stop).await;
}

fn text(registry: &Registry) -> warp::reply::Response {
    let mut out = Vec::new();
    let encoder = TextEncoder::new();
    if let Err(error) = encoder.encode(&registry.gather(), &mut out) {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        return warp::reply::with_status(error.to_string(), status).into_response();
    }
    warp::reply::with_header(out, "content-type", "text/plain; version=0.0.4").into_response()
}
