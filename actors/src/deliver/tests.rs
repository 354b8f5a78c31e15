//! The stage over a relay that answers as told.

use super::*;
use crate::ports::fakes::FixedDirectory;
use crate::ports::{DnsError, DomainFacts};
use crate::stage::Port;
use parking_lot::Mutex;
use std::net::IpAddr;
use tidegate_schemas::{Policy, Recipient, Row, Write};

struct NoDns;

#[async_trait]
impl Dns for NoDns {
    async fn addresses(&self, _: &str) -> Result<Vec<IpAddr>, DnsError> {
        Ok(Vec::new())
    }
    async fn mx(&self, _: &str) -> Result<Vec<(u16, String)>, DnsError> {
        Ok(Vec::new())
    }
    async fn txt(&self, _: &str) -> Result<Vec<String>, DnsError> {
        Ok(Vec::new())
    }
    async fn ptr(&self, _: IpAddr) -> Result<Vec<String>, DnsError> {
        Ok(Vec::new())
    }
}

/// Answers by the local part: `ok`, `later`, `never`.
#[derive(Default)]
struct Told {
    jobs: Mutex<Vec<Job>>,
}

#[async_trait]
impl Relay for Told {
    async fn send(&self, job: Job) -> Vec<Outcome> {
        let outcome = |r: &Recipient| match r.address.split('@').next() {
            Some("ok") => Outcome::Delivered { reply: "250 2.0.0 ok".into(), dsn: false },
            Some("later") => Outcome::Deferred("451 4.2.1 busy".into()),
            _ => Outcome::Failed("550 5.1.1 unknown".into()),
        };
        let outcomes = job.recipients.iter().map(outcome).collect();
        self.jobs.lock().push(job);
        outcomes
    }
}

fn stage(relay: &Arc<Told>, shared: &Arc<Shared>, settings: Settings) -> Deliver {
    let mut directory = FixedDirectory::of("example.test", Policy::default());
    let facts = (*directory.domains["example.test"]).clone();
    let routed = DomainFacts { domain: "routed.test".into(), route: "lmtp:127.0.0.1:24".into(), ..facts };
    directory.domains.insert("routed.test".into(), Arc::new(routed));
    let settings = Settings {
        default_route: Route::parse("smtp:127.0.0.1:25").unwrap(),
        outbound_route: Route::parse("smtp:127.0.0.1:26").unwrap(),
        ..settings
    };
    Deliver::new(relay.clone(), Arc::new(directory), Arc::new(NoDns), shared.clone(), settings)
}

fn mail(direction: Direction, to: &[&str]) -> Mail {
    let recipient = |a: &&str| Recipient { address: (*a).into(), ..Recipient::default() };
    Mail {
        id: "M".into(),
        trace: "T".into(),
        tenant: "isp/msp/example.test".into(),
        direction: direction as i32,
        mail_from: "a@out.test".into(),
        recipients: to.iter().map(recipient).collect(),
        raw: "From: a@out.test\r\n\r\nx\r\n".into(),
        received_ms: now_ms(),
        ..Mail::default()
    }
}

fn on(step: &Step, port: &'static str) -> Vec<Mail> {
    let pick = |(p, r): &(Port, Record)| match r {
        Record::Mail(mail) if *p == Port::Divert(port) => Some((**mail).clone()),
        _ => None,
    };
    step.out.iter().filter_map(pick).collect()
}

fn tables(step: &Step) -> Vec<&'static str> {
    let table = |w: &Write| match w {
        Write::Put(row) => row.table,
        other => panic!("{other:?}"),
    };
    step.writes.iter().map(table).collect()
}

async fn run(direction: Direction, to: &[&str], settings: Settings) -> (Step, Vec<Job>) {
    let (relay, shared) = (Arc::new(Told::default()), Arc::default());
    let step = stage(&relay, &shared, settings).work(mail(direction, to).into()).await.unwrap();
    let jobs = relay.jobs.lock().clone();
    (step, jobs)
}

#[tokio::test]
async fn mixed_recipients_are_delivered_deferred_and_reported_each_for_itself() {
    let to = ["ok@w.test", "later@w.test", "gone@w.test"];
    let (step, jobs) = run(Direction::Outbound, &to, Settings::default()).await;
    assert_eq!(jobs.len(), 1, "one destination, one job");
    let later = on(&step, "retry-1m");
    assert_eq!(later[0].recipients.len(), 1);
    assert_eq!((later[0].recipients[0].address.as_str(), later[0].attempts), ("later@w.test", 1));
    assert!(later[0].recipients[0].reply.contains("451 4.2.1") && later[0].due_ms > now_ms());
    let reports = on(&step, "outbound");
    assert_eq!(reports.len(), 1);
    let text = String::from_utf8_lossy(&reports[0].raw).into_owned();
    assert!(text.contains("gone@w.test") && !text.contains("later@w.test"), "{text}");
    assert_eq!(tables(&step), ["traces", "traces"]);
}

#[tokio::test]
async fn each_domain_goes_by_its_route() {
    let (_, jobs) =
        run(Direction::Inbound, &["ok@example.test", "ok@routed.test"], Settings::default()).await;
    let mut destinations: Vec<String> = jobs.iter().map(|j| format!("{:?}", j.destination)).collect();
    destinations.sort();
    assert_eq!(destinations, ["Lmtp(127.0.0.1:24)", "Smtp([127.0.0.1:25])"]);
}

#[tokio::test]
async fn a_replay_after_a_death_sends_nothing_twice() {
    let (relay, shared) = (Arc::new(Told::default()), Arc::default());
    let first = stage(&relay, &shared, Settings::default());
    first.work(mail(Direction::Inbound, &["ok@example.test"]).into()).await.unwrap();
    let second = stage(&relay, &shared, Settings::default());
    let step = second.work(mail(Direction::Inbound, &["ok@example.test"]).into()).await.unwrap();
    assert_eq!(relay.jobs.lock().len(), 1);
    assert!(step.out.is_empty());
}

#[tokio::test]
async fn a_refused_mail_whose_sender_is_not_proven_is_dead_not_bounced() {
    let (step, _) = run(Direction::Inbound, &["gone@example.test"], Settings::default()).await;
    assert!(step.out.is_empty());
    assert_eq!(tables(&step), ["traces", "dead"]);
}

#[tokio::test]
async fn a_mail_that_expires_is_reported() {
    let settings = Settings { expire_after: Duration::ZERO, ..Settings::default() };
    let (step, _) = run(Direction::Outbound, &["later@w.test"], settings).await;
    assert_eq!((on(&step, "retry-1m").len(), on(&step, "outbound").len()), (0, 1));
}

#[tokio::test]
async fn a_delay_is_told_once() {
    let settings = || Settings { delay_notice_after: Duration::from_millis(1), ..Settings::default() };
    let (relay, shared) = (Arc::new(Told::default()), Arc::default());
    let mut late = mail(Direction::Outbound, &["later@w.test"]);
    late.received_ms -= 1_000;
    let step = stage(&relay, &shared, settings()).work(late.into()).await.unwrap();
    assert_eq!(on(&step, "outbound").len(), 1);
    let again = on(&step, "retry-1m").remove(0);
    let step = stage(&relay, &shared, settings()).work(again.into()).await.unwrap();
    assert_eq!((on(&step, "outbound").len(), on(&step, "retry-5m").len()), (0, 1));
}

#[tokio::test]
async fn our_own_reports_are_not_reported_on() {
    let (step, _) = run(Direction::Own, &["gone@w.test"], Settings::default()).await;
    assert!(step.out.is_empty());
    assert_eq!(tables(&step), ["traces"]);
}

#[tokio::test]
async fn a_dead_row_of_deliver_holds_the_mail_with_the_failed_recipients_only() {
    let (step, _) =
        run(Direction::Inbound, &["ok@example.test", "gone@example.test"], Settings::default()).await;
    let Some(Write::Put(row)) = step.writes.iter().find(|w| matches!(w, Write::Put(r) if r.table == "dead"))
    else {
        panic!()
    };
    let row = tidegate_schemas::rows::DeadRow::from_value(&row.value).unwrap();
    let octets: Vec<u8> = (0..row.record.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&row.record[i..i + 2], 16).unwrap())
        .collect();
    let Record::Mail(mail) = Record::decode(&octets.into()).unwrap() else { panic!() };
    assert_eq!(mail.recipients.len(), 1);
    assert_eq!((mail.recipients[0].address.as_str(), row.topic.as_str()), ("gone@example.test", "outbound"));
}
