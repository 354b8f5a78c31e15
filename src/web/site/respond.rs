//! Answers: redirects of five fields, and pages with their protective headers.
//!
//! Pages carry no script and no style of their own; the policy allows our stylesheet and icon, forms to
//! ourselves, and nothing else. Only a page with a "go on" button may lead a form elsewhere, since browsers
//! hold the whole chain of redirects behind a form to `form-action`. Every value is escaped by the templates.

use super::SiteError;
use handlebars::Handlebars;
use serde_json::{Value, json};
use tidegate_schemas::Policy;
use warp::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

const TEMPLATES: &[(&str, &str)] = &[
    ("layout", include_str!("templates/layout.hbs")),
    ("target", include_str!("templates/target.hbs")),
    ("warning", include_str!("templates/warning.hbs")),
    ("blocked", include_str!("templates/blocked.hbs")),
    ("saved", include_str!("templates/saved.hbs")),
    ("report", include_str!("templates/report.hbs")),
    ("thanks", include_str!("templates/thanks.hbs")),
    ("home", include_str!("templates/home.hbs")),
    ("message", include_str!("templates/message.hbs")),
];

const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");
const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

const CLOSED: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";
const LEADING_ON: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self' http: https:; \
                          base-uri 'none'; frame-ancestors 'none'";

/// Sends the caller on; the target learns nothing of where he came from.
pub(super) fn redirect(status: StatusCode, location: &HeaderValue) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(LOCATION, location.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(ROBOTS, HeaderValue::from_static("noindex, nofollow"));
    response
}

/// The templates.
pub(super) struct Pages {
    templates: Handlebars<'static>,
    https_only: bool,
}

impl Pages {
    pub(super) fn new(https_only: bool) -> Result<Pages, SiteError> {
        let mut templates = Handlebars::new();
        // A misspelt name in a template is an error in the tests, not an empty place on a page.
        templates.set_strict_mode(true);
        for (name, text) in TEMPLATES {
            templates.register_template_string(name, text).map_err(Box::new)?;
        }
        Ok(Pages { templates, https_only })
    }

    /// A page in a tenant's dress. `leads_on` is for pages whose form ends at the target.
    pub(super) fn page(
        &self,
        status: StatusCode,
        name: &str,
        policy: &Policy,
        data: &Value,
        leads_on: bool,
    ) -> Response {
        let page = json!({ "name": name, "brand": brand_of(policy), "data": data });
        let (status, text) = match self.templates.render(name, &page) {
            Ok(text) => (status, text),
            Err(error) => {
                tracing::error!(%error, page = name, "a page of the site does not render");
                (StatusCode::INTERNAL_SERVER_ERROR, "This page cannot be shown.".to_owned())
            }
        };
        let mut response = Response::new(text.into());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let csp = if leads_on { LEADING_ON } else { CLOSED };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(csp));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // Not "no-referrer": with that, browsers send "Origin: null" with our own forms.
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        headers.insert(ROBOTS, HeaderValue::from_static("noindex, nofollow"));
        headers.insert(OPENER, HeaderValue::from_static("same-origin"));
        headers.insert(RESOURCE, HeaderValue::from_static("same-origin"));
        if self.https_only {
            headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
        }
        response
    }
}

/// What a page wears.
fn brand_of(policy: &Policy) -> Value {
    let contact = policy.contact.trim();
    let href = if contact.starts_with("https://") || contact.starts_with("http://") {
        contact.to_owned()
    } else if contact.contains('@') && !contact.contains(|c: char| c.is_whitespace() || c == ':') {
        format!("mailto:{contact}")
    } else {
        String::new()
    };
    let colour = policy.colour.strip_prefix('#').filter(|c| super::assets::is_colour(c)).unwrap_or("0b5c8a");
    json!({ "name": policy.brand, "colour": colour, "contact": contact, "href": href })
}
