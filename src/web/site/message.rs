//! Short pages: not found, damaged, saved, refused, not now. None of them has a link to a target, save
//! "saved", whose button is the same POST as on the warning page.

use super::{Opened, Site};
use serde_json::json;
use tidegate_schemas::Policy;
use warp::http::StatusCode;
use warp::reply::Response;

impl Site {
    fn message(&self, status: StatusCode, title: &str, lines: &[&str]) -> Response {
        let data = json!({ "title": title, "lines": lines });
        self.pages.page(status, "message", &self.settings.policy, &data, false)
    }

    pub(super) fn not_found(&self) -> Response {
        self.counters.refused("not found");
        let lines = [
            "There is no page here. If you followed a link from a mail, it may have been cut short: copy it \
                      again, from start to end.",
        ];
        self.message(StatusCode::NOT_FOUND, "Nothing here", &lines)
    }

    /// A link that cannot be read: the warning page without any target.
    pub(super) fn damaged(&self, status: StatusCode) -> Response {
        let lines = [
            "The link was changed or cut on its way, or it was not made by this gateway. It leads nowhere, and that \
             is on purpose: where it was meant to lead cannot be told for certain.",
            "If you expected it, open the original mail and follow the link there. If not, delete the mail.",
        ];
        self.message(status, "Careful: this link cannot be read", &lines)
    }

    pub(super) fn foreign_form(&self) -> Response {
        let lines =
            ["That did not come from the page of this link, so nothing was done. Please open the link from \
                      your mail again and use the buttons there."];
        self.message(StatusCode::FORBIDDEN, "Not done", &lines)
    }

    pub(super) fn not_a_person(&self) -> Response {
        let lines = [
            "Personal lists can only be changed in a browser, by the person the mail was sent to. Nothing was \
                      changed.",
        ];
        self.message(StatusCode::FORBIDDEN, "Not done", &lines)
    }

    pub(super) fn too_many(&self) -> Response {
        let lines =
            ["Too many requests came from your address within a minute. Please wait a little and try again."];
        self.message(StatusCode::TOO_MANY_REQUESTS, "One moment", &lines)
    }

    pub(super) fn list_full(&self) -> Response {
        let lines = ["Your personal list has no room for more entries. Your administrator can tidy it."];
        self.message(StatusCode::CONFLICT, "Your list is full", &lines)
    }

    pub(super) fn unavailable(&self) -> Response {
        let lines = [
            "What you asked for could not be kept just now, so it was not done. Please try again in a minute.",
        ];
        self.message(StatusCode::SERVICE_UNAVAILABLE, "Not now", &lines)
    }

    /// To a browser that loads ahead: not now, ask again on a click.
    pub(super) fn not_now(&self) -> Response {
        self.counters.refused("prefetch");
        self.message(StatusCode::SERVICE_UNAVAILABLE, "Not now", &["Links are opened on a click only."])
    }

    /// After "trust" and "block".
    pub(super) fn saved_page(&self, opened: &Opened, policy: &Policy, entry: &str, allow: bool) -> Response {
        let data = json!({
            "target": opened.target.shown(),
            "allow": allow,
            "below": entry.starts_with('.'),
            "site": entry.trim_start_matches('.'),
            "go": { "action": opened.action("go"), "proof": self.proof(&[&opened.token, "go"]) },
        });
        self.pages.page(StatusCode::OK, "saved", policy, &data, allow)
    }

    /// The page for a request that no route took.
    pub(super) fn rejected(&self, rejection: &warp::Rejection) -> Response {
        use warp::reject::{InvalidHeader, LengthRequired, MethodNotAllowed, MissingHeader, PayloadTooLarge};
        if rejection.is_not_found() {
            return self.not_found();
        }
        self.counters.refused("bad request");
        let wrong_form =
            rejection.find::<InvalidHeader>().is_some() || rejection.find::<MissingHeader>().is_some();
        let (status, line) = if rejection.find::<PayloadTooLarge>().is_some() {
            (StatusCode::PAYLOAD_TOO_LARGE, "That was too long.")
        } else if rejection.find::<LengthRequired>().is_some() {
            (StatusCode::LENGTH_REQUIRED, "The request did not say how long it is.")
        } else if wrong_form {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "That is not a form of this site.")
        } else if rejection.find::<MethodNotAllowed>().is_some() {
            (StatusCode::METHOD_NOT_ALLOWED, "This page cannot be used that way.")
        } else {
            (StatusCode::BAD_REQUEST, "The request could not be read.")
        };
        self.message(status, "Not done", &[line])
    }
}
