//! Connections by destination: so many at a time, used again, and none to a host that is down.

use super::Options;
use super::smtp::{Broken, Session};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tidegate_actors::deliver::relay::{Destination, Job, Outcome};
use tokio::sync::Semaphore;

/// Destinations remembered at most; beyond, the ones nobody uses are forgotten.
const MOST_DESTINATIONS: usize = 10_000;

/// One destination.
struct Place {
    slots: Semaphore,
    idle: Mutex<Vec<Session>>,
    down: Mutex<Option<(Instant, String)>>,
}

/// All destinations.
pub(super) struct Pool {
    options: Options,
    places: Mutex<HashMap<Arc<Destination>, Arc<Place>>>,
}

impl Pool {
    pub(super) fn new(options: Options) -> Pool {
        Pool { options, places: Mutex::default() }
    }

    fn place(&self, destination: &Arc<Destination>) -> Arc<Place> {
        let mut places = self.places.lock();
        if places.len() > MOST_DESTINATIONS {
            places.retain(|_, place| Arc::strong_count(place) > 1);
        }
        let fresh = || {
            let slots = Semaphore::new(self.options.concurrency.max(1));
            Arc::new(Place { slots, idle: Mutex::default(), down: Mutex::default() })
        };
        places.entry(destination.clone()).or_insert_with(fresh).clone()
    }

    /// Sends a job over a kept connection or a new one.
    pub(super) async fn send(&self, job: &Job) -> Vec<Outcome> {
        let all = |outcome: Outcome| vec![outcome; job.recipients.len()];
        let place = self.place(&job.destination);
        let Ok(_slot) = place.slots.acquire().await else {
            return all(Outcome::Deferred("451 4.3.2 Stopping".into()));
        };
        while let Some(session) = place.take(&self.options) {
            match self.over(session, &place, job).await {
                Ok(outcomes) => return outcomes,
                Err(Broken::Stale) => {}
                Err(Broken::Late(why)) => return all(Outcome::Deferred(why)),
            }
        }
        if let Some(why) = place.is_down() {
            return all(Outcome::Deferred(why));
        }
        let session = match self.open(&job.destination).await {
            Ok(session) => session,
            Err(why) => {
                *place.down.lock() = Some((Instant::now() + self.options.down, why.clone()));
                return all(Outcome::Deferred(why));
            }
        };
        match self.over(session, &place, job).await {
            Ok(outcomes) => outcomes,
            Err(Broken::Stale) => all(Outcome::Deferred("451 4.4.2 The connection closed".into())),
            Err(Broken::Late(why)) => all(Outcome::Deferred(why)),
        }
    }

    async fn over(&self, mut session: Session, place: &Place, job: &Job) -> Result<Vec<Outcome>, Broken> {
        let (outcomes, ready) = session.send(job, &self.options).await?;
        if ready && session.is_fresh(&self.options) {
            place.idle.lock().push(session);
        }
        Ok(outcomes)
    }

    /// The first server that answers; else why the last did not.
    async fn open(&self, destination: &Destination) -> Result<Session, String> {
        let (addresses, lmtp): (&[SocketAddr], bool) = match destination {
            Destination::Smtp(all) => (all, false),
            Destination::Lmtp(one) => (std::slice::from_ref(one), true),
            Destination::Maildir(_) => (&[], false),
        };
        let mut why = "451 4.4.4 No address".to_owned();
        for address in addresses {
            match Session::open(*address, lmtp, &self.options).await {
                Ok(session) => return Ok(session),
                Err(error) => why = format!("451 4.4.1 {address}: {error}"),
            }
        }
        Err(why)
    }
}

impl Place {
    fn take(&self, options: &Options) -> Option<Session> {
        let mut idle = self.idle.lock();
        while let Some(session) = idle.pop() {
            if session.is_fresh(options) {
                return Some(session);
            }
        }
        None
    }

    fn is_down(&self) -> Option<String> {
        let mut down = self.down.lock();
        match &*down {
            Some((until, why)) if *until > Instant::now() => Some(why.clone()),
            _ => {
                *down = None;
                None
            }
        }
    }
}
