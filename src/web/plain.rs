//! HTTP/1.1 for the inside of a network: `/metrics`, `/health` and the admin API.
//!
//! warp's own server has no time limit for request heads; hyper's has. The site has a stricter one of its own.

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use warp::filters::BoxedFilter;
use warp::reply::Response;

/// Time for a request head.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Time that open requests get at the end.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// Serves routes until told to stop.
pub async fn serve(routes: BoxedFilter<(Response,)>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        while open.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                open.spawn(connection(routes.clone(), stream, stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    let all = async { while open.join_next().await.is_some() {} };
    let _cut = tokio::time::timeout(DRAIN_WITHIN, all).await;
}

async fn connection(routes: BoxedFilter<(Response,)>, stream: TcpStream, mut stop: watch::Receiver<bool>) {
    let service = TowerToHyperService::new(warp::service(routes));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let told = async {
        // The guard of the value must not live over the await below.
        let _ended = stop.wait_for(|stop| *stop).await.is_ok();
    };
    tokio::select! {
        // An error is the client's doing: it went away, or does not speak HTTP.
        _ = &mut connection => {}
        () = told => {
            connection.as_mut().graceful_shutdown();
            let _ended = connection.await;
        }
    }
}
