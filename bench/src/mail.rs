//! The mail of the load: HTML newsletters of a given size and number of links, each with its number, and the
//! check that what arrives is what was sent, links aside.

/// Makes mails.
#[derive(Clone, Debug)]
pub struct Maker {
    body: String,
    /// Envelope sender.
    pub from: String,
    /// Envelope recipient.
    pub to: String,
}

const NUMBER_FIELD: &str = "X-Storm-Number: ";

impl Maker {
    /// Newsletters of about `bytes` octets with `links` links. The text is made of common words so that the
    /// classifier has something to chew on.
    pub fn new(bytes: usize, links: usize, to: &str) -> Maker {
        const WORDS: &[&str] = &[
            "harbour", "season", "kitchen", "garden", "offer", "reader", "weather", "station", "letter",
            "morning", "market", "recipe", "winter", "journey", "member", "library", "concert", "update",
            "evening", "village",
        ];
        let mut body = String::from("<html><head><title>Letter</title></head><body>\r\n");
        let per_block = (bytes.saturating_sub(400) / links.max(1)).max(80);
        for block in 0..links.max(1) {
            let start = body.len();
            if links > 0 {
                let url = format!(
                    "https://news{}.example.net/item/{block}?utm_source=letter&amp;n={block}",
                    block % 7
                );
                body.push_str(&format!("<p><a href=\"{url}\">Read item {block}</a>\r\n"));
            }
            let mut word = block * 7;
            let mut column = 0;
            while body.len() - start + 8 < per_block {
                let next = WORDS[word % WORDS.len()];
                word = word.wrapping_mul(31).wrapping_add(11) % 9_973;
                body.push_str(next);
                column += next.len() + 1;
                let wrap = column > 70;
                body.push_str(if wrap { "\r\n" } else { " " });
                column = if wrap { 0 } else { column };
            }
            body.push_str("</p>\r\n");
        }
        body.push_str("</body></html>\r\n");
        Maker { body, from: "letters@news.example.net".into(), to: to.into() }
    }

    /// The message of a number, CRLF lines, no line that starts with a dot.
    pub fn message(&self, number: usize) -> Vec<u8> {
        let header = format!(
            "From: Letters <letters@news.example.net>\r\nTo: <{}>\r\nSubject: The letter, number {number}\r\n\
             Date: Fri, 27 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{number}@news.example.net>\r\n\
             MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\
             {NUMBER_FIELD}{number}\r\n\r\n",
            self.to
        );
        [header.as_bytes(), self.body.as_bytes()].concat()
    }

    /// What [`inspect`] finds in an undamaged one.
    pub fn checksum(&self) -> u64 {
        checksum(self.body.as_bytes())
    }
}

/// Number and checksum of a message that arrived; no number: not one of ours.
pub fn inspect(message: &[u8]) -> (Option<usize>, u64) {
    let split = find(message, b"\r\n\r\n").unwrap_or(message.len());
    let (header, body) = message.split_at(split);
    let number = find(header, NUMBER_FIELD.as_bytes()).and_then(|at| {
        let digits = &header[at + NUMBER_FIELD.len()..];
        let end = digits.iter().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
        std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
    });
    (number, checksum(body.get(4..).unwrap_or_default()))
}

/// FNV-1a over everything outside of `href="..."`.
fn checksum(body: &[u8]) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    let mut rest = body;
    loop {
        let cut = find(rest, b"href=\"").map_or(rest.len(), |at| at + 6);
        for byte in &rest[..cut] {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        rest = &rest[cut..];
        let Some(end) = rest.iter().position(|b| *b == b'"') else { return sum };
        rest = &rest[end..];
    }
}

/// First place of `needle`.
pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_is_about_as_large_as_asked_and_has_its_links() {
        let message = Maker::new(27_000, 60, "a@example.test").message(7);
        assert!((25_000..29_000).contains(&message.len()), "{}", message.len());
        assert_eq!(String::from_utf8(message).unwrap().matches("href=").count(), 60);
    }

    #[test]
    fn rewritten_links_do_not_change_the_checksum_and_any_other_octet_does() {
        let maker = Maker::new(2_000, 5, "a@example.test");
        let message = String::from_utf8(maker.message(42)).unwrap();
        let rewritten =
            message.replace("https://news1.example.net/item/1", "http://127.0.0.1:8080/u/1.a1.xyz/n");
        assert_eq!(inspect(rewritten.as_bytes()), (Some(42), maker.checksum()));
        let damaged = message.replacen("</p>", "</q>", 1);
        assert_ne!(inspect(damaged.as_bytes()).1, maker.checksum());
    }
}
