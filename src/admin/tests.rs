//! The desk over a real log and store.

use super::*;
use crate::backends::intake::{ACCEPTED, OUTBOUND, output};
use crate::backends::log::{Embedded, Options, TopicSpec};
use tidegate_actors::ports::fakes::FixedDirectory;
use tidegate_schemas::rows::{BodyRow, DeadRow, HeldRow};
use tidegate_schemas::{Mail, Policy, Recipient, Record, Row, Write};
use tidegate_topology::log::{Batch, From, Seat};

struct Place {
    desk: Desk,
    log: Arc<Embedded>,
    _folder: tempfile::TempDir,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let names = [ACCEPTED, OUTBOUND, "signals", "retry-1m"];
    let topics = names.map(|name| TopicSpec { name: name.into(), partitions: 1 }).to_vec();
    let seat =
        |consumer: &str, topic: &str| Seat { consumer: consumer.into(), topic: topic.into(), partition: 0 };
    let consumers = vec![seat("check_dns", ACCEPTED), seat("deliver", OUTBOUND), seat("requeue", "retry-1m")];
    let log =
        Embedded::open(folder.path(), Options { topics, consumers, min_free_bytes: 0, ..Options::default() })
            .unwrap();
    let directory = Arc::new(FixedDirectory::of("example.test", Policy::default()));
    let judge = Judge { stages: Vec::new(), directory };
    let desk = Desk { log: log.clone(), store: log.clone(), judge };
    Place { desk, log, _folder: folder }
}

fn mail(id: &str) -> Mail {
    Mail {
        id: id.into(),
        trace: format!("T{id}"),
        tenant: "isp/msp/example.test".into(),
        mail_from: "a@out.test".into(),
        recipients: vec![Recipient { address: "b@example.test".into(), ..Recipient::default() }],
        raw: "Subject: x\r\n\r\ny\r\n".into(),
        ..Mail::default()
    }
}

async fn append(place: &Place, topic: &str, mail: Mail) {
    let batch = Batch { outputs: vec![output(topic, &mail.into())], writes: Vec::new() };
    place.desk.log.append(batch).await.unwrap();
}

async fn on(place: &Place, topic: &str) -> Vec<Mail> {
    let entries = place.log.browse(topic, 0, From::Offset(0), 100).await.unwrap();
    let mail = |value| match Record::decode(&value).unwrap() {
        Record::Mail(mail) => *mail,
        Record::Signal(_) => panic!(),
    };
    entries.into_iter().map(|e| mail(e.value)).collect()
}

async fn hold(place: &Place, id: &str, reason: &str) {
    let mail = Mail { hold_reason: reason.into(), ..mail(id) };
    let row = HeldRow {
        tenant: mail.tenant.clone(),
        id: id.into(),
        trace: mail.trace.clone(),
        mail_from: String::new(),
        recipients: Vec::new(),
        subject: "x".into(),
        reason: reason.into(),
        score: 0.0,
        at_ms: 1,
        bytes: 1,
    };
    let body = BodyRow { id: id.into(), record: Record::from(mail).encode().to_vec() };
    place.desk.store.apply(vec![Write::Put(row.raw(0)), Write::Put(body.raw(0))]).await.unwrap();
}

#[tokio::test]
async fn the_queue_shows_what_is_not_committed_and_hides_what_was_removed() {
    let place = place();
    append(&place, OUTBOUND, mail("A")).await;
    append(&place, "retry-1m", mail("B")).await;
    append(&place, ACCEPTED, mail("C")).await;
    let ids = |rows: Vec<Queued>| rows.into_iter().map(|q| q.id).collect::<Vec<_>>();
    assert_eq!(ids(place.desk.queue_list(10).await.unwrap()), ["A", "B"]);
    place.desk.queue_remove("B").await.unwrap();
    assert_eq!(ids(place.desk.queue_list(10).await.unwrap()), ["A"]);
    assert!(matches!(place.desk.queue_retry("B").await, Err(AdminError::NotFound(_))));
}

#[tokio::test]
async fn retry_now_appends_a_copy_that_is_due_and_marks_the_original() {
    let place = place();
    append(&place, "retry-1m", Mail { due_ms: u64::MAX, ..mail("B") }).await;
    place.desk.queue_retry("B").await.unwrap();
    let sent = on(&place, OUTBOUND).await;
    assert_eq!((sent.len(), sent[0].due_ms, sent[0].trace.as_str()), (1, 0, "TB"));
    assert_ne!(sent[0].id, "B", "a copy has an id of its own, or it would be dropped with the original");
}

#[tokio::test]
async fn a_release_puts_the_mail_back_marked_and_takes_its_rows_away_at_once() {
    let place = place();
    hold(&place, "H", "spam").await;
    assert_eq!(place.desk.held_list("", 10).await.unwrap().len(), 1);
    place.desk.held_release("H", "ops", false).await.unwrap();
    let released = on(&place, ACCEPTED).await;
    assert_eq!((released[0].released_by.as_str(), released[0].hold_reason.as_str()), ("ops", ""));
    assert!(place.desk.held_list("", 10).await.unwrap().is_empty());
    assert!(matches!(place.desk.held_release("H", "ops", false).await, Err(AdminError::NotFound(_))));
    assert!(place.desk.trace("TH").await.unwrap()[0].what.contains("released by ops"));
}

#[tokio::test]
async fn malware_is_released_only_when_the_operator_insists() {
    let place = place();
    hold(&place, "H", "malware").await;
    assert!(matches!(place.desk.held_release("H", "ops", false).await, Err(AdminError::Refused(_))));
    place.desk.held_release("H", "ops", true).await.unwrap();
}

#[tokio::test]
async fn a_dead_record_goes_back_to_its_topic_octet_for_octet() {
    let place = place();
    let row = DeadRow {
        id: "accepted-0-7".into(),
        topic: ACCEPTED.into(),
        partition: 0,
        offset: 7,
        stage: "score_spam".into(),
        why: "panic".into(),
        at_ms: 1,
        tenant: String::new(),
        record: hex::encode(Record::from(mail("D")).encode()),
    };
    place.desk.store.apply(vec![Write::Put(row.raw(0))]).await.unwrap();
    assert_eq!(place.desk.dead_list().await.unwrap(), [row]);
    place.desk.dead_replay("accepted-0-7").await.unwrap();
    assert_eq!(on(&place, ACCEPTED).await, [mail("D")]);
    assert!(place.desk.dead_list().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_api_wants_the_token_and_names_what_it_does_not_know() {
    let place = place();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let served = tokio::spawn(serve(Arc::new(place.desk), listener, "secret".into(), stopped));
    let get = move |path: &'static str, token: &'static str| {
        let url = format!("http://{address}/api/v1/{path}");
        tokio::task::spawn_blocking(move || {
            let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
            agent
                .get(url)
                .header("authorization", format!("Bearer {token}"))
                .call()
                .unwrap()
                .status()
                .as_u16()
        })
    };
    assert_eq!(get("queue", "secret").await.unwrap(), 200);
    assert_eq!(get("queue", "wrong").await.unwrap(), 401);
    assert_eq!(get("queue/none", "secret").await.unwrap(), 404);
    assert_eq!(get("nonsense", "secret").await.unwrap(), 404);
    stop.send_replace(true);
    drop(served);
}
