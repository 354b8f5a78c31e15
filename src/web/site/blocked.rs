//! The blocked page: whose list it is, and whom to ask. "Go on" only past the tenant's own lists, by policy.

use super::act::{list_value, may_override};
use super::decide::Findings;
use super::warning::when_of;
use super::{Opened, Site};
use serde_json::json;
use tidegate_schemas::Policy;
use warp::http::StatusCode;
use warp::reply::Response;

impl Site {
    /// The page, 403.
    pub(super) fn blocked_page(&self, opened: &Opened, found: &Findings, policy: &Policy) -> Response {
        let overridable = may_override(found, policy) && !found.unchecked;
        let own =
            found.dangerous.is_none() && found.listed.as_ref().is_some_and(|l| !l.allow && l.level == "user");
        let proof = |action: &str| self.proof(&[&opened.token, action]);
        let data = json!({
            "target": opened.target.shown(),
            "when": when_of(&opened.link.mail),
            "mail": opened.link.mail,
            "why": why(found),
            "overridable": overridable,
            "own": own && !found.unchecked && !found.outside,
            "site": list_value(opened).trim_start_matches('.'),
            "go": { "action": opened.action("go"), "proof": proof("go") },
            "trust": { "action": opened.action("trust"), "proof": proof("trust") },
            "report": { "action": opened.action("report"), "proof": proof("report") },
        });
        self.pages.page(StatusCode::FORBIDDEN, "blocked", policy, &data, overridable)
    }
}

fn why(found: &Findings) -> &'static str {
    let level = found.listed.as_ref().filter(|l| !l.allow).map_or("", |l| l.level);
    match level {
        "user" => "You blocked this site yourself.",
        "domain" => "Your organisation blocks this site.",
        "provider" => "Your mail provider blocks this site.",
        "operator" => "The operator of this mail gateway blocks this site.",
        _ => "This site is known to be dangerous: it steals passwords, spreads malware, or defrauds people.",
    }
}
