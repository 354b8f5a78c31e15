//! What each finding weighs, in one table.

use tidegate_schemas::Mail;

/// Code, weight.
const WEIGHTS: &[(&str, f32)] = &[
    ("SPF_PASS", -0.2),
    ("SPF_FAIL", 2.5),
    ("SPF_SOFTFAIL", 1.0),
    ("SPF_NEUTRAL", 0.2),
    ("SPF_NONE", 0.2),
    ("SPF_TEMPERROR", 0.0),
    ("SPF_PERMERROR", 0.5),
    ("DKIM_PASS", -0.3),
    ("DKIM_FAIL", 0.8),
    ("DKIM_TEMPERROR", 0.0),
    ("DKIM_PERMERROR", 0.3),
    ("DKIM_POLICY", 0.3),
    ("DKIM_NEUTRAL", 0.3),
    ("DMARC_PASS", -0.5),
    ("DMARC_FAIL", 0.8),
    ("DMARC_QUARANTINE", 5.0),
    ("DMARC_REJECT", 8.0),
    ("DMARC_TEMPERROR", 0.0),
    ("DMARC_PERMERROR", 0.3),
    ("ARC_PASS", -0.1),
    ("ARC_FAIL", 0.5),
    ("ARC_TEMPERROR", 0.0),
    ("ARC_OVERRIDE", 0.0),
    ("IPREV_PASS", 0.0),
    ("IPREV_NONE", 1.0),
    ("IPREV_FAIL", 0.8),
    ("IPREV_TEMPERROR", 0.0),
    ("IPREV_DYNAMIC", 1.0),
    // Weighed by score_spam's rule of the header; here it says why several policies were asked.
    ("FROM_SEVERAL", 0.0),
    ("LISTS_TEMPERROR", 0.0),
    ("UNPARSABLE", 0.5),
];

/// Adds a finding with the weight of the table.
pub(super) fn add(mail: &mut Mail, code: &str, why: impl Into<String>) {
    let weight = WEIGHTS.iter().find(|(name, _)| *name == code).map_or(0.0, |(_, weight)| *weight);
    mail.add(code, weight, why);
}
