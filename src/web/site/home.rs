//! The start page: what this place is, where a link leads (decoded here, nothing is opened), how to report.

use super::{Form, Site};
use serde_json::json;
use tidegate_schemas::link::token_of;
use warp::http::StatusCode;
use warp::reply::Response;

impl Site {
    /// The page; `answer` is what a pasted link was found to be.
    pub(super) fn home(&self, answer: &serde_json::Value) -> Response {
        let data = json!({ "answer": answer });
        self.pages.page(StatusCode::OK, "home", &self.settings.policy, &data, false)
    }

    /// POST of the start page's form. Reads the token and nothing else: no list, no signal, no look at the target.
    pub(super) fn decode(&self, form: &Form) -> Response {
        let token = token_of(form.get("link").trim());
        let opened = token.and_then(|token| self.opened(token).ok());
        let Some(opened) = opened else {
            return self.home(&json!({ "problem": true, "target": null, "when": null }));
        };
        let when = super::warning::when_of(&opened.link.mail);
        self.home(&json!({ "problem": false, "target": opened.target.shown(), "when": when }))
    }
}
