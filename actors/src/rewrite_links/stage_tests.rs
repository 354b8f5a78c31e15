//! The stage by the records it gives on.

use super::*;
use crate::ports::Listed;
use crate::ports::StoreError;
use crate::ports::fakes::FixedDirectory;
use bytes::Bytes;
use tidegate_schemas::{Recipient, Signal};

const RAW: &[u8] = b"Subject: x\r\nContent-Type: text/html\r\n\r\n<a href=\"http://a.test/?b&amp;c\">x</a> <a href=\"data:x\">\r\n";

fn keys() -> Arc<RwLock<Arc<LinkKeys>>> {
    Arc::new(RwLock::new(Arc::new(LinkKeys::generate().unwrap())))
}

fn mail(direction: Direction, recipients: &[&str]) -> Mail {
    let recipients =
        recipients.iter().map(|a| Recipient { address: (*a).to_owned(), ..Recipient::default() });
    Mail {
        id: "ID".into(),
        trace: "TRACE".into(),
        tenant: "isp/msp/b.test".into(),
        direction: direction.into(),
        recipients: recipients.collect(),
        raw: Bytes::from_static(RAW),
        ..Mail::default()
    }
}

async fn work(stage: &RewriteLinks, mail: Mail) -> Vec<Mail> {
    let step = stage.work(mail.into()).await.unwrap();
    assert!(step.writes.is_empty());
    let mails = step.out.into_iter().map(|(port, record)| match record {
        Record::Mail(mail) if port == Port::Next => *mail,
        other => panic!("{port:?} {other:?}"),
    });
    mails.collect()
}

fn stage(keys: &Arc<RwLock<Arc<LinkKeys>>>, policy: Policy) -> RewriteLinks {
    let directory = Arc::new(FixedDirectory::of("b.test", policy));
    RewriteLinks::new(keys.clone(), directory, "https://links.test".into())
}

fn tokens(mail: &Mail) -> Vec<String> {
    let text = String::from_utf8_lossy(&mail.raw).into_owned();
    text.split('"').filter(|part| part.contains("/u/1.")).map(str::to_owned).collect()
}

#[tokio::test]
async fn each_recipient_gets_links_of_their_own() {
    let keys = keys();
    let stage = stage(&keys, Policy::default());
    assert_eq!(stage.name(), "rewrite_links");
    let mails = work(&stage, mail(Direction::Inbound, &["u@b.test", "v@b.test"])).await;
    assert_eq!(mails.len(), 2);
    assert_ne!(mails[0].id, mails[1].id);
    for mail in &mails {
        let address = &mail.recipients[0].address;
        assert_eq!(mail.recipients.len(), 1);
        assert_eq!(mail.added_headers, "X-Tidegate-Links: 1\r\n");
        assert_eq!(mail.links_rewritten, 1);
        assert!(mail.has("LINK_DATA"));
        let tokens = tokens(mail);
        assert!(tokens[0].starts_with("https://links.test/u/1.") && tokens[0].ends_with("/a.test/~a"));
        let link = keys.read().decode(&tokens[0]).unwrap();
        let tenant = "isp/msp/b.test";
        let user = keys.read().pseudonym(tenant, address);
        let url = "http://a.test/?b&c";
        assert_eq!(link, Link { url: url.into(), tenant: tenant.into(), user, mail: "TRACE".into() });
    }
}

#[tokio::test]
async fn one_recipient_keeps_the_record_and_a_tenants_own_site_is_used() {
    let policy = Policy { redirect_base: "https://go.msp.test".into(), ..Policy::default() };
    let mails = work(&stage(&keys(), policy), mail(Direction::Inbound, &["u@B.test"])).await;
    assert_eq!((mails.len(), mails[0].id.as_str()), (1, "ID"));
    assert!(tokens(&mails[0])[0].starts_with("https://go.msp.test/u/1."));
}

#[tokio::test]
async fn without_links_or_by_policy_a_mail_stays_one_and_unchanged() {
    let keys = keys();
    let off = Policy { rewrite: false, ..Policy::default() };
    let asked = mail(Direction::Inbound, &["u@b.test", "v@b.test"]);
    assert_eq!(work(&stage(&keys, off), asked.clone()).await, std::slice::from_ref(&asked));
    let plain = Mail { raw: Bytes::from_static(b"Subject: x\r\n\r\nhttp://a.test/\r\n"), ..asked };
    assert_eq!(work(&stage(&keys, Policy::default()), plain.clone()).await, [plain]);
}

#[tokio::test]
async fn a_reply_to_the_world_carries_the_old_links_again() {
    let keys = keys();
    let stage = stage(&keys, Policy::default());
    let inbound = work(&stage, mail(Direction::Inbound, &["u@b.test"])).await;
    // Links of an old key too.
    let rotated = keys.read().rotated().unwrap();
    *keys.write() = Arc::new(rotated);
    let reply = Mail { raw: inbound[0].raw.clone(), ..mail(Direction::Outbound, &["x@world.test"]) };
    let sent = work(&stage, reply).await;
    assert_eq!(sent[0].raw, RAW);
    let own = Mail { raw: inbound[0].raw.clone(), ..mail(Direction::Own, &["u@b.test"]) };
    assert_eq!(work(&stage, own.clone()).await, [own]);
}

#[tokio::test]
async fn a_released_mail_is_rewritten_like_any_other_and_links_of_ours_are_wrapped_once() {
    let keys = keys();
    let stage = stage(&keys, Policy::default());
    let first = work(&stage, mail(Direction::Inbound, &["u@b.test"])).await.remove(0);
    let mut again = mail(Direction::Inbound, &["v@b.test"]);
    again.released_by = "u@b.test".into();
    again.raw = first.raw.clone();
    let second = work(&stage, again).await.remove(0);
    assert_eq!(second.raw.len(), first.raw.len());
    let link = keys.read().decode(&tokens(&second)[0]).unwrap();
    assert_eq!(link.url, "http://a.test/?b&c");
    assert_eq!(link.user, keys.read().pseudonym("isp/msp/b.test", "v@b.test"));
}

#[tokio::test]
async fn a_domain_that_is_gone_is_still_protected() {
    let mails = work(&stage(&keys(), Policy::default()), mail(Direction::Inbound, &["u@gone.test"])).await;
    assert_eq!(tokens(&mails[0]).len(), 1);
}

struct Away;

#[async_trait]
impl Directory for Away {
    async fn domain(&self, _: &str) -> Result<Option<Arc<DomainFacts>>, StoreError> {
        Err(StoreError("away".into()))
    }
    async fn user_exists(&self, _: &str, _: &str) -> Result<bool, StoreError> {
        Err(StoreError("away".into()))
    }
    async fn login(&self, _: &str, _: &str) -> Result<Option<String>, StoreError> {
        Err(StoreError("away".into()))
    }
    async fn listed(&self, _: &str, _: &str, _: &[String]) -> Result<Option<Listed>, StoreError> {
        Err(StoreError("away".into()))
    }
}

#[tokio::test]
async fn a_store_that_is_away_means_again_later_and_signals_pass() {
    let stage = RewriteLinks::new(keys(), Arc::new(Away), "https://links.test".into());
    let trouble = stage.work(mail(Direction::Inbound, &["u@b.test"]).into()).await.unwrap_err();
    assert!(matches!(trouble, Trouble::Retry { .. }));
    let signal = Record::Signal(Signal::default().into());
    assert_eq!(stage.work(signal).await.unwrap().out.len(), 1);
}

#[test]
fn wrapping_a_link_of_ours_wraps_what_is_inside() {
    let keys = LinkKeys::generate().unwrap();
    let to = Link { url: String::new(), tenant: "t".into(), user: "u".into(), mail: "m".into() };
    let once = wrap(&keys, "https://l.test", &to, "http://a.test/").unwrap();
    assert_eq!(wrap(&keys, "https://l.test", &to, &once).unwrap(), once);
    assert_eq!(wrap(&keys, "https://l.test", &to, "mailto:x@y.test"), None);
}
