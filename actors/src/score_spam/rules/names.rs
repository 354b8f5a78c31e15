//! Names that rules go by: free mail, shorteners, free hosting, cheap top-level domains, and alphabets.
//!
//! Short lists of the widely known; what a tenant or a feed knows better comes in by lists and reputation.

use super::super::links::registered;

/// Whether a domain gives mail addresses to anybody.
pub(crate) fn is_free_mail(domain: &str) -> bool {
    const FREE: &[&str] = &[
        "gmail.com", "googlemail.com", "yahoo.com", "ymail.com", "rocketmail.com", "outlook.com", "hotmail.com",
        "live.com", "msn.com", "aol.com", "icloud.com", "me.com", "mac.com", "gmx.de", "gmx.net", "gmx.com", "gmx.at",
        "gmx.ch", "web.de", "mail.com", "mail.ru", "bk.ru", "inbox.ru", "list.ru", "yandex.ru", "yandex.com",
        "proton.me", "protonmail.com", "pm.me", "tutanota.com", "tuta.io", "zoho.com", "qq.com", "163.com", "126.com",
        "sina.com", "foxmail.com", "naver.com", "hanmail.net", "daum.net", "rediffmail.com", "libero.it", "orange.fr",
        "laposte.net", "free.fr", "wp.pl", "o2.pl", "seznam.cz", "uol.com.br", "bol.com.br", "hushmail.com",
        "fastmail.com", "lycos.com", "excite.com", "consultant.com", "usa.com", "email.com",
    ];
    const FAMILIES: &[&str] = &["yahoo.", "hotmail.", "live.", "outlook."];
    FREE.contains(&domain) || FAMILIES.iter().any(|f| domain.starts_with(f))
}

/// Free mail providers whose own mail always carries their DKIM signature or passes their DMARC.
pub(crate) fn always_signs(domain: &str) -> bool {
    const SIGNING: &[&str] = &[
        "gmail.com", "googlemail.com", "yahoo.com", "aol.com", "outlook.com", "hotmail.com", "live.com", "msn.com",
        "icloud.com", "gmx.de", "gmx.net", "web.de", "mail.ru", "yandex.ru", "yandex.com", "proton.me",
        "protonmail.com",
    ];
    SIGNING.contains(&domain)
}

/// Whether a registered domain is a link shortener.
pub(crate) fn is_shortener(domain: &str) -> bool {
    const SHORT: &[&str] = &[
        "bit.ly", "bitly.com", "tinyurl.com", "t.co", "goo.gl", "ow.ly", "is.gd", "v.gd", "buff.ly", "cutt.ly",
        "rebrand.ly", "rb.gy", "shorturl.at", "t.ly", "tiny.cc", "adf.ly", "bl.ink", "short.io", "s.id", "lnkd.in",
        "soo.gd", "clck.ru", "qrco.de", "urlz.fr", "u.to", "shorte.st", "tr.im", "x.co", "dub.sh", "tny.im",
        "surl.li", "l.ead.me", "snip.ly", "urlr.me", "kutt.it",
    ];
    SHORT.contains(&domain)
}

/// Whether a host is a page of free hosting: a name under one of these.
pub(crate) fn is_free_hosting(host: &str) -> bool {
    const HOSTING: &[&str] = &[
        "weebly.com", "wixsite.com", "web.app", "firebaseapp.com", "pages.dev", "workers.dev", "r2.dev", "vercel.app",
        "netlify.app", "herokuapp.com", "glitch.me", "github.io", "gitlab.io", "blogspot.com", "wordpress.com",
        "000webhostapp.com", "repl.co", "onrender.com", "azurewebsites.net", "godaddysites.com", "square.site",
        "webflow.io", "framer.app", "framer.website", "mystrikingly.com", "yolasite.com", "jimdosite.com",
        "ipfs.dweb.link", "ipfs.io", "fleek.co", "surge.sh", "carrd.co", "ngrok.io", "ngrok-free.app",
        "trycloudflare.com", "duckdns.org", "ddns.net", "myftp.org", "hopto.org", "zapto.org", "codesandbox.io",
        "webcindario.com", "ukit.me", "sviluppo.host", "cprapid.com",
    ];
    HOSTING.iter().any(|h| host.strip_suffix(h).is_some_and(|front| front.ends_with('.'))) || host == "ipfs.io"
}

/// Whether a host stands under a top-level domain that is given away or nearly so.
pub(crate) fn is_cheap_tld(host: &str) -> bool {
    const CHEAP: &[&str] = &[
        "top", "xyz", "click", "icu", "buzz", "cfd", "sbs", "rest", "cyou", "tk", "ml", "ga", "cf", "gq", "zip", "mov",
        "bond", "lol", "monster", "quest", "beauty", "hair", "skin", "surf", "work", "loan", "win", "bid", "stream",
        "racing", "date", "faith", "review", "party", "cam", "cricket", "download", "accountant", "science", "trade",
    ];
    host.rsplit('.').next().is_some_and(|tld| CHEAP.contains(&tld))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    Cyrillic,
    Greek,
    Other,
}

fn script(c: char) -> Script {
    match c {
        'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' => Script::Latin,
        '\u{400}'..='\u{52f}' => Script::Cyrillic,
        '\u{370}'..='\u{3ff}' => Script::Greek,
        _ => Script::Other,
    }
}

/// Whether one word mixes Latin with Cyrillic or Greek letters, which no language does.
pub(crate) fn mixes_scripts(word: &str) -> bool {
    let has = |wanted| word.chars().any(|c| script(c) == wanted);
    // Single Greek letters stand in honest words of science: 'µm', 'Ω'.
    let greek = word.chars().filter(|&c| script(c) == Script::Greek).count();
    has(Script::Latin) && (has(Script::Cyrillic) || (greek > 0 && word.chars().count() > 4))
}

/// Whether a host in Unicode deceives: a label that mixes scripts, or is Cyrillic in letters that all look Latin
/// under a domain that is not.
pub(crate) fn deceives(host: &str) -> bool {
    const ALIKE: &str = "асеорхуіјѕһԁԛԝьвнкмт";
    let latin_top = host.rsplit('.').next().is_some_and(|top| top.is_ascii());
    host.split('.').any(|label| {
        let foreign = label.chars().any(|c| script(c) == Script::Cyrillic);
        let alike = label.chars().all(|c| ALIKE.contains(c) || c.is_ascii_digit() || c == '-');
        mixes_scripts(label) || (latin_top && foreign && alike)
    })
}

/// Whether two hosts belong to one registered domain.
pub(crate) fn same_site(one: &str, other: &str) -> bool {
    registered(one).eq_ignore_ascii_case(registered(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alike_hosts_deceive_and_honest_foreign_ones_do_not() {
        // Cyrillic 'а' in a Latin word; a wholly Cyrillic word of look-alikes.
        assert!(deceives("p\u{430}ypal.com") && deceives("\u{430}\u{440}\u{440}\u{435}.com".trim()));
        assert!(!deceives("bücher.de") && !deceives("пример.рф") && !deceives("почта.com") && !deceives("例え.jp"));
    }

    #[test]
    fn a_page_of_free_hosting_is_under_it_and_not_the_host_itself() {
        assert!(is_free_hosting("login-now.weebly.com") && !is_free_hosting("weebly.com"));
        assert!(!is_free_hosting("notweebly.com"));
    }
}
