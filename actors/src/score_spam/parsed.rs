//! The parsed view of one message, made once and read by attachments, rules and classifier.
//!
//! It borrows the raw octets; decoded parts are those of `mail_parser`, so nothing is decoded twice. Everything
//! has a limit: depth of nested messages, parts, fields, text, links. What is beyond a limit is not looked at;
//! it never fails.

use super::links::{Kind, Link, MAX_LINKS, split_text};
use super::page::{Page, Reader, is_invisible, push_text};
use mail_parser::{Address, Message, MessagePart, MimeHeaders, PartType};

/// Text kept for the classifier and the rules, octets.
pub(crate) const MAX_TEXT: usize = 64 * 1024;
/// Messages inside messages that are read; deeper ones stay as parts of type `message/rfc822`.
const MAX_NESTED: usize = 3;
/// Parts that are read; a message with more is called so by a rule, since the rest goes unseen.
pub(crate) const MAX_PARTS: usize = 1_000;
/// Header fields that are read, and octets of the header block.
const MAX_FIELDS: usize = 400;
const MAX_HEADER: usize = 256 * 1024;

/// One header field as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    /// Name as written, without the colon.
    pub(crate) name: &'a str,
    /// Value with its folds.
    pub(crate) value: &'a [u8],
    /// Where the field begins in the raw octets.
    pub(crate) from: usize,
    /// Where the next one begins.
    pub(crate) to: usize,
}

/// One MIME part that is no multipart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part<'p> {
    /// Declared type in lower case, such as `text/html`; `text/plain` when none was.
    pub(crate) kind: String,
    /// Declared charset in lower case, empty when none was.
    pub(crate) charset: String,
    /// Content-Transfer-Encoding in lower case, empty when none was.
    pub(crate) encoding: String,
    /// File name, decoded, empty when none was given.
    pub(crate) name: String,
    /// Content-Disposition says `attachment`.
    pub(crate) attached: bool,
    /// Decoded octets.
    pub(crate) content: &'p [u8],
    /// The transfer encoding does not decode cleanly.
    pub(crate) defective: bool,
}

/// See the module.
pub(crate) struct Parsed<'a> {
    /// The message as it came.
    pub(crate) raw: &'a [u8],
    /// Fields of the top header, in order.
    pub(crate) fields: Vec<Field<'a>>,
    /// Decoded Subject, empty when there is none.
    pub(crate) subject: String,
    /// Addresses of From: display name and address, decoded.
    pub(crate) from: Vec<(String, String)>,
    /// First address of Reply-To, empty when there is none.
    pub(crate) reply_to: String,
    /// Date in seconds since 1970, when it can be read.
    pub(crate) date: Option<i64>,
    /// Time of the oldest Received field, seconds since 1970.
    pub(crate) first_hop: Option<i64>,
    /// Visible text, with marks for addresses.
    pub(crate) text: String,
    /// Facts of the HTML parts.
    pub(crate) page: Page,
    /// Links of HTML and plain text.
    pub(crate) links: Vec<Link>,
    /// Invisible characters between two letters, in text parts and subject.
    pub(crate) invisible: usize,
    /// No header field could be read at all.
    pub(crate) unparsable: bool,
}

/// The message of `raw`; its parts are walked with [`parts`].
pub(crate) fn message(raw: &[u8]) -> Option<Message<'_>> {
    crate::parse::message(raw)
}

/// The octets without the `From ` line that mailbox files put before a message.
pub(crate) fn without_mbox_line(raw: &[u8]) -> &[u8] {
    if !raw.starts_with(b"From ") {
        return raw;
    }
    let end = memchr::memchr(b'\n', raw).map_or(raw.len(), |at| at + 1);
    raw.get(end..).unwrap_or_default()
}

/// Leaf parts of a message and of messages inside it.
pub(crate) fn parts<'p>(message: &'p Message<'_>) -> Vec<Part<'p>> {
    let mut out = Vec::new();
    collect(message, 0, &mut out);
    out
}

fn collect<'p>(message: &'p Message<'_>, depth: usize, out: &mut Vec<Part<'p>>) {
    for part in &message.parts {
        if out.len() >= MAX_PARTS {
            return;
        }
        match &part.body {
            PartType::Multipart(_) => {}
            PartType::Message(inner) if depth < MAX_NESTED => collect(inner, depth + 1, out),
            _ => out.push(leaf(part)),
        }
    }
}

fn leaf<'p>(part: &'p MessagePart<'_>) -> Part<'p> {
    let declared = part.content_type();
    let kind = declared.map_or_else(
        || "text/plain".to_owned(),
        |c| format!("{}/{}", c.ctype(), c.subtype().unwrap_or_default()).to_ascii_lowercase(),
    );
    let charset = declared.and_then(|c| c.attribute("charset")).unwrap_or_default().to_ascii_lowercase();
    Part {
        kind,
        charset,
        encoding: part.content_transfer_encoding().unwrap_or_default().trim().to_ascii_lowercase(),
        name: part.attachment_name().unwrap_or_default().trim().to_owned(),
        attached: part.content_disposition().is_some_and(|d| d.ctype().eq_ignore_ascii_case("attachment")),
        content: part.contents(),
        defective: part.is_encoding_problem,
    }
}

impl<'a> Parsed<'a> {
    /// Reads text, links and facts; `parts` are those of `message`.
    pub(crate) fn new(raw: &'a [u8], message: Option<&Message<'_>>, parts: &[Part<'_>]) -> Parsed<'a> {
        let mut parsed = Parsed {
            raw,
            fields: fields(raw),
            subject: String::new(),
            from: Vec::new(),
            reply_to: String::new(),
            date: None,
            first_hop: None,
            text: String::new(),
            page: Page::default(),
            links: Vec::new(),
            invisible: 0,
            unparsable: message.is_none(),
        };
        if let Some(message) = message {
            parsed.read_header(message);
        }
        for part in parts {
            parsed.read_part(part);
        }
        parsed.invisible += broken_by_invisible(&parsed.subject);
        parsed
    }

    fn read_header(&mut self, message: &Message<'_>) {
        self.subject = message.subject().unwrap_or_default().trim().to_owned();
        self.from = message.from().map(addresses).unwrap_or_default();
        let reply_to = message.reply_to().map(addresses).unwrap_or_default();
        self.reply_to = reply_to.into_iter().next().map(|(_, address)| address).unwrap_or_default();
        self.date = message.date().filter(|date| date.is_valid()).map(|date| date.to_timestamp());
        let hop = message.received().and_then(|r| r.date);
        self.first_hop = hop.filter(|date| date.is_valid()).map(|date| date.to_timestamp());
    }

    fn read_part(&mut self, part: &Part<'_>) {
        if part.attached || !part.kind.starts_with("text/") {
            return;
        }
        let Ok(text) = std::str::from_utf8(part.content) else { return };
        self.invisible += broken_by_invisible(text);
        if part.kind == "text/html" {
            Reader::new(&mut self.page, &mut self.text, &mut self.links, MAX_TEXT).read(text);
            return;
        }
        if part.kind != "text/plain" && part.kind != "text/" {
            return;
        }
        split_text(text, |_, address| {
            let Some(address) = address else { return };
            if self.links.len() < MAX_LINKS {
                self.links.push(Link::new(Kind::Text, address, None));
            }
        });
        if self.text.len() < MAX_TEXT {
            push_text(&mut self.text, text);
            self.text.push('\n');
        }
    }

    /// Values of all fields of a name, case ignored.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value)
    }

    /// Whether there is a field of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// Domain of the first From address, lower case, empty when there is none.
    pub(crate) fn sender_domain(&self) -> String {
        let address = self.from.first().map_or("", |(_, address)| address);
        address.rsplit_once('@').map_or(String::new(), |(_, domain)| domain.to_ascii_lowercase())
    }
}

/// Invisible characters with a letter on both sides. Soft hyphens and joiners are part of honest writing.
fn broken_by_invisible(text: &str) -> usize {
    // All of them begin with E2 80, E2 81 or EF BB.
    let likely = |start: &[u8]| memchr::memmem::find(text.as_bytes(), start).is_some();
    if !(likely(b"\xe2\x80") || likely(b"\xe2\x81") || likely(b"\xef\xbb")) {
        return 0;
    }
    let mut found = 0;
    let (mut before, mut between) = (false, false);
    for c in text.chars() {
        if is_invisible(c) && !matches!(c, '\u{ad}' | '\u{200c}' | '\u{200d}') {
            between = before;
            continue;
        }
        let letter = c.is_alphabetic();
        found += usize::from(between && letter);
        (before, between) = (letter, false);
    }
    found
}

fn addresses(list: &Address<'_>) -> Vec<(String, String)> {
    let both = |a: &mail_parser::Addr<'_>| {
        let text = |t: &Option<std::borrow::Cow<'_, str>>| t.as_deref().unwrap_or_default().trim().to_owned();
        (text(&a.name), text(&a.address))
    };
    list.iter().take(50).map(both).collect()
}

/// Fields of the top header, up to the limits. Lines that are no field are skipped.
pub(crate) fn fields(raw: &[u8]) -> Vec<Field<'_>> {
    let mut out = Vec::new();
    each_field(raw.get(..raw.len().min(MAX_HEADER)).unwrap_or_default(), |field| {
        out.push(field);
        out.len() < MAX_FIELDS
    });
    out
}

/// Gives each field of the top header until `more` says false.
pub(crate) fn each_field<'a>(raw: &'a [u8], mut more: impl FnMut(Field<'a>) -> bool) {
    let mut from = 0;
    while let Some(to) = field_end(raw, from) {
        let line = raw.get(from..to).unwrap_or_default();
        if matches!(line, b"\n" | b"\r\n") {
            return;
        }
        if let Some(field) = field(line, from, to)
            && !more(field)
        {
            return;
        }
        from = to;
    }
}

/// End of the line at `from` with all its continuation lines.
fn field_end(head: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let rest = head.get(at..)?;
        let Some(length) = memchr::memchr(b'\n', rest) else {
            return (!rest.is_empty()).then_some(head.len());
        };
        at += length + 1;
        let first_is_empty = matches!(head.get(from..at), Some(b"\n" | b"\r\n"));
        if first_is_empty || !matches!(head.get(at), Some(b' ' | b'\t')) {
            return Some(at);
        }
    }
}

fn field(line: &[u8], from: usize, to: usize) -> Option<Field<'_>> {
    let colon = memchr::memchr(b':', line)?;
    let name = line.get(..colon)?.trim_ascii_end();
    let sound = !name.is_empty() && name.iter().all(|b| b.is_ascii_graphic());
    let name = std::str::from_utf8(name).ok().filter(|_| sound)?;
    Some(Field { name, value: line.get(colon + 1..)?, from, to })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<T>(raw: &str, look: impl FnOnce(&Parsed<'_>, &[Part<'_>]) -> T) -> T {
        let message = message(raw.as_bytes());
        let parts = message.as_ref().map(parts).unwrap_or_default();
        look(&Parsed::new(raw.as_bytes(), message.as_ref(), &parts), &parts)
    }

    #[test]
    fn fields_keep_their_folds_and_places() {
        let raw = b"A: 1\r\n  2\r\nnot a field\r\nB : 3\r\n\r\nC: body\r\n";
        let found: Vec<(&str, &[u8])> = fields(raw).iter().map(|f| (f.name, &raw[f.from..f.to])).collect();
        assert_eq!(found, [("A", &b"A: 1\r\n  2\r\n"[..]), ("B", b"B : 3\r\n")]);
    }

    #[test]
    fn text_and_links_come_from_decoded_parts() {
        let raw = "From: =?utf-8?q?B=C3=BCro?= <a@b.test>\r\nSubject: =?utf-8?b?SGFsbG8=?=\r\nMIME-Version: 1.0\r\n\
                   Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
                   gr=C3=BCn http://x.te=\r\nst/a\r\n";
        parse(raw, |parsed, parts| {
            assert_eq!(parsed.subject, "Hallo");
            assert_eq!(parsed.from, [("Büro".to_owned(), "a@b.test".to_owned())]);
            assert_eq!(parsed.links[0].url, "http://x.test/a");
            assert!(parsed.text.starts_with("grün"));
            assert_eq!((parts.len(), parts[0].charset.as_str()), (1, "utf-8"));
        });
    }

    #[test]
    fn a_message_inside_a_message_is_read_too() {
        let raw =
            "From: a@b.test\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nhttp://inner.test/\r\n";
        parse(raw, |parsed, _| assert_eq!(parsed.links[0].web().unwrap().host, "inner.test"));
    }
}
