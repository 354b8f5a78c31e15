//! DMARC (RFC 7489): does the From domain stand behind this mail, and what does its owner ask for if not.
//!
//! `pct` is read and not rolled: a policy that holds for a share of mail at random cannot be explained to
//! anybody; the disposition is the policy's own.

use crate::ports::Dns;

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dmarc {
    /// `pass`, `fail`, `none`, `temperror`, `permerror`.
    pub result: &'static str,
    /// Disposition asked for on a fail: `none`, `quarantine`, `reject`.
    pub policy: String,
    /// The From domain.
    pub domain: String,
}

impl Dmarc {
    /// Without an author there is nobody to ask.
    pub(super) fn nothing() -> Dmarc {
        Dmarc { result: "none", policy: String::new(), domain: String::new() }
    }

    /// Orders verdicts of several authors; the worst one counts.
    pub(super) fn badness(&self) -> u8 {
        match (self.result, self.policy.as_str()) {
            ("fail", "reject") => 5,
            ("fail", "quarantine") => 4,
            ("fail", _) => 3,
            ("temperror", _) => 2,
            ("none", _) => 1,
            _ => 0,
        }
    }
}

/// The record that applies to a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    policy: String,
    strict_dkim: bool,
    strict_spf: bool,
}

/// What DNS says of a From domain.
pub(super) enum Found {
    Record(Record),
    Nothing,
    Silent,
}

/// The organisational domain by the public suffix list; the name itself when it is a suffix.
pub(super) fn organisational(domain: &str) -> String {
    let found = psl::domain_str(domain).unwrap_or(domain);
    found.to_lowercase()
}

/// Looks the record up: at the domain, then at its organisational domain (6.6.3).
pub(super) async fn look_up(dns: &dyn Dns, domain: &str) -> Found {
    let organisation = organisational(domain);
    match at(dns, domain).await {
        Ok(Some(tags)) => return read(&tags, false).map_or(Found::Nothing, Found::Record),
        Ok(None) if organisation == domain => return Found::Nothing,
        Ok(None) => {}
        Err(()) => return Found::Silent,
    }
    match at(dns, &organisation).await {
        Ok(Some(tags)) => read(&tags, true).map_or(Found::Nothing, Found::Record),
        Ok(None) => Found::Nothing,
        Err(()) => Found::Silent,
    }
}

async fn at(dns: &dyn Dns, domain: &str) -> Result<Option<String>, ()> {
    let records = dns.txt(&format!("_dmarc.{domain}")).await.map_err(|_| ())?;
    let mut ours = records.into_iter().filter(|r| is_dmarc(r));
    let first = ours.next();
    // Several records are none (6.6.3, step 5).
    Ok(if ours.next().is_some() { None } else { first })
}

fn is_dmarc(record: &str) -> bool {
    let (tag, value) = record.split(';').next().and_then(|t| t.split_once('=')).unwrap_or_default();
    tag.trim().eq_ignore_ascii_case("v") && value.trim() == "DMARC1"
}

fn read(text: &str, of_subdomain: bool) -> Option<Record> {
    let tag = |name: &str| {
        let pairs = text.split(';').filter_map(|t| t.split_once('='));
        pairs
            .map(|(k, v)| (k.trim(), v.trim()))
            .find(|(k, _)| k.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.to_lowercase())
    };
    let known = |p: &String| matches!(p.as_str(), "none" | "quarantine" | "reject");
    let own = tag("p").filter(known);
    let sub = tag("sp").filter(known);
    // A record with reports but no valid policy means p=none (6.6.3, step 6).
    let own = own.or_else(|| tag("rua").map(|_| "none".to_owned()))?;
    let policy = if of_subdomain { sub.unwrap_or(own) } else { own };
    let strict = |name: &str| tag(name).is_some_and(|v| v == "s");
    Some(Record { policy, strict_dkim: strict("adkim"), strict_spf: strict("aspf") })
}

/// What SPF and DKIM found: domains that passed, and domains about which DNS was silent.
#[derive(Default)]
pub(super) struct Proofs<'a> {
    pub(super) spf_pass: Option<&'a str>,
    pub(super) dkim_pass: &'a [String],
    pub(super) spf_unsure: Option<&'a str>,
    pub(super) dkim_unsure: Vec<&'a str>,
}

/// The verdict: one aligned pass is enough. Without one, silence of an aligned domain's DNS leaves it open;
/// silence of any other domain does not, or a forger could buy himself off with a name server that hangs.
pub(super) fn judge(domain: &str, found: Found, proofs: &Proofs<'_>) -> Dmarc {
    let domain = domain.to_lowercase();
    let record = match found {
        Found::Record(record) => record,
        Found::Nothing => return Dmarc { result: "none", policy: String::new(), domain },
        Found::Silent => return Dmarc { result: "temperror", policy: String::new(), domain },
    };
    let aligned = |other: &str, strict: bool| {
        let other = other.to_lowercase();
        other == domain || (!strict && organisational(&other) == organisational(&domain))
    };
    let by_spf = |spf: Option<&str>| spf.is_some_and(|d| aligned(d, record.strict_spf));
    let passes = by_spf(proofs.spf_pass) || proofs.dkim_pass.iter().any(|d| aligned(d, record.strict_dkim));
    let open = by_spf(proofs.spf_unsure) || proofs.dkim_unsure.iter().any(|d| aligned(d, record.strict_dkim));
    let result = match (passes, open) {
        (true, _) => "pass",
        (false, true) => "temperror",
        (false, false) => "fail",
    };
    Dmarc { result, policy: record.policy, domain }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> Found {
        Found::Record(read(text, false).unwrap())
    }

    fn by_dkim(domains: &[String]) -> Proofs<'_> {
        Proofs { dkim_pass: domains, ..Proofs::default() }
    }

    #[test]
    fn one_aligned_pass_is_enough_and_strict_means_the_very_domain() {
        let dkim = ["mail.a.test".to_owned()];
        assert_eq!(judge("a.test", record("v=DMARC1; p=reject"), &by_dkim(&dkim)).result, "pass");
        let strict = judge("a.test", record("v=DMARC1; p=reject; adkim=s"), &by_dkim(&dkim));
        assert_eq!((strict.result, strict.policy.as_str()), ("fail", "reject"));
        let by_spf = |domain| Proofs { spf_pass: Some(domain), ..Proofs::default() };
        assert_eq!(judge("a.test", record("v=DMARC1;p=none"), &by_spf("x.a.test")).result, "pass");
        assert_eq!(judge("a.co.uk", record("v=DMARC1;p=none"), &by_spf("b.co.uk")).result, "fail");
    }

    #[test]
    fn only_the_silence_of_an_aligned_domain_leaves_the_verdict_open() {
        let dkim = |domain| Proofs { dkim_unsure: vec![domain], ..Proofs::default() };
        let spf = |domain| Proofs { spf_unsure: Some(domain), ..Proofs::default() };
        let reject = || record("v=DMARC1; p=reject");
        assert_eq!(judge("a.test", reject(), &dkim("a.test")).result, "temperror");
        assert_eq!(judge("a.test", reject(), &spf("m.a.test")).result, "temperror");
        assert_eq!(judge("a.test", reject(), &dkim("evil.test")).result, "fail");
        assert_eq!(judge("a.test", reject(), &spf("evil.test")).result, "fail");
    }

    #[test]
    fn subdomains_have_their_own_policy_and_bad_records_are_none() {
        assert_eq!(read("v=DMARC1; p=reject; sp=quarantine", true).unwrap().policy, "quarantine");
        assert_eq!(read("v=DMARC1; p=nonsense; rua=mailto:x@y", false).unwrap().policy, "none");
        assert!(read("v=DMARC1; p=nonsense", false).is_none());
        assert!(is_dmarc("v = DMARC1 ; p=none") && !is_dmarc("p=none; v=DMARC1") && !is_dmarc("v=spf1"));
    }
}
