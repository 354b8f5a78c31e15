//! Which kept fields are believed.

use super::*;

fn kept(field: &str) -> Option<Vec<u8>> {
    old_field(format!("X-Tidegate-Encoding: {}\r\n", URL_SAFE_NO_PAD.encode(field)).as_bytes())
}

#[test]
fn only_one_field_of_a_plain_encoding_is_put_back() {
    let sound = "Content-Transfer-Encoding:\r\n 8bit\r\n";
    assert_eq!(kept(sound).unwrap(), sound.as_bytes());
    assert_eq!(old_field(b"X-Tidegate-Encoding: -\r\n").unwrap(), b"");
    for field in [
        "Content-Transfer-Encoding: base64\r\n",
        "Content-Transfer-Encoding: 8bit",
        "Content-Transfer-Encoding: 8bit\r\nSubject: x\r\n",
        "Content-Transfer-Encoding: 8bit\r\n\r\n",
        "Content-Transfer-Encoding: 8bit\rX: y\r\n",
        "Content-Type: 8bit\r\n",
        "8bit\r\n",
        "",
    ] {
        assert_eq!(kept(field), None, "{field:?}");
    }
}

#[test]
fn lines_are_sound_when_all_end_alike() {
    assert!(has_sound_lines(b"a\r\nb\r\n\r\n", b"\r\n") && has_sound_lines(b"a\nb", b"\n"));
    assert!(!has_sound_lines(b"a\r\nb\n", b"\r\n") && !has_sound_lines(b"a\rb", b"\r\n"));
    assert!(!has_sound_lines(b"a\r\n", b"\n"));
}
