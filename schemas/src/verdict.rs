//! Evidence and the one place that sums it.
//!
//! Stages add evidence and never decide; [`decide`] decides and nothing else does. A piece of evidence that
//! forces a verdict by itself (malware, a tenant's own list) says so by its code, in [`FORCED`], so that the
//! rules of precedence can be read in one table.

/// One thing found out about a mail.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize, serde::Deserialize)]
pub struct Evidence {
    /// Stable name in capitals, such as `SPF_FAIL`; what rules, lists and metrics go by.
    #[prost(string, tag = "1")]
    pub code: String,
    /// Points towards spam; negative speaks for the mail.
    #[prost(float, tag = "2")]
    pub weight: f32,
    /// One line for people.
    #[prost(string, tag = "3")]
    pub why: String,
}

/// What is done with a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Verdict {
    /// Deliver as it is.
    Deliver = 0,
    /// Deliver with `X-Tidegate-Spam: yes`.
    Tag = 1,
    /// Keep in quarantine.
    Hold = 2,
    /// Refuse; only ever said during the SMTP dialogue.
    Refuse = 3,
}

impl Verdict {
    /// The word used in JSON, metrics and headers.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Deliver => "deliver",
            Verdict::Tag => "tag",
            Verdict::Hold => "hold",
            Verdict::Refuse => "refuse",
        }
    }
}

/// Codes that decide by themselves, strongest first: the first one found wins over every sum.
pub const FORCED: &[(&str, Verdict)] = &[
    ("MALWARE", Verdict::Hold),
    ("ATTACHMENT_FORBIDDEN", Verdict::Hold),
    ("LIST_BLOCK", Verdict::Hold),
    ("LIST_ALLOW", Verdict::Deliver),
    ("DMARC_REJECT", Verdict::Hold),
];

/// Score from which a mail is tagged or held; points, inclusive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Tag from here.
    pub tag: f32,
    /// Hold from here.
    pub hold: f32,
}

/// Sums evidence: `(verdict, score)`.
///
/// ```
/// use tidegate_schemas::verdict::{decide, Evidence, Thresholds, Verdict};
/// let spam = [Evidence { code: "SPF_FAIL".into(), weight: 7.0, why: String::new() }];
/// assert_eq!(decide(&spam, Thresholds { tag: 5.0, hold: 10.0 }), (Verdict::Tag, 7.0));
/// ```
pub fn decide(evidence: &[Evidence], thresholds: Thresholds) -> (Verdict, f32) {
    let score: f32 = evidence.iter().map(|e| e.weight).sum();
    for (code, verdict) in FORCED {
        if evidence.iter().any(|e| e.code == *code) {
            return (*verdict, score);
        }
    }
    let verdict = if score >= thresholds.hold {
        Verdict::Hold
    } else if score >= thresholds.tag {
        Verdict::Tag
    } else {
        Verdict::Deliver
    };
    (verdict, score)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(code: &str, weight: f32) -> Evidence {
        Evidence { code: code.into(), weight, why: String::new() }
    }

    const T: Thresholds = Thresholds { tag: 5.0, hold: 10.0 };

    #[test]
    fn the_sum_decides_between_deliver_tag_and_hold() {
        assert_eq!(decide(&[], T).0, Verdict::Deliver);
        assert_eq!(decide(&[evidence("A", 5.0)], T).0, Verdict::Tag);
        assert_eq!(decide(&[evidence("A", 12.0), evidence("B", -2.0)], T), (Verdict::Hold, 10.0));
    }

    #[test]
    fn malware_is_held_though_the_sender_is_on_an_allow_list() {
        let found = [evidence("LIST_ALLOW", 0.0), evidence("MALWARE", 0.0)];
        assert_eq!(decide(&found, T).0, Verdict::Hold);
    }

    #[test]
    fn an_allow_list_wins_over_the_sum() {
        assert_eq!(decide(&[evidence("A", 50.0), evidence("LIST_ALLOW", 0.0)], T).0, Verdict::Deliver);
    }
}
