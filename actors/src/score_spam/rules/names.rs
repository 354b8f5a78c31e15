//! Names that rules go by: free mail, shorteners, free hosting, cheap top-level domains, and alphabets.
//!
//! Short lists of the widely known; what a tenant or a feed knows better comes in by lists and reputation.

use super::super::links::registered;

/// Whether a domain gives mail addresses to anybody.
pub(crate) fn is_free_mail(domain: &str) -> bool {
    const FREE: &[&str] = &[
        "gmail.com",
        "googlemail.com",
        "yahoo.com",
        "ymail.com",
        "rocketmail.com",
        "outlook.com",
        "hotmail.com",
        "live.com",
        "msn.com",
        "aol.com",
        "icloud.com",
        "me.com",
        "mac.com",
        "gmx.de",
        "gmx.net",
        "gmx.com",
        "gmx.at",
        "gmx.ch",
        "web.de",
        "mail.com",
        "mail.ru",
        "bk.ru",
        "inbox.ru",
        "list.ru",
        "yandex.ru",
        "yandex.com",
        "proton.me",
        "protonmail.com",
        "pm.me",
        "tutanota.com",
        "tuta.io",
        "zoho.com",
        "qq.com",
        "163.com",
        "126.com",
        "sina.com",
        "foxmail.com",
        "naver.com",
        "hanmail.net",
        "daum.net",
        "rediffmail.com",
        "libero.it",
        "orange.fr",
        "laposte.net",
        "free.fr",
        "wp.pl",
        "o2.pl",
        "seznam.cz",
        "uol.com.br",
        "bol.com.br",
        "hushmail.com",
        "fastmail.com",
        "lycos.com",
        "excite.com",
        "consultant.com",
        "usa.com",
        "email.com",
    ];
    const FAMILIES: &[&str] = &["yahoo.", "hotmail.", "live.", "outlook."];
    FREE.contains(&domain) || FAMILIES.iter().any(|f| domain.starts_with(f))
}

/// Free mail providers whose own mail always carries their DKIM signature or passes their DMARC.
pub(crate) fn always_signs(domain: &str) -> bool {
    const SIGNING: &[&str] = &[
        "gmail.com",
        "googlemail.com",
        "yahoo.com",
        "aol.com",
        "outlook.com",
        "hotmail.com",
        "live.com",
        "msn.com",
        "icloud.com",
        "gmx.de",
        "gmx.net",
        "web.de",
        "mail.ru",
        "yandex.ru",
        "yandex.com",
        "proton.me",
        "protonmail.com",
    ];
    SIGNING.contains(&domain)
}

/// Whether a registered domain is a link shortener.
pub(crate) fn is_shortener(domain: &str) -> bool {
    const SHORT: &[&str] = &[
        "bit.ly",
        "bitly.com",
        "tinyurl.com",
        "t.co",
        "goo.gl",
        "ow.ly",
        "is.gd",
        "v.gd",
        "buff.ly",
        "cutt.ly",
        "rebrand.ly",
        "rb.gy",
        "shorturl.at",
        "t.ly",
        "tiny.cc",
        "adf.ly",
        "bl.ink",
        "short.io",
        "s.id",
        "lnkd.in",
        "soo.gd",
        "clck.ru",
        "qrco.de",
        "urlz.fr",
        "u.to",
        "shorte.st",
        "tr.im",
        "x.co",
        "dub.sh",
        "tny.im",
        "surl.li",
        "l.ead.me",
        "snip.ly",
        "urlr.me",
        "kutt.it",
    ];
    SHORT.contains(&domain)
}

/// Whether a host is a page of free hosting: a name under one of these.
pub(crate) fn is_free_hosting(host: &str) -> bool {
    const HOSTING: &[&str] = &[
        "weebly.com",
        "wixsite.com",
        "web.app",
        "firebaseapp.com",
        "pages.dev",
        "workers.dev",
        "r2.dev",
        "vercel.app",
        "netlify.app",
        "herokuapp.com",
        "glitch.me",
        "github.io",
        "gitlab.io",
        "blogspot.com",
        "wordpress.com",
        "000webhostapp.com",
        "repl.co",
        "onrender.com",
        "azurewebsites.net",
        "godaddysites.com",
        "square.site",
        "webflow.io",
        "framer.app",
        "framer.website",
        "mystrikingly.com",
        "yolasite.com",
        "jimdosite.com",
        "ipfs.dweb.link",
        "ipfs.io",
        "fleek.co",
        "surge.sh",
        "carrd.co",
        "ngrok.io",
        "ngrok-free.app",
        "trycloudflare.com",
        "duckdns.org",
        "ddns.net",
        "myftp.org",
        "hopto.org",
        "zapto.org",
        "codesandbox.io",
        "webcindario.com",
        "ukit.me",
        "sviluppo.host",
        "cprapid.com",
    ];
    HOSTING.iter().any(|h| host.strip_suffix(h).is_some_and(|front| front.ends_with('.')))
        || host == "ipfs.io"
}

/// Whether a host stands under a top-level domain that is given away or nearly so.
pub(crate) fn is_cheap_tld(host: &str) -> bool {
    const CHEAP: &[&str] = &[
        "top",
        "xyz",
        "click",
        "icu",
        "buzz",
        "cfd",
        "sbs",
        "rest",
        "cyou",
        "tk",
        "ml",
        "ga",
        "cf",
        "gq",
        "zip",
        "mov",
        "bond",
        "lol",
        "monster",
        "quest",
        "beauty",
        "hair",
        "skin",
        "surf",
        "work",
        "loan",
        "win",
        "bid",
        "stream",
        "racing",
        "date",
        "faith",
        "review",
        "party",
        "cam",
        "cricket",
        "download",
        "accountant",
        "science",
        "trade",
    ];
    host.rsplit('.').next().is_some_and(|tld| CHEAP.contains(&tld))
}

/// A brand that phishers like, with the beginnings of the registered domains it sends from.
const BRANDS: &[(&str, &[&str])] = &[
    ("paypal", &["paypal"]),
    ("netflix", &["netflix"]),
    ("microsoft", &["microsoft", "office", "live", "outlook", "xbox"]),
    ("office 365", &["microsoft", "office"]),
    ("amazon", &["amazon", "primevideo", "audible", "awscloud"]),
    ("apple", &["apple", "icloud", "me"]),
    ("icloud", &["apple", "icloud"]),
    ("docusign", &["docusign"]),
    ("dropbox", &["dropbox"]),
    ("linkedin", &["linkedin"]),
    ("facebook", &["facebook", "facebookmail", "meta"]),
    ("instagram", &["instagram", "facebookmail", "meta"]),
    ("whatsapp", &["whatsapp", "facebookmail"]),
    ("coinbase", &["coinbase"]),
    ("binance", &["binance"]),
    ("metamask", &["metamask"]),
    ("ledger", &["ledger"]),
    ("trezor", &["trezor"]),
    ("dhl", &["dhl"]),
    ("fedex", &["fedex"]),
    ("ups", &["ups"]),
    ("usps", &["usps"]),
    ("hermes", &["hermes", "myhermes"]),
    ("correios", &["correios"]),
    ("postnl", &["postnl"]),
    ("la poste", &["laposte"]),
    ("norton", &["norton", "nortonlifelock", "gendigital"]),
    ("mcafee", &["mcafee"]),
    ("totalav", &["totalav"]),
    ("wells fargo", &["wellsfargo"]),
    ("bank of america", &["bankofamerica"]),
    ("chase", &["chase", "jpmorgan"]),
    ("citibank", &["citi", "citibank"]),
    ("hsbc", &["hsbc"]),
    ("barclays", &["barclays"]),
    ("santander", &["santander"]),
    ("bradesco", &["bradesco"]),
    ("itau", &["itau"]),
    ("mercado pago", &["mercadopago", "mercadolivre", "mercadolibre"]),
    ("sparkasse", &["sparkasse"]),
    ("commerzbank", &["commerzbank"]),
    ("deutsche bank", &["deutsche-bank", "db"]),
    ("volksbank", &["volksbank", "vr"]),
    ("rabobank", &["rabobank"]),
    ("ing bank", &["ing"]),
    ("walmart", &["walmart"]),
    ("costco", &["costco"]),
    ("lowes", &["lowes"]),
    ("home depot", &["homedepot"]),
    ("geek squad", &["bestbuy", "geeksquad"]),
    ("spotify", &["spotify"]),
    ("disney+", &["disneyplus", "disney"]),
    ("ebay", &["ebay"]),
    ("booking.com", &["booking"]),
    ("adobe", &["adobe"]),
    ("wetransfer", &["wetransfer"]),
    ("sharepoint", &["microsoft", "sharepoint", "sharepointonline"]),
    ("elster", &["elster"]),
    ("t-mobile", &["t-mobile", "telekom"]),
    ("vodafone", &["vodafone"]),
    ("telekom", &["telekom", "t-online"]),
];

/// The brand that a display name claims without its From domain being one of that brand.
pub(crate) fn claimed_brand(name: &str, domain: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let site = registered(domain);
    let label = site.split('.').next().unwrap_or_default();
    let stands = |brand: &str| {
        name.match_indices(brand).any(|(at, found)| {
            let before = name.get(..at).unwrap_or_default().ends_with(char::is_alphanumeric);
            let after = name.get(at + found.len()..).unwrap_or_default().starts_with(char::is_alphanumeric);
            !before && !after
        })
    };
    let own = |sites: &[&str]| sites.iter().any(|s| label == *s || (s.len() > 3 && label.starts_with(s)));
    BRANDS.iter().find(|(brand, sites)| stands(brand) && !own(sites)).map(|(brand, _)| *brand)
}

/// Whether a name looks drawn by lot: letters and digits change places again and again.
pub(crate) fn is_random(label: &str) -> bool {
    let bytes = label.as_bytes();
    let changes = bytes.windows(2).filter(|w| {
        matches!(w, [a, b] if a.is_ascii_digit() != b.is_ascii_digit()
        && a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric())
    });
    label.len() >= 8 && changes.count() >= 4
}

/// Letters of the mathematical and small-capital blocks, which dress up words for readers and hide them from filters.
pub(crate) fn is_fancy(c: char) -> bool {
    matches!(c, '\u{1d400}'..='\u{1d7ff}' | '\u{1d00}'..='\u{1d25}' | '\u{24b6}'..='\u{24e9}' | '\u{1f130}'..='\u{1f189}')
}

/// Whether a domain of a sender is a project name of a hosting service, which anybody gets in a minute.
pub(crate) fn is_project_domain(domain: &str) -> bool {
    const PROJECTS: &[&str] =
        &[".onmicrosoft.com", ".firebaseapp.com", ".web.app", ".herokuapp.com", ".azurewebsites.net"];
    PROJECTS.iter().any(|p| domain.ends_with(p))
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
        assert!(
            !deceives("bücher.de")
                && !deceives("пример.рф")
                && !deceives("почта.com")
                && !deceives("例え.jp")
        );
    }

    #[test]
    fn a_brand_is_claimed_as_a_word_and_by_others_than_itself() {
        assert_eq!(claimed_brand("PayPal Service", "evil.test"), Some("paypal"));
        assert_eq!(claimed_brand("PayPal", "mail.paypal.co.uk"), None);
        assert_eq!(claimed_brand("Amazon", "amazonses.com"), None);
        assert_eq!(claimed_brand("Pineapple Farm", "farm.test"), None);
        assert_eq!(claimed_brand("Startups weekly", "weekly.test"), None);
    }

    #[test]
    fn a_page_of_free_hosting_is_under_it_and_not_the_host_itself() {
        assert!(is_free_hosting("login-now.weebly.com") && !is_free_hosting("weebly.com"));
        assert!(!is_free_hosting("notweebly.com"));
    }
}
