//! Names that may be taken for other names.
//!
//! A label is suspicious when it mixes alphabets that share shapes, or when it is written in a foreign
//! alphabet but only in letters that look like Latin ones. Accents alone are no sign of fraud: then the page
//! only shows the plain form too. UTS 39 knows far more pairs; these are the ones that make whole words.

/// A host as people read it.
pub(super) struct Reading {
    /// Unicode form.
    pub(super) unicode: String,
    /// Why it may deceive.
    pub(super) warning: Option<String>,
}

/// Reads a host in A-label form.
pub(super) fn read(host: &str) -> Reading {
    if !host.contains("xn--") {
        return Reading { unicode: host.to_owned(), warning: None };
    }
    let (unicode, valid) = idna::domain_to_unicode(host);
    if valid.is_err() || unicode.chars().any(is_invisible) {
        let warning =
            Some("Its name is not a valid international name, so it is shown in its technical form.".into());
        return Reading { unicode: host.to_owned(), warning };
    }
    let warning = unicode.split('.').find_map(warning_of);
    Reading { unicode, warning }
}

fn warning_of(label: &str) -> Option<String> {
    if label.is_ascii() {
        return None;
    }
    let mut alphabets: Vec<&str> = label.chars().filter_map(alphabet).collect();
    alphabets.sort_unstable();
    alphabets.dedup();
    if alphabets.len() > 1 && !is_usual_mixture(&alphabets) {
        return Some(format!(
            "“{label}” mixes letters of {}. Names like this imitate others.",
            alphabets.join(" and ")
        ));
    }
    let latin: Option<String> = label.chars().map(latin_twin).collect();
    latin.map(|twin| {
        format!("“{label}” is not “{twin}”: it only looks like it, in letters of another alphabet.")
    })
}

/// Japanese, Korean and Chinese names mix their scripts and Latin as a matter of course.
fn is_usual_mixture(alphabets: &[&str]) -> bool {
    alphabets.iter().all(|a| matches!(*a, "Han" | "Kana" | "Hangul" | "Latin")) && alphabets != ["Latin"]
}

/// The alphabet of a letter; digits, hyphens and marks belong to none.
fn alphabet(c: char) -> Option<&'static str> {
    Some(match u32::from(c) {
        0x41..=0x5A
        | 0x61..=0x7A
        | 0xAA
        | 0xBA
        | 0xC0..=0xD6
        | 0xD8..=0xF6
        | 0xF8..=0x2AF
        | 0x1E00..=0x1EFF => "Latin",
        0x370..=0x3FF | 0x1F00..=0x1FFF => "Greek",
        0x400..=0x52F | 0x1C80..=0x1C8F | 0x2DE0..=0x2DFF | 0xA640..=0xA69F => "Cyrillic",
        0x530..=0x58F => "Armenian",
        0x590..=0x5FF => "Hebrew",
        0x600..=0x6FF | 0x750..=0x77F | 0x8A0..=0x8FF => "Arabic",
        0x900..=0x97F => "Devanagari",
        0x980..=0xDFF => "an Indian script",
        0xE00..=0xE7F => "Thai",
        0xE80..=0xEFF => "Lao",
        0x10A0..=0x10FF | 0x1C90..=0x1CBF | 0x2D00..=0x2D2F => "Georgian",
        0x1100..=0x11FF | 0x3130..=0x318F | 0xAC00..=0xD7AF => "Hangul",
        0x1200..=0x139F => "Ethiopic",
        0x13A0..=0x13FF | 0xAB70..=0xABBF => "Cherokee",
        0x1400..=0x167F => "Canadian syllables",
        0x3040..=0x30FF | 0x31F0..=0x31FF => "Kana",
        0x3005..=0x3007 | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x3134F => "Han",
        0x30..=0x39 | 0x2D | 0x300..=0x36F => return None,
        _ => "other signs",
    })
}

/// The Latin letter that a lower case letter of another alphabet looks like; ASCII is its own twin.
fn latin_twin(c: char) -> Option<char> {
    if c.is_ascii() {
        return Some(c);
    }
    const TWINS: &[(char, &str)] = &[
        ('a', "аα"),
        ('b', "ь"),
        ('c', "сϲ"),
        ('d', "ԁ"),
        ('e', "еҽ"),
        ('g', "ց"),
        ('h', "һհ"),
        ('i', "іιі"),
        ('j', "јϳ"),
        ('k', "кκ"),
        ('l', "ӏ"),
        ('m', "м"),
        ('n', "пո"),
        ('o', "оοօ"),
        ('p', "рρ"),
        ('q', "ԛզ"),
        ('r', "г"),
        ('s', "ѕ"),
        ('t', "тτ"),
        ('u', "υս"),
        ('v', "ѵν"),
        ('w', "ԝшω"),
        ('x', "хχ"),
        ('y', "уүγ"),
        ('z', "ᴢ"),
    ];
    TWINS.iter().find(|(_, twins)| twins.contains(c)).map(|(latin, _)| *latin)
}

/// Characters that take no room or turn the reading direction, and controls.
pub(super) fn is_invisible(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(u32::from(c),
            0xAD | 0x34F | 0x61C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F
            | 0x2028..=0x202E | 0x2060..=0x206F | 0x2800 | 0x3164 | 0xE000..=0xF8FF | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0
            | 0xFFF0..=0xFFFD | 0xE0000..=0x10FFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(unicode: &str) -> Option<String> {
        read(&idna::domain_to_ascii(unicode).unwrap()).warning
    }

    #[test]
    fn mixed_alphabets_are_told() {
        // Latin with a Cyrillic "а"; Latin with a Greek omicron.
        assert!(warning("pаypal.example").unwrap().contains("Cyrillic and Latin"));
        assert!(warning("gοοgle.example").unwrap().contains("Greek and Latin"));
    }

    #[test]
    fn a_whole_word_in_twins_is_told_with_the_word_it_imitates() {
        assert!(warning("аррӏе.example").unwrap().contains("is not “apple”"));
    }

    #[test]
    fn honest_international_names_are_not_called_fraud() {
        for name in [
            "bücher.example",
            "пример.example",
            "例え.example",
            "café.example",
            "삼성.example",
            "日本abc.example",
            "παράδειγμα.example",
        ] {
            assert_eq!(warning(name), None, "{name}");
        }
    }

    #[test]
    fn plain_names_and_addresses_pass_as_they_are() {
        for name in ["www.example.com", "192.0.2.1", "[2001:db8::1]", "a-1.test"] {
            let reading = read(name);
            assert_eq!((reading.unicode.as_str(), reading.warning), (name, None));
        }
    }

    #[test]
    fn a_label_that_does_not_decode_stays_in_its_technical_form() {
        let reading = read("xn--a-ecp.ru.xn--0.example");
        assert!(reading.unicode.contains("xn--"));
        assert!(reading.warning.is_some());
    }
}
