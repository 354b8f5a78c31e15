//! Reporting a link as dangerous: from its warning page, or by pasting it on the report page.
//!
//! A report is the one signal of the site that carries the whole address: whoever reviews it has to see it.

use super::caller::{Caller, Origin};
use super::click::outside;
use super::{Form, Opened, Site};
use serde_json::json;
use tidegate_schemas::SignalKind;
use tidegate_schemas::link::token_of;
use warp::http::StatusCode;
use warp::reply::Response;

/// Characters of a comment that are kept.
const MOST_COMMENT: usize = 2_000;

impl Site {
    /// The page with the form; `problem` says what was wrong with the last try.
    pub(super) fn report_form(&self, problem: &str) -> Response {
        let status = if problem.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        let data = json!({ "problem": problem, "proof": self.proof(&["", "report"]), "most": MOST_COMMENT });
        self.pages.page(status, "report", &self.settings.policy, &data, false)
    }

    /// POST of the report page.
    pub(super) async fn report_any(&self, caller: &Caller, form: &Form) -> Response {
        if let Err(page) = self.admit(caller, form, &["", "report"]) {
            return *page;
        }
        let Some(token) = token_of(form.get("link").trim()) else {
            return self.report_form(
                "That is not a link made by this gateway. Copy the whole link from the mail, with its address of this site.",
            );
        };
        match self.opened(token) {
            Ok(opened) => self.report(&opened, caller, form.get("comment")).await,
            Err(_) => self
                .report_form("That link is damaged or cut short. Please copy it again, from start to end."),
        }
    }

    /// Keeps a report of an opened link.
    pub(super) async fn report(&self, opened: &Opened, caller: &Caller, comment: &str) -> Response {
        let policy = self.tenant_policy(opened).await;
        let client = match (caller.client, caller.origin) {
            // Reports freeze what was learned, so they too count only from inside the tenant.
            ("human", Origin::Same) if policy.is_none() => outside(caller.client),
            ("human", Origin::Same) => "human",
            ("human", _) => "unknown:origin",
            (client, _) => client,
        };
        let mut report = self.signal(SignalKind::Report, opened, client);
        report.decision = "reported".to_owned();
        report.reason = plain(comment);
        report.url.clone_from(&opened.link.url);
        report.ip = caller.ip.map(|ip| ip.to_string()).unwrap_or_default();
        if !self.kept(report).await {
            return self.unavailable();
        }
        self.counters.action(&opened.link.tenant, "report", client);
        let policy = policy.unwrap_or_else(|| self.settings.policy.clone());
        let shown = opened.target.shown();
        self.pages.page(StatusCode::OK, "thanks", &policy, &json!({ "target": shown }), false)
    }
}

/// A comment without control characters (save line ends), cut to length.
fn plain(comment: &str) -> String {
    comment.chars().filter(|c| *c == '\n' || !c.is_control()).take(MOST_COMMENT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_cut_by_characters_and_loses_controls() {
        assert_eq!(plain("a\u{0}b\r\nc\u{1b}[31m"), "ab\nc[31m");
        assert_eq!(plain(&"ü".repeat(3_000)).chars().count(), 2_000);
    }
}
