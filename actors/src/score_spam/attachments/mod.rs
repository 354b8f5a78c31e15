//! Attachments: what they are by content, against what they say they are.
//!
//! Names and declared types are claims; the first octets decide. What a tenant's policy forbids is evidence
//! that holds the mail by itself (`ATTACHMENT_FORBIDDEN`), also inside archives and under a false name; the
//! rest are points. All looking is bounded by the budget of [`archive`].

mod archive;
mod magic;

use super::html::{Token, attribute, scan};
use super::links::cut;
use super::parsed::Part;
use archive::{Budget, Inside, look_into_gzip, look_into_zip};
use magic::{Content, content, contradicts, forbidden_name};
use memchr::memmem;
use tidegate_schemas::Evidence;

/// Octets of one attachment that are searched for scripts and macros.
const MAX_SEARCHED: usize = 4 * 1024 * 1024;
/// All attachment points together weigh at most this; what is forbidden stands outside.
const CAP: f32 = 8.0;

/// Judges the attachments of a message. `forbidden`: extensions in lower case, without dot.
pub(crate) fn examine(parts: &[Part<'_>], forbidden: &[String]) -> Vec<Evidence> {
    let mut found = Found { forbidden, evidence: Vec::new(), left: CAP };
    let mut budget = Budget::default();
    for part in parts.iter().filter(|p| is_attachment(p)) {
        found.attachment(part, &mut budget);
    }
    found.evidence
}

/// Named parts, and parts that no client shows in the text.
fn is_attachment(part: &Part<'_>) -> bool {
    part.attached
        || !part.name.is_empty()
        || !(part.kind.starts_with("text/") || part.kind.starts_with("message/"))
}

struct Found<'p> {
    forbidden: &'p [String],
    evidence: Vec<Evidence>,
    left: f32,
}

impl Found<'_> {
    fn add(&mut self, code: &str, weight: f32, why: String) {
        // The same finding in ten attachments is one finding.
        if self.evidence.iter().any(|e| e.code == code) {
            return;
        }
        let weight = weight.min(self.left);
        self.left -= weight;
        self.evidence.push(Evidence { code: code.to_owned(), weight, why });
    }

    fn forbid(&mut self, why: String) {
        if !self.evidence.iter().any(|e| e.code == "ATTACHMENT_FORBIDDEN") {
            self.evidence.push(Evidence { code: "ATTACHMENT_FORBIDDEN".to_owned(), weight: 8.0, why });
        }
    }

    fn is_forbidden(&self, extension: &str) -> bool {
        !extension.is_empty() && self.forbidden.iter().any(|f| f == extension)
    }

    fn attachment(&mut self, part: &Part<'_>, budget: &mut Budget) {
        let name = shown(&part.name);
        let extension = extension(&part.name);
        let kind = content(part.content);
        self.name(&part.name, &name, &extension);
        self.program(kind, &name, &extension);
        if !part.content.is_empty() && !part.defective && contradicts(kind, &extension) {
            self.add("ATTACHMENT_TYPE_MISMATCH", 1.5, format!("{name} is not what its extension says"));
        }
        match kind {
            Content::Zip => {
                let inside = look_into_zip(part.content, budget);
                self.archive(&inside, &name, &extension);
            }
            Content::Gzip => {
                let inner = look_into_gzip(part.content, budget);
                self.program(inner, &format!("content of {name}"), "");
            }
            Content::Compound if has_macros(part.content) => {
                self.add("ATTACHMENT_MACRO", 2.5, format!("{name} has macros"));
            }
            Content::Rtf if finds(part.content, b"\\objdata") || finds(part.content, b"\\objupdate") => {
                self.add(
                    "ATTACHMENT_RTF_OBJECT",
                    3.0,
                    format!("{name} is rich text with an embedded object"),
                );
            }
            Content::Pdf
                if ["/JavaScript", "/Launch", "/JS "].iter().any(|n| finds(part.content, n.as_bytes())) =>
            {
                self.add("ATTACHMENT_PDF_SCRIPT", 2.0, format!("{name} is a PDF that runs something"));
            }
            _ => {}
        }
        let html_name = matches!(extension.as_str(), "html" | "htm" | "shtml" | "xhtml" | "svg");
        if kind == Content::Html || html_name || (part.attached && part.kind == "text/html") {
            self.html(part.content, &name);
        }
    }

    fn name(&mut self, name: &str, shown: &str, extension: &str) {
        if self.is_forbidden(extension) {
            self.forbid(format!("{shown}: files of type .{extension} are not accepted"));
        }
        if let Some(before) = document_before(name, extension)
            && (self.is_forbidden(extension) || is_active(extension))
        {
            self.add(
                "ATTACHMENT_DOUBLE_EXTENSION",
                3.0,
                format!("{shown} poses as .{before} and is .{extension}"),
            );
        }
        if name.contains('\u{202e}') || name.contains("      ") {
            self.add("ATTACHMENT_NAME_TRICK", 3.0, format!("{shown} hides its real extension"));
        }
    }

    fn program(&mut self, kind: Content, name: &str, extension: &str) {
        match forbidden_name(kind) {
            Some(real) if self.is_forbidden(real) && !self.is_forbidden(extension) => {
                self.forbid(format!("{name} is a .{real} by its content, which is not accepted"));
            }
            _ => {}
        }
        if matches!(kind, Content::WindowsProgram | Content::OtherProgram | Content::Shortcut) {
            self.add("ATTACHMENT_EXECUTABLE", 4.0, format!("{name} is a program by its content"));
        }
    }

    fn archive(&mut self, inside: &Inside, name: &str, extension: &str) {
        if inside.has("vbaproject.bin") {
            self.add("ATTACHMENT_MACRO", 2.5, format!("{name} has macros"));
        }
        if inside.encrypted {
            self.add("ARCHIVE_ENCRYPTED", 2.0, format!("{name} is encrypted and could not be looked into"));
        }
        if inside.bomb {
            self.add("ARCHIVE_BOMB", 5.0, format!("{name} would unpack to far more than any honest archive"));
        }
        if inside.too_deep {
            self.add("ARCHIVE_NESTED", 2.0, format!("{name} has archives in archives in archives"));
        }
        if inside.broken {
            self.add("ARCHIVE_BROKEN", 1.0, format!("{name} has no sound directory"));
        }
        let office = inside.has("[content_types].xml");
        if inside.has("meta-inf/manifest.mf") && !office && self.is_forbidden("jar") && extension != "jar" {
            self.forbid(format!("{name} is a .jar by its content, which is not accepted"));
        }
        for entry in &inside.entries {
            let within = format!("{} in {name}", shown(&entry.name));
            let inner = self::extension(&entry.name);
            self.name(&entry.name, &within, &inner);
            self.program(entry.content, &within, &inner);
        }
    }

    fn html(&mut self, octets: &[u8], name: &str) {
        let octets = octets.get(..octets.len().min(MAX_SEARCHED)).unwrap_or_default();
        let text = String::from_utf8_lossy(octets);
        let (mut scripts, mut passwords) = (false, false);
        scan(&text, |token| {
            let Token::Open(tag, attributes) = token else { return };
            scripts |= tag == "script" || attributes.iter().any(|a| is_handler(a.name));
            let kind = attribute(attributes, "type").unwrap_or_default();
            passwords |= tag == "input" && kind.eq_ignore_ascii_case("password");
        });
        if passwords {
            self.add("ATTACHMENT_HTML_LOGIN", 3.5, format!("{name} is a page that asks for a password"));
        } else if scripts {
            self.add("ATTACHMENT_HTML_SCRIPT", 3.0, format!("{name} is a page with a script"));
        } else {
            self.add("ATTACHMENT_HTML", 0.5, format!("{name} is an HTML page"));
        }
    }
}

fn is_handler(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    matches!(
        lower.as_str(),
        "onload" | "onerror" | "onclick" | "onmouseover" | "onfocus" | "onbegin" | "onsubmit"
    )
}

/// A name fit for one line: no control or direction characters, at most 80 octets.
fn shown(name: &str) -> String {
    if name.is_empty() {
        return "an attachment without name".to_owned();
    }
    let clean: String = name.chars().filter(|c| !c.is_control() && *c != '\u{202e}').collect();
    cut(&clean, 80).to_owned()
}

/// The last extension in lower case; Windows ignores dots and spaces at the end, so they are cut.
fn extension(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = name.trim_end_matches(['.', ' ', '\0', '"', '\'']);
    name.rsplit_once('.').map_or(String::new(), |(_, e)| e.trim().to_lowercase())
}

/// The extension before the last when it is one of documents, as in `invoice.pdf.exe`.
fn document_before(name: &str, last: &str) -> Option<String> {
    const DOCUMENTS: &[&str] = &[
        "pdf", "doc", "docx", "xls", "xlsx", "ppt", "pptx", "jpg", "jpeg", "png", "gif", "txt", "rtf", "csv",
        "mp3", "mp4",
    ];
    let stem = name.trim_end_matches(['.', ' ']);
    let stem = stem.get(..stem.len().checked_sub(last.len() + 1)?)?;
    let before = extension(stem);
    DOCUMENTS.contains(&before.as_str()).then_some(before)
}

/// Extensions that run something when opened, whatever the policy says.
fn is_active(extension: &str) -> bool {
    const ACTIVE: &[&str] = &[
        "exe", "com", "scr", "pif", "bat", "cmd", "vbs", "vbe", "js", "jse", "wsf", "wsh", "hta", "cpl",
        "msi", "jar", "lnk", "ps1", "reg", "html", "htm", "svg", "shtml",
    ];
    ACTIVE.contains(&extension)
}

fn finds(octets: &[u8], what: &[u8]) -> bool {
    memmem::find(octets.get(..octets.len().min(MAX_SEARCHED)).unwrap_or_default(), what).is_some()
}

/// Names of the storages that hold macros stand in the compound file's directory, in UTF-16.
fn has_macros(octets: &[u8]) -> bool {
    let wide = |name: &str| -> Vec<u8> { name.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    ["_VBA_PROJECT", "Macros"].iter().any(|name| finds(octets, &wide(name)))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
