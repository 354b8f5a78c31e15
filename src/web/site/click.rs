//! GET and HEAD of `/u/TOKEN`: decide, keep the click, then redirect or show.
//!
//! The hot path (allowed, good, learned, silent) builds no page: token, cached answers, one durable signal,
//! five header fields.

use super::caller::Caller;
use super::decide::{Answer, decide};
use super::respond::redirect;
use super::{Opened, Site};
use tidegate_schemas::SignalKind;
use warp::http::StatusCode;
use warp::reply::Response;

impl Site {
    /// Opens a link: `TOKEN` or `TOKEN/shown.host`.
    pub(super) async fn open(&self, tail: &str, caller: &Caller) -> Response {
        let token = tail.split('/').next().unwrap_or_default();
        if caller.prefetch {
            // Nothing was asked for by a person yet; with 503 browsers forget it and ask again on a click.
            return self.not_now();
        }
        let opened = match self.opened(token) {
            Ok(opened) => opened,
            Err(page) => return *page,
        };
        let (found, policy) = self.find_out(&opened, caller).await;
        let (answer, step) = decide(&found);
        let client = if found.outside { outside(caller.client) } else { caller.client };
        let decision = match answer {
            Answer::Redirect => "redirected",
            Answer::Warn => "warned",
            Answer::Block => "blocked",
        };
        let mut click = self.signal(SignalKind::Click, &opened, client);
        click.decision = decision.to_owned();
        click.reason = step.word().to_owned();
        let kept = self.kept(click).await;
        if answer == Answer::Redirect && kept {
            self.counters.click(&opened.link.tenant, decision, client);
            return redirect(StatusCode::FOUND, &opened.target.location);
        }
        if answer == Answer::Block {
            self.counters.click(&opened.link.tenant, decision, client);
            return self.blocked_page(&opened, &found, &policy);
        }
        self.counters.click(&opened.link.tenant, "warned", client);
        self.warning_page(StatusCode::OK, &opened, &found, &policy, kept).await
    }
}

/// A person outside the tenant is still a person, but not one who teaches.
pub(super) fn outside(client: &'static str) -> &'static str {
    if client == "human" { "unknown:outside" } else { client }
}

impl Opened {
    /// Where a button of this link's page leads.
    pub(super) fn action(&self, action: &str) -> String {
        format!("/u/{}/{action}", self.token)
    }
}
