//! The training stage, with and without a file.

use super::*;
use crate::score_spam::classifier::Model;
use parking_lot::RwLock;
use std::sync::Arc;

fn signal(id: &str, kind: SignalKind, raw: &str) -> Record {
    let raw = raw.as_bytes().to_vec().into();
    Signal { id: id.into(), raw, ..Signal::new(kind, "isp/msp/example.test") }.into()
}

async fn work(stage: &TrainFilter, record: Record) {
    let step = stage.work(record).await.unwrap();
    assert!(step.out.is_empty() && step.writes.is_empty());
}

#[tokio::test]
async fn marks_and_releases_teach_and_everything_else_does_not() {
    let model = Model::shared();
    let stage = TrainFilter::new(model.clone(), None);
    work(&stage, signal("1", SignalKind::MarkSpam, "Subject: a\r\n\r\nb")).await;
    work(&stage, signal("2", SignalKind::MarkHam, "Subject: a\r\n\r\nb")).await;
    work(&stage, signal("3", SignalKind::Release, "Subject: a\r\n\r\nb")).await;
    work(&stage, signal("4", SignalKind::Click, "Subject: a\r\n\r\nb")).await;
    work(&stage, signal("5", SignalKind::MarkSpam, "")).await;
    work(&stage, tidegate_schemas::Mail::default().into()).await;
    assert_eq!(model.read().marks(), (2, 1));
}

#[tokio::test]
async fn a_mark_that_was_done_is_there_after_a_crash_and_a_replay_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let stage = TrainFilter::new(Model::shared(), Some(path.clone()));
    for n in 0..4 {
        work(&stage, signal(&n.to_string(), SignalKind::MarkSpam, &format!("Subject: a{n}\r\n\r\nb"))).await;
    }
    // The process dies here; the next one reads the file and the whole topic again.
    let model = Arc::new(RwLock::new(Model::load(&path).unwrap()));
    assert_eq!(model.read().marks(), (0, 4));
    let stage = TrainFilter::new(model.clone(), Some(path.clone()));
    for n in 0..5 {
        work(&stage, signal(&n.to_string(), SignalKind::MarkSpam, &format!("Subject: a{n}\r\n\r\nb"))).await;
    }
    assert_eq!(model.read().marks(), (0, 5));
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_means_the_same_mark_again_later() {
    let folder = tempfile::tempdir().unwrap();
    let model = Model::shared();
    let stage = TrainFilter::new(model.clone(), Some(folder.path().join("missing/model")));
    let record = signal("1", SignalKind::MarkSpam, "Subject: a\r\n\r\nb");
    assert!(matches!(stage.work(record).await, Err(Trouble::Retry { .. })));
    assert_eq!(model.read().marks(), (0, 0));
}
