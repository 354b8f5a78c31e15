//! The tenant tree and the policy that inherits down it.
//!
//! A tenant path is `operator/provider/domain`, for a user `operator/provider/domain/PSEUDONYM`. A policy is
//! written as a patch (a JSON object of some of the fields of [`Policy`]) at any level; [`resolve`] lays the
//! patches over each other from the operator down, so that a domain says only where it differs.

use crate::verdict::Thresholds;
use serde::{Deserialize, Serialize};

/// A place in the tenant tree, as text with `/` between levels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TenantPath(pub String);

impl TenantPath {
    /// The path itself and all above it, from the operator down: `a`, `a/b`, `a/b/c`.
    pub fn levels(&self) -> Vec<&str> {
        let cuts = self.0.match_indices('/').map(|(at, _)| at);
        cuts.chain([self.0.len()]).map(|end| &self.0[..end]).collect()
    }

    /// Name of a level by its depth: what the scope of a list or signal is called.
    pub fn scope_of(path: &str) -> &'static str {
        match path.matches('/').count() {
            0 => "operator",
            1 => "provider",
            2 => "domain",
            _ => "user",
        }
    }
}

/// What the site does with a click on a site that nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Show the warning page.
    #[default]
    Warn,
    /// Show it on a share of clicks ([`Policy::sample_share`]).
    Sample,
    /// Redirect silently.
    Silent,
}

/// The policy in force for one domain, after inheritance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Points from which a mail is tagged.
    pub tag_at: f32,
    /// Points from which a mail is held.
    pub hold_at: f32,
    /// Whether links of inbound mail are rewritten at all.
    pub rewrite: bool,
    /// Whether links in text/plain parts are rewritten too.
    pub rewrite_text: bool,
    /// Whether links in signed (multipart/signed) mail are rewritten, which breaks the signature.
    pub rewrite_signed: bool,
    /// What the site does with unknown sites.
    pub mode: Mode,
    /// Share of clicks on which `sample` shows the page, 0..1.
    pub sample_share: f32,
    /// Base address of the redirect site for this tenant, such as `https://links.example.net`; empty = the process's own.
    pub redirect_base: String,
    /// Name shown on pages and notices.
    pub brand: String,
    /// CSS colour of the brand, `#rrggbb`.
    pub colour: String,
    /// Whom users turn to (mail address or web address).
    pub contact: String,
    /// File extensions that are held, without dot, lower case.
    pub forbidden_extensions: Vec<String>,
    /// Days that clicks are kept.
    pub click_days: u32,
    /// Days that held mail is kept.
    pub held_days: u32,
    /// Whether a user may go on to a site that the tenant's own lists block.
    pub proceed_when_blocked: bool,
    /// Refuse at RCPT time when the client is on at least so many DNS block lists; 0 = never.
    pub refuse_listed_at: u32,
    /// New senders a day from which further ones are held as a burst.
    pub new_sender_burst: u32,
    /// Whether outbound mail of this tenant may teach and be taught by the shared lists.
    pub share_learning: bool,
}

impl Default for Policy {
    fn default() -> Policy {
        let forbidden =
            "exe com scr pif bat cmd vbs vbe js jse wsf wsh hta cpl msi msp jar lnk ps1 reg iso img vhd";
        Policy {
            tag_at: 5.0,
            hold_at: 10.0,
            rewrite: true,
            rewrite_text: false,
            rewrite_signed: false,
            mode: Mode::Warn,
            sample_share: 0.2,
            redirect_base: String::new(),
            brand: "Tidegate".into(),
            colour: "#0b5c8a".into(),
            contact: String::new(),
            forbidden_extensions: forbidden.split(' ').map(str::to_owned).collect(),
            click_days: 90,
            held_days: 30,
            proceed_when_blocked: false,
            refuse_listed_at: 0,
            new_sender_burst: 20,
            share_learning: true,
        }
    }
}

impl Policy {
    /// The two thresholds as the verdict wants them.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds { tag: self.tag_at, hold: self.hold_at }
    }
}

/// A policy patch does not fit [`Policy`]; the text names the field.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("policy of {path}: {why}")]
pub struct PolicyError {
    /// Tenant path whose patch is wrong.
    pub path: String,
    /// What is wrong.
    pub why: String,
}

/// Lays patches over the defaults, in the order given (operator first).
pub fn resolve(patches: &[(String, serde_json::Value)]) -> Result<Policy, PolicyError> {
    let mut merged = serde_json::Map::new();
    let mut policy = Policy::default();
    for (path, patch) in patches {
        let failed = |why: String| PolicyError { path: path.clone(), why };
        let object = patch.as_object().ok_or_else(|| failed("not a table of fields".into()))?;
        merged.extend(object.clone());
        policy = serde_json::from_value(serde_json::Value::Object(merged.clone()))
            .map_err(|e| failed(e.to_string()))?;
    }
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_domain_inherits_from_its_provider_and_says_only_where_it_differs() {
        let patches = [
            ("isp".to_owned(), json!({"tag_at": 4.0, "brand": "ISP"})),
            ("isp/msp".to_owned(), json!({"brand": "MSP"})),
            ("isp/msp/a.test".to_owned(), json!({"mode": "silent"})),
        ];
        let policy = resolve(&patches).unwrap();
        assert_eq!((policy.tag_at, policy.brand.as_str(), policy.mode), (4.0, "MSP", Mode::Silent));
    }

    #[test]
    fn an_unknown_field_is_an_error_that_names_the_tenant_and_the_field() {
        let error = resolve(&[("isp".to_owned(), json!({"tag_att": 4.0}))]).unwrap_err();
        assert_eq!(error.path, "isp");
        assert!(error.why.contains("tag_att"), "{error}");
    }

    #[test]
    fn levels_run_from_the_operator_down() {
        assert_eq!(TenantPath("a/b/c".into()).levels(), ["a", "a/b", "a/b/c"]);
    }
}
