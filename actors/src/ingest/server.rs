//! Accepting connections, within limits, and the end of it.

use super::session::Session;
use super::wire::Wire;
use super::{Counters, Settings, proxy};
use crate::ports::{ClientLists, Directory, Dns, Intake};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Addresses remembered for rates at most; beyond, all counts start anew.
const MOST_ADDRESSES: usize = 200_000;

/// One listener's server.
pub struct Server {
    pub(super) settings: Settings,
    pub(super) acceptor: Option<tokio_rustls::TlsAcceptor>,
    pub(super) intake: Arc<dyn Intake>,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) dns: Option<Arc<dyn Dns>>,
    pub(super) lists: Option<Arc<dyn ClientLists>>,
    pub(super) counters: Arc<Counters>,
    open: Mutex<HashMap<IpAddr, usize>>,
    rates: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

impl Server {
    /// A server over its ports. Without `dns` no names are looked up, without `lists` nobody is refused by them.
    pub fn new(
        settings: Settings,
        intake: Arc<dyn Intake>,
        directory: Arc<dyn Directory>,
        dns: Option<Arc<dyn Dns>>,
        lists: Option<Arc<dyn ClientLists>>,
        counters: Arc<Counters>,
    ) -> Server {
        let acceptor = settings.tls.clone().map(tokio_rustls::TlsAcceptor::from);
        let (open, rates) = (Mutex::default(), Mutex::default());
        Server { settings, acceptor, intake, directory, dns, lists, counters, open, rates }
    }

    /// Serves until `stop` is true: idle sessions are told 421, one in mid-message may finish it.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let mut sessions = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            while sessions.try_join_next().is_some() {}
            match accepted {
                Ok((stream, peer)) => {
                    let (server, stop) = (self.clone(), stop.clone());
                    sessions.spawn(
                        async move { server.connection(stream, peer.ip().to_canonical(), stop).await },
                    );
                }
                Err(error) => {
                    // Out of file descriptors, mostly: others have to end first.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(listener);
        let all = async { while sessions.join_next().await.is_some() {} };
        if tokio::time::timeout(self.settings.limits.drain, all).await.is_err() {
            tracing::warn!("SMTP sessions are cut: they did not end in time");
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: IpAddr, stop: watch::Receiver<bool>) {
        self.counters.connections.fetch_add(1, Relaxed);
        let _slow_is_fine = stream.set_nodelay(true);
        let mut wire = Wire::new(stream);
        let patience = self.settings.limits.handshake_timeout;
        let mut ip = peer;
        if self.settings.proxy_protocol {
            if !self.settings.trusted_proxies.iter().any(|net| net.contains(peer)) {
                self.counters.refuse("proxy");
                return;
            }
            match proxy::read(&mut wire, patience).await {
                Ok(Some(client)) => ip = client.to_canonical(),
                Ok(None) => {}
                Err(_) => {
                    self.counters.refuse("proxy");
                    return;
                }
            }
        }
        let Some(_place) = Place::take(&self, ip) else {
            self.counters.refuse("connections");
            let reply = "421 4.7.0 Too many connections, try again later";
            self.counters.reply(reply);
            wire.reply(reply);
            wire.close().await;
            return;
        };
        let mut session = Session::new(self.clone(), wire, ip, peer);
        if let Err(error) = session.run(stop).await {
            tracing::debug!(%ip, %error, "session ended");
        }
        session.end().await;
    }

    /// Whether one more message of this address is within its rate; counts it.
    pub(super) fn within_rate(&self, ip: IpAddr) -> bool {
        let most = self.settings.limits.messages_per_minute_per_ip;
        if most == 0 {
            return true;
        }
        let mut rates = self.rates.lock();
        if rates.len() > MOST_ADDRESSES {
            rates.clear();
        }
        let now = Instant::now();
        let (since, count) = rates.entry(ip).or_insert((now, 0));
        if now.duration_since(*since) >= Duration::from_secs(60) {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= most
    }
}

/// A session's place among those allowed; given back when dropped.
struct Place<'s> {
    server: &'s Server,
    ip: IpAddr,
}

impl Place<'_> {
    fn take(server: &Server, ip: IpAddr) -> Option<Place<'_>> {
        let limits = &server.settings.limits;
        let mut open = server.open.lock();
        if server.counters.sessions.load(Relaxed) as usize >= limits.max_connections {
            return None;
        }
        let count = open.entry(ip).or_default();
        if *count >= limits.max_connections_per_ip {
            return None;
        }
        *count += 1;
        server.counters.sessions.fetch_add(1, Relaxed);
        Some(Place { server, ip })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.server.counters.sessions.fetch_sub(1, Relaxed);
        let mut open = self.server.open.lock();
        if let Some(count) = open.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.ip);
            }
        }
    }
}
