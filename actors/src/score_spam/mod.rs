//! Judges a mail: attachments, rules, lists, reputation and the classifier add evidence; one place sums it.
//!
//! Inbound mail gets a verdict. Outbound mail is only looked at for what must not leave (forbidden and
//! malicious attachments) and is never tagged. Released mail and our own notices pass untouched.
//!
//! Invariants: nothing is fetched; the decision is `verdict::decide`'s alone; store or directory away means
//! the same record again later, never a guess; a message that cannot be parsed is judged by what there is;
//! every limit on work (parts, text, links, archives) is a constant beside what it limits. The body is not
//! changed; of the header only fields in our own name are removed, whole, since only we may write them.

mod attachments;
pub mod classifier;
#[cfg(test)]
mod corpora;
mod html;
mod links;
mod page;
mod parsed;
pub mod reputation;
pub mod rules;
mod senders;

use crate::ports::{Directory, StoreError};
use crate::stage::{Stage, Step, Trouble};
use async_trait::async_trait;
use bytes::Bytes;
use classifier::SharedModel;
use parsed::Parsed;
use reputation::Reputation;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tidegate_schemas::link::LinkKeys;
use tidegate_schemas::mail::{Direction, domain_of};
use tidegate_schemas::verdict::{Thresholds, decide};
use tidegate_schemas::{Evidence, Mail, Policy, Record, Verdict};

/// Classifier evidence: points by log-odds, and their bounds. By itself it can tag a mail and not hold it.
const POINTS_PER_LOG_ODD: f32 = 1.0;
const LEAST_POINTS: f32 = -4.0;
const MOST_POINTS: f32 = 7.0;

/// The stage `score_spam`.
pub struct ScoreSpam {
    directory: Arc<dyn Directory>,
    reputation: Arc<Reputation>,
    model: SharedModel,
    keys: Option<Arc<LinkKeys>>,
}

/// What looking at a mail gave, before anything outside was asked.
struct Findings {
    evidence: Vec<Evidence>,
    probability: Option<f32>,
    /// Registered domains of links, in order of appearance.
    domains: Vec<String>,
    /// First From address, lower case.
    from: String,
    /// The From domain vouches for the mail.
    vouched: bool,
}

impl ScoreSpam {
    /// `reputation` and `model` are made once in a process and shared by all generations.
    pub fn new(directory: Arc<dyn Directory>, reputation: Arc<Reputation>, model: SharedModel) -> ScoreSpam {
        ScoreSpam { directory, reputation, model, keys: None }
    }

    /// Also minds the lists of single users, who stand in the store under a pseudonym by these keys.
    pub fn with_keys(mut self, keys: Arc<LinkKeys>) -> ScoreSpam {
        self.keys = Some(keys);
        self
    }

    async fn policy(&self, address: &str) -> Result<Arc<Policy>, StoreError> {
        let facts = self.directory.domain(&domain_of(address)).await?;
        Ok(facts.map_or_else(|| Arc::new(Policy::default()), |f| f.policy.clone()))
    }

    async fn inbound(&self, mut mail: Box<Mail>) -> Result<Step, StoreError> {
        let recipient = mail.recipients.first().map_or("", |r| r.address.as_str());
        let policy = self.policy(recipient).await?;
        let findings = self.examine(&mail, &policy);
        mail.spam_probability = findings.probability.unwrap_or(-1.0);
        let listed =
            senders::weigh(&*self.directory, self.keys.as_deref(), &mail, &findings.from, findings.vouched);
        let listed = listed.await?;
        let only = (!policy.share_learning).then_some(mail.tenant.as_str());
        let reported = self.reputation.weigh(&findings.domains, only).await?;
        mail.evidence.extend(findings.evidence);
        mail.evidence.extend(listed);
        mail.evidence.extend(reported);
        if let Some(raw) = without_ours(&mail.raw) {
            mail.raw = raw;
        }
        let (verdict, score) = decide(&mail.evidence, policy.thresholds());
        Ok(conclude(mail, verdict, score))
    }

    async fn outbound(&self, mut mail: Box<Mail>) -> Result<Step, StoreError> {
        let policy = self.policy(&mail.mail_from).await?;
        let message = parsed::message(&mail.raw);
        let parts = message.as_ref().map(parsed::parts).unwrap_or_default();
        let found = attachments::examine(&parts, &policy.forbidden_extensions);
        drop(parts);
        drop(message);
        mail.evidence.extend(found);
        // No sum holds or tags what a user sends; only what forces a verdict by itself does.
        let never = Thresholds { tag: f32::INFINITY, hold: f32::INFINITY };
        let (verdict, score) = decide(&mail.evidence, never);
        mail.score = score;
        mail.verdict = Some(verdict as i32);
        if verdict == Verdict::Hold {
            mail.hold_reason = hold_reason(&mail).to_owned();
            return Ok(Step::divert("held", *mail));
        }
        Ok(Step::next(*mail))
    }

    /// All that can be said without asking anybody.
    fn examine(&self, mail: &Mail, policy: &Policy) -> Findings {
        let raw = parsed::without_mbox_line(&mail.raw);
        let message = parsed::message(raw);
        let parts = message.as_ref().map(parsed::parts).unwrap_or_default();
        let parsed = Parsed::new(raw, message.as_ref(), &parts);
        let mut evidence = attachments::examine(&parts, &policy.forbidden_extensions);
        if parsed.unparsable || parsed.fields.is_empty() {
            let why = "no header field can be read".to_owned();
            evidence.push(Evidence { code: "UNPARSABLE".to_owned(), weight: 2.0, why });
        }
        let view = rules::View::new(mail, &parsed, &parts);
        evidence.extend(rules::run(&view));
        let judgement = self.model.read().judge(&parsed, &parts);
        evidence.extend(judgement.as_ref().map(classified));
        Findings {
            evidence,
            probability: judgement.map(|j| j.probability),
            domains: domains(&parsed),
            from: parsed.from.first().map_or(String::new(), |(_, address)| address.to_lowercase()),
            vouched: rules::auth::vouches(&view),
        }
    }
}

/// Registered domains of the web links that a person opens, each once.
fn domains(parsed: &Parsed<'_>) -> Vec<String> {
    let mut seen = HashSet::new();
    let targets = parsed.links.iter().filter(|l| l.is_opened()).filter_map(links::Link::web);
    let fresh = targets.filter(|t| !t.domain.is_empty() && seen.insert(t.domain.as_str()));
    fresh.map(|t| t.domain.clone()).take(reputation::MAX_DOMAINS).collect()
}

fn classified(judgement: &classifier::Judgement) -> Evidence {
    let p = judgement.probability.clamp(1e-6, 1.0 - 1e-6);
    let points = POINTS_PER_LOG_ODD * (p / (1.0 - p)).ln();
    let weight = (points.clamp(LEAST_POINTS, MOST_POINTS) * 100.0).round() / 100.0;
    let code = if p >= 0.5 { "CLASSIFIER_SPAM" } else { "CLASSIFIER_HAM" };
    let why = format!("probability {p:.3}; telling: {}", judgement.telling.join(", "));
    Evidence { code: code.to_owned(), weight, why }
}

fn conclude(mut mail: Box<Mail>, verdict: Verdict, score: f32) -> Step {
    mail.score = score;
    mail.verdict = Some(verdict as i32);
    if verdict >= Verdict::Hold {
        mail.hold_reason = hold_reason(&mail).to_owned();
        return Step::divert("held", *mail);
    }
    if verdict == Verdict::Tag {
        mail.prepend_header("X-Tidegate-Spam", "yes");
    }
    mail.prepend_header("X-Tidegate-Verdict", verdict.word());
    // Adding zero turns -0.0 into 0.0.
    mail.prepend_header("X-Tidegate-Score", &format!("{:.1}", (score * 10.0).round() / 10.0 + 0.0));
    Step::next(*mail)
}

fn hold_reason(mail: &Mail) -> &'static str {
    const REASONS: &[(&str, &str)] = &[
        ("MALWARE", "malware"),
        ("ATTACHMENT_FORBIDDEN", "attachment"),
        ("LIST_BLOCK", "list"),
        ("DMARC_REJECT", "dmarc"),
    ];
    REASONS.iter().find(|(code, _)| mail.has(code)).map_or("spam", |(_, reason)| reason)
}

/// Whether a field's name is one that only we may write. `X-Tidegate-Trap` says nothing to anybody but a
/// build made for supervision tests, whose later stages must still see it.
fn is_ours(name: &str) -> bool {
    let ours = name.get(..11).is_some_and(|start| start.eq_ignore_ascii_case("x-tidegate-"));
    ours && !name.eq_ignore_ascii_case("x-tidegate-trap")
}

/// The message without header fields in our name; `None` when it has none.
fn without_ours(raw: &[u8]) -> Option<Bytes> {
    let mut out: Option<Vec<u8>> = None;
    let mut kept_to = 0;
    parsed::each_field(raw, |field| {
        if is_ours(field.name) {
            let out = out.get_or_insert_with(|| Vec::with_capacity(raw.len()));
            out.extend_from_slice(raw.get(kept_to..field.from).unwrap_or_default());
            kept_to = field.to;
        }
        true
    });
    let mut out = out?;
    out.extend_from_slice(raw.get(kept_to..).unwrap_or_default());
    Some(out.into())
}

#[async_trait]
impl Stage for ScoreSpam {
    fn name(&self) -> &'static str {
        "score_spam"
    }

    async fn work(&self, record: Record) -> Result<Step, Trouble> {
        let mail = match record {
            Record::Mail(mail) if mail.released_by.is_empty() => mail,
            other => return Ok(Step::next(other)),
        };
        let step = match mail.direction() {
            Direction::Inbound => self.inbound(mail).await,
            Direction::Outbound => self.outbound(mail).await,
            Direction::Own => return Ok(Step::next(*mail)),
        };
        step.map_err(|e| Trouble::Retry { after: Duration::from_secs(1), why: e.to_string() })
    }
}

#[cfg(test)]
mod tests;
