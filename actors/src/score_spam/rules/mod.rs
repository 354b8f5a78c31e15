//! Rules: each looks at one thing of a message and adds one piece of evidence, or none.
//!
//! All of them stand in [`TABLE`], with weight and meaning. Weights are modest: one oddity is no spam. Rules
//! belong to groups with a cap, since ten small oddities of one kind have one cause; what goes over the cap
//! is shown with what was left of it. Rules read the parsed view and the mail's authentication results and
//! nothing else: no clock, no store, no network, so a replay judges the same.

pub(crate) mod auth;
mod body;
mod header;
mod link;
pub(crate) mod names;

use super::parsed::{Parsed, Part};
use tidegate_schemas::{Evidence, Mail};

/// What a rule looks at.
pub(crate) struct View<'v> {
    pub(crate) mail: &'v Mail,
    pub(crate) parsed: &'v Parsed<'v>,
    pub(crate) parts: &'v [Part<'v>],
    /// The beginning of the visible text in lower case.
    pub(crate) lower: String,
}

/// Octets of text that phrases are looked for in.
const MAX_PHRASES: usize = 16 * 1024;

impl<'v> View<'v> {
    pub(crate) fn new(mail: &'v Mail, parsed: &'v Parsed<'v>, parts: &'v [Part<'v>]) -> View<'v> {
        let lower = super::links::cut(&parsed.text, MAX_PHRASES).to_lowercase();
        View { mail, parsed, parts, lower }
    }
}

/// Rules of one cause, which together weigh no more than its cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Header fields.
    Header,
    /// MIME structure and charsets.
    Mime,
    /// What HTML does.
    Html,
    /// Where links lead.
    Link,
    /// What the text says.
    Text,
    /// Combinations of authentication results.
    Auth,
    /// The test message; no cap.
    Test,
}

impl Group {
    /// Points that the rules of the group add at most.
    pub fn cap(self) -> f32 {
        match self {
            Group::Header => 4.0,
            Group::Mime => 3.0,
            Group::Html => 3.5,
            Group::Link => 5.0,
            Group::Text => 3.0,
            Group::Auth => 3.5,
            Group::Test => f32::MAX,
        }
    }
}

/// One rule.
pub struct Rule {
    /// Code of its evidence.
    pub code: &'static str,
    /// Points; negative speaks for the mail.
    pub weight: f32,
    /// Its group.
    pub group: Group,
    /// What it looks for, for people.
    pub about: &'static str,
    /// Why it hits, or `None`.
    test: fn(&View<'_>) -> Option<String>,
}

const fn rule(
    code: &'static str,
    weight: f32,
    group: Group,
    about: &'static str,
    test: fn(&View<'_>) -> Option<String>,
) -> Rule {
    Rule { code, weight, group, about, test }
}

/// All rules, in the order in which they use up their group's cap: the telling ones first.
#[rustfmt::skip]
pub static TABLE: &[Rule] = &[
    rule("GTUBE", 1000.0, Group::Test, "the test string that every filter must hold", body::gtube),

    rule("DISPLAY_NAME_ADDRESS", 2.5, Group::Header, "the display name shows an address of another domain", header::display_name_address),
    rule("MULTIPLE_FROM", 2.0, Group::Header, "more than one From field", header::multiple_from),
    rule("MISSING_FROM", 2.0, Group::Header, "no From field, or none that can be read", header::missing_from),
    rule("FROM_IS_RECIPIENT", 1.5, Group::Header, "claims to come from the recipient, without proof", header::from_is_recipient),
    rule("REPLY_TO_FREEMAIL", 1.5, Group::Header, "replies go to a free mail address, the sender is none", header::reply_to_freemail),
    rule("HEADER_MIXED_SCRIPT", 2.0, Group::Header, "a word of Subject or display name mixes look-alike alphabets", header::mixed_script),
    rule("BRAND_CLAIMED", 2.5, Group::Header, "the display name is a brand, the domain is not the brand's", header::brand),
    rule("HEADER_FANCY_LETTERS", 1.5, Group::Header, "ornamental letters in Subject or display name", header::fancy),
    rule("FROM_RANDOM", 1.5, Group::Header, "the From domain looks drawn by lot", header::from_random),
    rule("FROM_PROJECT_DOMAIN", 1.5, Group::Header, "sent from a project name of a hosting service", header::from_project),
    rule("FROM_ODD", 1.0, Group::Header, "the From address could not be answered", header::from_odd),
    rule("SUBJECT_NAMES_RECIPIENT", 1.0, Group::Header, "Subject has the recipient's address", header::subject_names_recipient),
    rule("FROM_CHEAP_TLD", 0.7, Group::Header, "sent from a top-level domain that is given away", header::from_cheap_tld),
    rule("SUBJECT_FAKE_REPLY", 0.5, Group::Header, "claims to be an answer and answers nothing", header::fake_reply),
    rule("SUBJECT_ALARM", 0.5, Group::Header, "alarm or prize signs in Subject", header::subject_alarm),
    rule("DATE_FUTURE", 1.5, Group::Header, "Date is more than a day ahead of the first hop", header::date_future),
    rule("DATE_PAST", 0.8, Group::Header, "Date is more than ten days behind the first hop", header::date_past),
    rule("DATE_UNREADABLE", 0.8, Group::Header, "Date cannot be read", header::date_unreadable),
    rule("MISSING_DATE", 1.0, Group::Header, "no Date field", header::missing_date),
    rule("MISSING_MESSAGE_ID", 0.8, Group::Header, "no Message-ID field", header::missing_message_id),
    rule("MESSAGE_ID_ODD", 0.8, Group::Header, "Message-ID is not of the form <left@right>", header::message_id_odd),
    rule("SUBJECT_CAPS", 1.0, Group::Header, "Subject is all capitals", header::subject_caps),
    rule("SUBJECT_EXCITED", 0.8, Group::Header, "Subject shouts with repeated signs", header::subject_excited),
    rule("SUBJECT_TAIL", 0.8, Group::Header, "Subject ends in a gap and a serial number", header::subject_tail),
    rule("MISSING_SUBJECT", 0.5, Group::Header, "no Subject, or an empty one", header::missing_subject),
    rule("MISSING_TO", 0.5, Group::Header, "neither To nor Cc", header::missing_to),
    rule("HEADER_8BIT", 0.5, Group::Header, "raw 8-bit octets in Subject or From without SMTPUTF8", header::raw_8bit),
    rule("SINGLE_HOP", 0.3, Group::Header, "no Received field: handed in by the writing program itself", header::single_hop),
    rule("FORGED_TIDEGATE", 0.5, Group::Header, "came with verdict fields in our name, which were removed", header::forged_tidegate),

    rule("MIME_MANY_PARTS", 3.0, Group::Mime, "more parts than are looked at", body::many_parts),
    rule("MIME_TOO_DEEP", 2.0, Group::Mime, "messages in messages, deeper than is looked at", body::too_deep),
    rule("MIME_INVISIBLE", 1.5, Group::Mime, "words broken by invisible characters", body::invisible),
    rule("MIME_BASE64_TEXT", 0.8, Group::Mime, "plain ASCII text hidden in base64", body::base64_text),
    rule("MIME_CHARSET_UNKNOWN", 0.7, Group::Mime, "a charset that does not exist", body::charset_unknown),
    rule("MIME_DEFECT", 0.5, Group::Mime, "a part does not decode cleanly", body::defect),
    rule("MIME_NO_VERSION", 0.5, Group::Mime, "MIME parts without MIME-Version", body::no_version),
    rule("MIME_EMPTY", 0.8, Group::Mime, "nothing to read and nothing attached", body::empty),
    rule("MIME_HTML_ONLY", 0.2, Group::Mime, "HTML without a text alternative", body::html_only),

    rule("HTML_PASSWORD", 2.5, Group::Html, "asks for a password inside the mail", body::password),
    rule("HTML_ONLY_PICTURE", 1.5, Group::Html, "a linked picture and next to no text", body::only_picture),
    rule("HTML_BROKEN_WORDS", 1.5, Group::Html, "words broken by comments", body::broken_words),
    rule("HTML_REFRESH", 1.5, Group::Html, "sends the reader on by itself", body::refresh),
    rule("HTML_HIDDEN_TEXT", 1.0, Group::Html, "much text that is not shown", body::hidden_text),
    rule("HTML_TINY_TEXT", 1.0, Group::Html, "text too small to read", body::tiny_text),
    rule("HTML_FORM", 1.0, Group::Html, "a form inside the mail", body::form),
    rule("HTML_SCRIPT", 1.0, Group::Html, "scripts inside the mail", body::script),
    rule("HTML_FRAME", 1.0, Group::Html, "embeds other pages or programs", body::frame),

    rule("LINK_HOMOGRAPH", 3.0, Group::Link, "a host in look-alike letters", link::homograph),
    rule("LINK_USERINFO", 2.5, Group::Link, "a user name before the host, which looks like the host", link::userinfo),
    rule("LINK_HOST_POSES", 2.0, Group::Link, "a foreign domain's name in front of the real one", link::poses),
    rule("LINK_SCRIPT", 2.0, Group::Link, "a link that runs a script or carries a page", link::script),
    rule("LINK_TEXT_DIFFERS", 1.5, Group::Link, "the text shows one site and the link leads to another", link::text_differs),
    rule("LINK_IP", 1.5, Group::Link, "a link to a bare IP address", link::ip),
    rule("LINK_CARRIES_ADDRESS", 1.5, Group::Link, "a link carries the recipient's address to a foreign page", link::carries_address),
    rule("LINK_FREE_HOSTING", 1.0, Group::Link, "a link to a page that anybody can put up in a minute", link::free_hosting),
    rule("LINK_PUNYCODE", 0.7, Group::Link, "a link to an internationalised host", link::punycode),
    rule("LINK_SHORTENER", 0.8, Group::Link, "a link through a shortener", link::shortener),
    rule("LINK_PORT", 0.7, Group::Link, "a link to an odd port", link::port),
    rule("LINK_CHEAP_TLD", 0.7, Group::Link, "a link to a top-level domain that is given away", link::cheap_tld),
    rule("LINK_DEEP_HOST", 0.5, Group::Link, "a host of many labels", link::deep_host),
    rule("LINK_MANY", 0.5, Group::Link, "very many links", link::many),

    rule("TEXT_EXTORTION", 2.0, Group::Text, "a coin address and a threat", body::extortion),
    rule("TEXT_ADVANCE_FEE", 1.5, Group::Text, "a fortune for help", body::advance_fee),
    rule("TEXT_PRIZE", 1.0, Group::Text, "a prize or gift nobody asked for", body::prize),
    rule("TEXT_ACCOUNT_THREAT", 1.0, Group::Text, "an account in danger, act now", body::account_threat),

    rule("AUTH_FREEMAIL_FORGED", 2.5, Group::Auth, "claims a free mail address that its provider did not send", auth::freemail_forged),
    rule("AUTH_NOTHING", 1.0, Group::Auth, "no SPF, no DKIM and no name for the client", auth::nothing),
    rule("AUTH_ALIGNED", -0.5, Group::Auth, "the From domain vouches for the mail", auth::aligned),
    rule("AUTH_POLITE_BULK", -0.3, Group::Auth, "signed bulk mail with one-click unsubscribe", auth::polite_bulk),
];

/// Evidence of all rules that hit.
pub(crate) fn run(view: &View<'_>) -> Vec<Evidence> {
    let mut spent: Vec<(Group, f32)> = Vec::new();
    let mut out = Vec::new();
    for rule in TABLE {
        let Some(why) = (rule.test)(view) else { continue };
        out.push(Evidence { code: rule.code.to_owned(), weight: within_cap(rule, &mut spent), why });
    }
    out
}

fn within_cap(rule: &Rule, spent: &mut Vec<(Group, f32)>) -> f32 {
    if rule.weight <= 0.0 {
        return rule.weight;
    }
    let at = spent.iter().position(|(group, _)| *group == rule.group).unwrap_or_else(|| {
        spent.push((rule.group, 0.0));
        spent.len() - 1
    });
    let Some((group, sum)) = spent.get_mut(at) else { return rule.weight };
    let weight = rule.weight.min(group.cap() - *sum);
    *sum += weight;
    weight
}

#[cfg(test)]
mod tests;
