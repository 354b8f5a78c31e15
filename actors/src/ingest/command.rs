//! Command lines (RFC 5321, 4.1.1, and the extensions).

use super::address::{self, Mailbox, PathError};

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// EHLO or HELO (`false`), with its argument.
    Hello(bool, String),
    /// MAIL FROM.
    Mail(Option<Mailbox>, MailParams),
    /// RCPT TO.
    Rcpt(Mailbox, RcptParams),
    /// DATA.
    Data,
    /// BDAT: octets, last.
    Bdat(usize, bool),
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
    /// VRFY.
    Vrfy,
    /// EXPN.
    Expn,
    /// HELP.
    Help,
    /// STARTTLS.
    StartTls,
    /// AUTH: mechanism in capitals, initial response.
    Auth(String, Option<String>),
    /// XCLIENT or XFORWARD: attributes.
    Xclient(Vec<(String, String)>),
}

/// Parameters of MAIL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MailParams {
    /// SIZE, octets.
    pub size: Option<u64>,
    /// BODY=8BITMIME.
    pub eight_bit: bool,
    /// SMTPUTF8.
    pub smtputf8: bool,
    /// RET.
    pub ret: String,
    /// ENVID as given.
    pub envid: String,
}

/// Parameters of RCPT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RcptParams {
    /// NOTIFY in capitals.
    pub notify: String,
    /// ORCPT as given.
    pub orcpt: String,
}

/// The reply to a line that is no command of ours.
pub(super) type Wrong = &'static str;

const SYNTAX: Wrong = "501 5.5.4 Syntax error in parameters";
const PARAMETER: Wrong = "555 5.5.4 Parameter not recognised";

/// Reads a line without its CRLF.
pub(super) fn parse(line: &str) -> Result<Command, Wrong> {
    let (verb, rest) = match line.split_once(' ') {
        Some((verb, rest)) => (verb, rest),
        None => (line, ""),
    };
    let bare = |command: Command| if rest.trim().is_empty() { Ok(command) } else { Err(SYNTAX) };
    match verb.to_ascii_uppercase().as_str() {
        "EHLO" => hello(true, rest),
        "HELO" => hello(false, rest),
        "MAIL" => mail(rest),
        "RCPT" => rcpt(rest),
        "DATA" => bare(Command::Data),
        "BDAT" => bdat(rest),
        "RSET" => bare(Command::Rset),
        "NOOP" => Ok(Command::Noop),
        "QUIT" => bare(Command::Quit),
        "VRFY" => Ok(Command::Vrfy),
        "EXPN" => Ok(Command::Expn),
        "HELP" => Ok(Command::Help),
        "STARTTLS" => bare(Command::StartTls),
        "AUTH" => auth(rest),
        "XCLIENT" | "XFORWARD" => xclient(rest),
        _ => Err("500 5.5.1 Command not recognised"),
    }
}

fn hello(extended: bool, rest: &str) -> Result<Command, Wrong> {
    let name = rest.trim();
    let fine =
        !name.is_empty() && name.len() <= 255 && name.chars().all(|c| !c.is_control() && !c.is_whitespace());
    if fine { Ok(Command::Hello(extended, name.to_owned())) } else { Err(SYNTAX) }
}

fn after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let head = text.get(..word.len())?;
    head.eq_ignore_ascii_case(word).then(|| text[word.len()..].trim_start())
}

fn mail(rest: &str) -> Result<Command, Wrong> {
    let text = after(rest, "FROM:").ok_or(SYNTAX)?;
    let utf8 = text.rsplit(' ').any(|word| word.eq_ignore_ascii_case("SMTPUTF8"));
    let (sender, params) = address::path(text, utf8).map_err(|e| match e {
        PathError::Syntax => "501 5.1.7 Bad sender address syntax",
        PathError::NeedsUtf8 => "550 5.6.7 Non-ASCII addresses need SMTPUTF8",
    })?;
    if sender.as_ref().is_some_and(|s| s.domain.is_empty()) {
        return Err("501 5.1.7 Bad sender address syntax");
    }
    let mut out = MailParams::default();
    for (key, value) in params_of(params)? {
        match (key.as_str(), value) {
            ("SIZE", Some(v)) => out.size = Some(v.parse().map_err(|_| SYNTAX)?),
            ("BODY", Some(v)) if v.eq_ignore_ascii_case("8BITMIME") => out.eight_bit = true,
            ("BODY", Some(v)) if v.eq_ignore_ascii_case("7BIT") => {}
            ("SMTPUTF8", None) => out.smtputf8 = true,
            ("RET", Some(v)) if v.eq_ignore_ascii_case("FULL") => out.ret = "FULL".into(),
            ("RET", Some(v)) if v.eq_ignore_ascii_case("HDRS") => out.ret = "HDRS".into(),
            ("ENVID", Some(v)) if is_xtext(v) && v.len() <= 100 => out.envid = v.to_owned(),
            // A trusted sender's identity (RFC 4954, 5); nobody here trusts it.
            ("AUTH", Some(_)) => {}
            ("BODY" | "RET" | "ENVID" | "SIZE", _) => return Err(SYNTAX),
            _ => return Err(PARAMETER),
        }
    }
    Ok(Command::Mail(sender, out))
}

fn rcpt(rest: &str) -> Result<Command, Wrong> {
    let text = after(rest, "TO:").ok_or(SYNTAX)?;
    // The transaction says whether SMTPUTF8 was declared; the session checks it.
    let (recipient, params) =
        address::path(text, true).map_err(|_| "501 5.1.3 Bad recipient address syntax")?;
    let recipient = recipient.ok_or("501 5.1.3 Bad recipient address syntax")?;
    let mut out = RcptParams::default();
    for (key, value) in params_of(params)? {
        match (key.as_str(), value) {
            ("NOTIFY", Some(v)) if is_notify(v) => out.notify = v.to_ascii_uppercase(),
            ("ORCPT", Some(v)) if is_orcpt(v) => out.orcpt = v.to_owned(),
            ("NOTIFY" | "ORCPT", _) => return Err(SYNTAX),
            _ => return Err(PARAMETER),
        }
    }
    Ok(Command::Rcpt(recipient, out))
}

type Param<'a> = (String, Option<&'a str>);

fn params_of(text: &str) -> Result<Vec<Param<'_>>, Wrong> {
    if !text.is_empty() && !text.starts_with(' ') {
        return Err(SYNTAX);
    }
    let words = text.split(' ').filter(|w| !w.is_empty());
    let one = |word: &'_ str| -> bool { word.bytes().all(|b| b.is_ascii_graphic()) };
    let mut all = Vec::new();
    for word in words {
        if !one(word) {
            return Err(SYNTAX);
        }
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word, None),
        };
        all.push((key.to_ascii_uppercase(), value));
    }
    Ok(all)
}

fn is_notify(value: &str) -> bool {
    let known = |w: &str| ["SUCCESS", "FAILURE", "DELAY"].iter().any(|k| w.eq_ignore_ascii_case(k));
    value.eq_ignore_ascii_case("NEVER") || value.split(',').all(known)
}

fn is_orcpt(value: &str) -> bool {
    value.len() <= 500 && value.split_once(';').is_some_and(|(kind, text)| !kind.is_empty() && is_xtext(text))
}

/// xtext of RFC 3461, 4.
fn is_xtext(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let fine = match byte {
            b'+' => {
                let hex = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
                hex(bytes.next()) && hex(bytes.next())
            }
            b'=' => false,
            b => b.is_ascii_graphic(),
        };
        if !fine {
            return false;
        }
    }
    true
}

fn bdat(rest: &str) -> Result<Command, Wrong> {
    let mut words = rest.split(' ').filter(|w| !w.is_empty());
    let size = words.next().and_then(|w| w.parse::<usize>().ok()).ok_or(SYNTAX)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return Err(SYNTAX),
    };
    if words.next().is_some() { Err(SYNTAX) } else { Ok(Command::Bdat(size, last)) }
}

fn auth(rest: &str) -> Result<Command, Wrong> {
    let mut words = rest.split(' ').filter(|w| !w.is_empty());
    let mechanism = words.next().ok_or(SYNTAX)?.to_ascii_uppercase();
    let initial = words.next().map(str::to_owned);
    if words.next().is_some() { Err(SYNTAX) } else { Ok(Command::Auth(mechanism, initial)) }
}

fn xclient(rest: &str) -> Result<Command, Wrong> {
    let mut all = Vec::new();
    for word in rest.split(' ').filter(|w| !w.is_empty()) {
        let (key, value) = word.split_once('=').ok_or(SYNTAX)?;
        all.push((key.to_ascii_uppercase(), value.to_owned()));
    }
    if all.is_empty() { Err(SYNTAX) } else { Ok(Command::Xclient(all)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_checked_by_their_rfcs() {
        assert!(parse("MAIL FROM:<a@b.test> SIZE=10 BODY=8BITMIME RET=HDRS ENVID=x+2Dy SMTPUTF8").is_ok());
        assert!(parse("mail from: <a@b.test>").is_ok());
        assert_eq!(parse("MAIL FROM:<a@b.test> FOO=1"), Err(PARAMETER));
        for line in [
            "MAIL FROM:<a@b.test> SIZE=x",
            "MAIL FROM:<a@b.test> BODY=9BIT",
            "MAIL FROM:<a@b.test> ENVID=+zz",
            "MAIL TO:<a@b.test>",
            "MAIL FROM:<a@b.test>SIZE=1",
            "DATA now",
            "BDAT",
            "BDAT x",
            "BDAT 1 LAST x",
            "AUTH",
            "EHLO",
            "EHLO a b",
        ] {
            assert!(parse(line).unwrap_err().starts_with("501"), "{line}");
        }
        assert!(parse("RCPT TO:<a@b.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a@b.test").is_ok());
        assert!(parse("RCPT TO:<a@b.test> NOTIFY=NEVER,SUCCESS").is_err());
        assert!(parse("RCPT TO:<>").unwrap_err().starts_with("501"));
        assert!(parse("XYZZY").unwrap_err().starts_with("500"));
    }
}
