use super::*;
use async_trait::async_trait;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tidegate_schemas::{Signal, SignalKind};
use tokio::sync::{Barrier, Notify};
use tokio::task::LocalSet;

fn told(reason: &str) -> Record {
    Signal { reason: reason.to_owned(), ..Signal::new(SignalKind::Click, "t") }.into()
}

fn reason(record: &Record) -> String {
    match record {
        Record::Signal(signal) => signal.reason.clone(),
        Record::Mail(_) => String::new(),
    }
}

/// Does what the record tells it.
struct Obedient {
    together: Barrier,
    never: Notify,
    done: AtomicUsize,
}

impl Obedient {
    fn new(together: usize) -> Arc<Obedient> {
        Arc::new(Obedient {
            together: Barrier::new(together),
            never: Notify::new(),
            done: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl Stage for Obedient {
    fn name(&self) -> &'static str {
        "obedient"
    }

    async fn work(&self, record: Record) -> Result<Step, Trouble> {
        match reason(&record).as_str() {
            "meet" => {
                self.together.wait().await;
            }
            "hang" => self.never.notified().await,
            "panic" => panic!("told to panic"),
            "panic later" => {
                tokio::task::yield_now().await;
                panic!("told to panic, number {}", 2);
            }
            "refuse" => return Err(Trouble::Refuse { why: "told to".into() }),
            _ => {}
        }
        self.done.fetch_add(1, SeqCst);
        Ok(Step::next(record))
    }
}

fn local<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, future)
}

#[test]
fn records_are_worked_on_at_the_same_time() {
    local(async {
        // The barrier opens only when all hundred are inside the stage at once.
        let hosted = spawn(Obedient::new(100));
        let sent: Vec<_> = (0..100).map(|_| hosted.work(told("meet"))).collect();
        let replies = futures::future::join_all(sent).await;
        assert!(replies.iter().all(|r| r.as_ref().is_ok_and(|w| w.result.is_ok())));
    });
}

#[test]
fn a_reply_carries_step_or_trouble() {
    local(async {
        let hosted = spawn(Obedient::new(1));
        let step = hosted.work(told("go")).await.unwrap().result.unwrap();
        assert_eq!(reason(&step.out[0].1), "go");
        let trouble = hosted.work(told("refuse")).await.unwrap().result.unwrap_err();
        assert_eq!(trouble.to_string(), "refused: told to");
        assert_eq!(hosted.end().await, None);
    });
}

#[test]
fn a_panic_ends_the_actor_and_everything_it_had_in_hand() {
    for (word, text) in [("panic", "told to panic"), ("panic later", "told to panic, number 2")] {
        local(async {
            let hosted = spawn(Obedient::new(1));
            let hanging = hosted.work(told("hang"));
            let killing = hosted.work(told(word));
            let (hung, killed) = futures::join!(hanging, killing);
            assert_eq!(hung.unwrap_err(), Lost);
            assert_eq!(killed.unwrap_err(), Lost);
            assert_eq!(hosted.work(told("go")).await.unwrap_err(), Lost);
            assert_eq!(hosted.end().await.as_deref(), Some(text));
        });
    }
}

#[test]
fn a_fresh_actor_on_the_same_thread_works_after_a_panic() {
    local(async {
        let first = spawn(Obedient::new(1));
        assert!(first.work(told("panic")).await.is_err());
        assert!(first.end().await.is_some());
        let second = spawn(Obedient::new(1));
        assert!(second.work(told("go")).await.unwrap().result.is_ok());
    });
}

#[test]
fn ending_an_actor_ends_its_work() {
    local(async {
        let stage = Obedient::new(1);
        let hosted = spawn(stage.clone());
        let hanging = hosted.work(told("hang"));
        hosted.work(told("go")).await.unwrap();
        assert_eq!(hosted.end().await, None);
        assert_eq!(hanging.await.unwrap_err(), Lost);
        stage.never.notify_waiters();
        tokio::task::yield_now().await;
        assert_eq!(stage.done.load(SeqCst), 1);
        assert_eq!(Arc::strong_count(&stage), 1, "the actor keeps nothing of the stage");
    });
}
