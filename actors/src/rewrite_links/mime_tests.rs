//! The tree by its leaves' octets, for well-formed and broken messages.

use super::*;

fn bodies(raw: &str) -> Vec<&str> {
    walk(raw.as_bytes()).leaves.iter().map(|l| &raw[l.body.clone()]).collect()
}

#[test]
fn nested_multiparts_give_their_leaves_without_preamble_and_epilogue() {
    let raw = "Content-Type: multipart/mixed; boundary=\"a=\"\r\n\r\npreamble\r\n--a=\r\n\
        Content-Type: multipart/alternative;\r\n\tboundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\ncontent-type:text/html\r\n\r\n\
        two\r\n\r\n--b--\r\nepilogue\r\n--a=  \r\nContent-Type: image/png\r\n\r\nthree\r\n--a=--\r\nend";
    assert_eq!(bodies(raw), ["one", "two\r\n"]);
}

#[test]
fn an_outer_boundary_closes_what_was_left_open() {
    let raw = "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=ab\n\n\
        --ab\n\none\n--a\n\ntwo\n";
    assert_eq!(bodies(raw), ["one", "two\n"]);
}

#[test]
fn a_boundary_that_begins_another_is_not_taken_for_it() {
    let raw = "Content-Type: multipart/mixed; boundary=a\n\n--a\n\n--ab\n--a-\none\n--a--\n";
    assert_eq!(bodies(raw), ["--ab\n--a-\none"]);
}

#[test]
fn an_attached_message_is_walked_too() {
    let raw = "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: message/rfc822\n\n\
        Subject: x\nContent-Type: text/html\n\none\n--a--\n";
    assert_eq!(bodies(raw), ["one"]);
    assert_eq!(walk(raw.as_bytes()).leaves[0].kind, Kind::Html);
}

#[test]
fn headers_end_at_a_blank_line_at_a_boundary_or_at_markup() {
    let raw = "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: text/html\n--a\n\
        Content-Type: text/html\n<p>one\n--a\nContent-Type: text/html";
    assert_eq!(bodies(raw), ["", "<p>one", ""]);
}

#[test]
fn empty_parts_and_empty_messages_have_empty_bodies() {
    assert_eq!(bodies(""), [""]);
    assert_eq!(bodies("\r\n"), [""]);
    assert_eq!(
        bodies("Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n--a\r\n\r\n\r\n--a--"),
        ["", ""]
    );
}

#[test]
fn the_coding_field_is_found_with_its_folds() {
    let raw = "content-transfer-encoding:\r\n BASE64\r\nContent-Type: text/html\r\n\r\n";
    let leaf = &walk(raw.as_bytes()).leaves[0];
    assert_eq!(leaf.coding, Coding::Base64);
    assert_eq!(&raw[leaf.coding_field.clone().unwrap()], "content-transfer-encoding:\r\n BASE64\r\n");
}

#[test]
fn either_of_two_content_types_can_make_a_leaf_html() {
    let raw = "Content-Type: text/plain\nContent-Type: TEXT/HTML\n\nx";
    assert_eq!(walk(raw.as_bytes()).leaves[0].kind, Kind::Html);
}
