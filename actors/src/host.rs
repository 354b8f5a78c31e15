//! The one actor of Tidegate: it hosts any stage.
//!
//! Records sent to a [`Hosted`] stage are worked on at the same time, inside the actor's own task. So a panic
//! in a stage, be it before or after its first wait, ends that task: every record it had in hand gets
//! [`Lost`], and [`Hosted::end`] tells the panic's text. Nobody restarts the actor; the lane makes a fresh
//! one from the stage's factory.
//!
//! How it is built, and why. actix polls all futures spawned into a context on every wake-up, which for a
//! batch of n waits costs n * n polls; and a `ResponseFuture` runs in a task of its own, where its panic goes
//! unseen. So the actor spawns one future, the drive, which owns all work and polls only what was woken.
//! There is no logic in `stopping`, `stopped` or `Drop`: actix calls them while a panic unwinds, and a second
//! panic there would abort the process.

use crate::stage::{Stage, Step, Trouble};
use actix::dev::{MessageResponse, OneshotSender};
use actix::fut::ActorFuture;
use actix::{Actor, Addr, AsyncContext, Context, Handler, Message};
use futures::StreamExt;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tidegate_schemas::Record;
use tokio::task::JoinHandle;

/// Room for every record that a lane may have in hand: sending never waits for the mailbox. The lane's batch
/// is the back-pressure, since a mailbox's capacity is none (each sender has a slot of its own).
const MAILBOX: usize = 1 << 16;

/// What a stage made of one record.
#[derive(Debug)]
pub struct Worked {
    /// What follows, or what to do about the trouble.
    pub result: Result<Step, Trouble>,
    /// From the first moment of work to the last, waits included.
    pub took: Duration,
}

/// The actor died or was ended before it answered; nothing is known of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stage ended before it answered")]
pub struct Lost;

/// A stage in its actor, on the current thread's local set.
pub struct Hosted {
    address: Addr<Host>,
    task: JoinHandle<()>,
}

/// Starts an actor around a stage. Must be called inside a `tokio::task::LocalSet`.
pub fn spawn(stage: Arc<dyn Stage>) -> Hosted {
    let mut context = Context::<Host>::new();
    context.set_mailbox_capacity(MAILBOX);
    let address = context.address();
    let actor = Host { stage, arrived: Rc::default() };
    let task = actix_rt::spawn(context.into_future(actor));
    Hosted { address, task }
}

impl Hosted {
    /// Sends one record; the future resolves when the stage is done with it. Dropping the future does not
    /// end work that has begun.
    pub fn work(&self, record: Record) -> impl Future<Output = Result<Worked, Lost>> + 'static {
        let sent = self.address.send(Work(record));
        async move { sent.await.map_err(|_| Lost) }
    }

    /// Ends the actor with all it has in hand. `Some` is the text of the panic it had died of before.
    pub async fn end(self) -> Option<String> {
        self.task.abort();
        match self.task.await {
            Err(error) if error.is_panic() => Some(panic_text(error.into_panic().as_ref())),
            _ => None,
        }
    }
}

/// The words of a panic, for logs and `dead`.
pub fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a text".to_owned())
}

type Job = LocalBoxFuture<'static, ()>;
/// Work that came by mail and that the drive has not taken yet.
type Arrived = Rc<RefCell<Vec<Job>>>;

/// One record to work on.
struct Work(Record);

impl Message for Work {
    type Result = Worked;
}

struct Host {
    stage: Arc<dyn Stage>,
    arrived: Arrived,
}

impl Actor for Host {
    type Context = Context<Host>;

    fn started(&mut self, context: &mut Context<Host>) {
        context.spawn(Drive { jobs: FuturesUnordered::new() });
    }
}

impl Handler<Work> for Host {
    type Result = Begun;

    fn handle(&mut self, work: Work, _: &mut Context<Host>) -> Begun {
        Begun { stage: self.stage.clone(), record: work.0, arrived: self.arrived.clone() }
    }
}

/// A record on its way from the mailbox to the drive; it lives until actix hands over the reply channel.
struct Begun {
    stage: Arc<dyn Stage>,
    record: Record,
    arrived: Arrived,
}

impl MessageResponse<Host, Work> for Begun {
    fn handle(self, _: &mut Context<Host>, reply: Option<OneshotSender<Worked>>) {
        let Begun { stage, record, arrived } = self;
        let job = async move {
            let begun = Instant::now();
            let result = stage.work(record).await;
            if let Some(reply) = reply {
                // A lane that no longer waits has given this generation up; it replays the record itself.
                let _unheard = reply.send(Worked { result, took: begun.elapsed() });
            }
        };
        arrived.borrow_mut().push(Box::pin(job));
    }
}

/// The one future in the actor's context. It never finishes by itself; [`Hosted::end`] aborts it.
struct Drive {
    jobs: FuturesUnordered<Job>,
}

impl ActorFuture<Host> for Drive {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        host: &mut Host,
        _: &mut Context<Host>,
        task: &mut std::task::Context<'_>,
    ) -> Poll<()> {
        // actix polls the mailbox before this in the same turn, so nothing that arrived waits for a wake-up.
        self.jobs.extend(host.arrived.borrow_mut().drain(..));
        while let Poll::Ready(Some(())) = self.jobs.poll_next_unpin(task) {}
        Poll::Pending
    }
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
