//! Registered domains of a mail that domain lists are asked about: From, EHLO, and the links of the text parts.

use tidegate_schemas::Mail;

/// Domains asked about at most.
const MOST: usize = 20;
/// Octets of decoded text looked through.
const MOST_TEXT: usize = 256 << 10;

/// The domains, each once, From first.
pub(super) fn of(mail: &Mail, authors: &[String], message: Option<&mail_parser::Message<'_>>) -> Vec<String> {
    let mut all = Vec::new();
    for host in authors.iter().chain([&mail.client.helo]) {
        note(&mut all, host);
    }
    let Some(message) = message else { return all };
    let mut budget = MOST_TEXT;
    for part in &message.parts {
        let (mail_parser::PartType::Text(text) | mail_parser::PartType::Html(text)) = &part.body else {
            continue;
        };
        let mut end = text.len().min(budget);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        links(&mut all, &text[..end]);
        budget -= end;
        if budget == 0 || all.len() >= MOST {
            break;
        }
    }
    all
}

fn links(all: &mut Vec<String>, text: &str) {
    let mut at = 0;
    while let Some(found) = memchr::memmem::find(&text.as_bytes()[at..], b"://") {
        at += found + 3;
        let host = text[at..]
            .split(['/', '?', '#', '"', '\'', '<', '>', ' ', '\r', '\n', '\\', ')'])
            .next()
            .unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default();
        note(all, host);
        if all.len() >= MOST {
            return;
        }
    }
}

fn note(all: &mut Vec<String>, host: &str) {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if host.parse::<std::net::IpAddr>().is_ok() || !host.is_ascii() {
        return;
    }
    let Some(domain) = psl::domain_str(&host) else { return };
    if all.len() < MOST && !all.iter().any(|d| d == domain) {
        all.push(domain.to_owned());
    }
}
