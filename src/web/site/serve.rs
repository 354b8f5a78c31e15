//! The site on a socket: HTTP/1.1 with limits against slow and many clients.
//!
//! warp's own server has no limits, so connections are served by hyper here, with warp's routes as the
//! service: a head must be whole within its time (also the silence between two requests), a body and the
//! answer within theirs, a connection ends after its age, and only so many are open at once. HTTP/2 is left
//! to a proxy in front: a redirect gains nothing from it, and its stream tricks have no place here.

use super::{Peer, Site};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use warp::filters::BoxedFilter;
use warp::http::{Request, StatusCode};
use warp::reply::Response;

/// Octets of a request head at most: room for a link of 40,000 octets.
const MOST_HEAD: usize = 64 * 1024;
/// Header fields at most.
const MOST_FIELDS: usize = 64;

impl Site {
    /// Serves connections until `stop` says true (or its sender is gone), then lets open requests end within
    /// [`super::Settings::drain_within`].
    pub async fn serve(self: Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let routes = self.clone().routes();
        let room = Arc::new(Semaphore::new(self.settings.connections));
        let mut open = JoinSet::new();
        loop {
            let next = async {
                let permit = room.clone().acquire_owned().await.ok();
                (permit, listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                next = next => next,
                _ = stop.wait_for(|s| *s) => break,
            };
            while open.try_join_next().is_some() {}
            match accepted {
                Ok((stream, peer)) => {
                    let (site, routes, stop) = (self.clone(), routes.clone(), stop.clone());
                    open.spawn(async move {
                        site.connection(stream, peer, routes, stop).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of descriptors, mostly: a pause lets some close; the listener itself stays good.
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        let all = async { while open.join_next().await.is_some() {} };
        if tokio::time::timeout(self.settings.drain_within, all).await.is_err() {
            tracing::warn!("connections of the site were cut at the end of the drain");
        }
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        routes: BoxedFilter<(Response,)>,
        mut stop: watch::Receiver<bool>,
    ) {
        // Answers are small and whole; waiting to fill a segment only adds delay. A failure is harmless.
        stream.set_nodelay(true).unwrap_or_default();
        self.counters.connections.inc();
        let limit = self.settings.answer_within;
        let routes = TowerToHyperService::new(warp::service(routes));
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            let answer = tokio::time::timeout(limit, routes.call(request));
            async move { Ok::<Response, Infallible>(answer.await.map_or_else(|_| late(), |Ok(answer)| answer)) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.settings.head_within)
            .max_headers(MOST_FIELDS)
            .max_buf_size(MOST_HEAD)
            .pipeline_flush(true)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let asked = async {
            tokio::select! {
                () = tokio::time::sleep(self.settings.connection_age) => {}
                _ = stop.wait_for(|s| *s) => {}
            }
        };
        tokio::select! {
            // An error here is the client's doing: it went away, was too slow, or does not speak HTTP.
            _ = &mut connection => {}
            () = asked => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(limit, connection).await.map(drop).unwrap_or_default();
            }
        }
        self.counters.connections.dec();
    }
}

/// The answer to a request that took too long.
fn late() -> Response {
    let mut response = Response::new("This took too long. Please try again.".into());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}
