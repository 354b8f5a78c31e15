//! Routes as they are written: `smtp:HOST:PORT`, `lmtp:HOST:PORT`, `maildir:PATH`, `mx`.

use std::path::PathBuf;

/// Where mail goes next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// The MX of the recipient's domain (RFC 5321, 5.1).
    Mx,
    /// One SMTP server.
    Smtp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// One LMTP server (RFC 2033).
    Lmtp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Maildir on this machine.
    Maildir(PathBuf),
}

/// The text is no route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no route: expected `mx`, `smtp:HOST:PORT`, `lmtp:HOST:PORT` or `maildir:PATH`")]
pub struct RouteError(String);

impl Route {
    /// Reads a route.
    pub fn parse(text: &str) -> Result<Route, RouteError> {
        let wrong = || RouteError(text.to_owned());
        if text == "mx" {
            return Ok(Route::Mx);
        }
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        if kind == "maildir" {
            return if rest.is_empty() { Err(wrong()) } else { Ok(Route::Maildir(rest.into())) };
        }
        let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = port.parse::<u16>().ok().filter(|p| *p > 0).ok_or_else(wrong)?;
        let clean = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        if host.is_empty() || !host.chars().all(clean) {
            return Err(wrong());
        }
        match kind {
            "smtp" => Ok(Route::Smtp { host, port }),
            "lmtp" => Ok(Route::Lmtp { host, port }),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_and_others_are_told_what_is_expected() {
        assert_eq!(Route::parse("mx"), Ok(Route::Mx));
        assert_eq!(Route::parse("smtp:[::1]:25"), Ok(Route::Smtp { host: "::1".into(), port: 25 }));
        assert_eq!(
            Route::parse("lmtp:store.test:24"),
            Ok(Route::Lmtp { host: "store.test".into(), port: 24 })
        );
        assert_eq!(Route::parse("maildir:/var/mail/x"), Ok(Route::Maildir("/var/mail/x".into())));
        for text in [
            "",
            "MX",
            "smtp:host",
            "smtp:host:0",
            "smtp:host:99999",
            "pigeon:home:1",
            "maildir:",
            "smtp:a b:25",
        ] {
            assert!(Route::parse(text).unwrap_err().to_string().contains("expected"), "{text}");
        }
    }
}
