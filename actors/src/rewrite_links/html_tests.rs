//! The tokenizer against what browsers do with broken markup.

use super::*;

fn links(html: &str) -> Vec<&str> {
    scan(html.as_bytes()).spans.iter().map(|s| &html[s.start..s.end]).collect()
}

#[test]
fn values_end_where_browsers_end_them() {
    assert_eq!(links("<a href=x/>"), ["x/"]);
    assert_eq!(links("<a/href=x/y title=z>"), ["x/y"]);
    assert_eq!(links("<a href = \n'x'y=z>"), ["x"]);
    assert_eq!(links("<a href=x\"y'z<w>"), ["x\"y'z<w"]);
    assert_eq!(links("<a title=\">\" href=\"a>b\">"), ["a>b"]);
    assert_eq!(links("<a =href=x><a href=><a href=\"\"><a href>"), [""; 0]);
    assert_eq!(links("<a \"href=x><a ' href=y>"), ["y"]);
}

#[test]
fn what_is_no_tag_is_no_tag() {
    for html in [
        "< a href=x>",
        "<a href=\"x",
        "<a href=x",
        "</a href=x>",
        "<?a href=x>",
        "<!a href=x>",
        "<",
        "<a",
        "</",
    ] {
        assert_eq!(links(html), [""; 0], "{html}");
    }
    assert_eq!(links("<<a href=x>"), ["x"]);
    assert_eq!(links("</ <a href=x><a href=y>"), ["y"]);
}

#[test]
fn comments_end_as_in_the_standard() {
    assert_eq!(links("<!--><a href=x>"), ["x"]);
    assert_eq!(links("<!---><a href=x>"), ["x"]);
    assert_eq!(links("<!-- --!><a href=x>"), ["x"]);
    assert_eq!(links("<!-- -- > <a href=x> --><a href=y>"), ["y"]);
    assert_eq!(links("<!-- <a href=x>"), [""; 0]);
    assert_eq!(links("<![if !mso]><a href=x><![endif]>"), ["x"]);
}

#[test]
fn a_conditional_comment_is_a_page_of_its_own() {
    assert_eq!(links("<!--[if mso]><style><a href=x><![endif]--><a href=y>"), ["y"]);
    assert_eq!(links("<!-- [IF gte mso 9]><a href=x></a><a href='--><a href=y>"), ["x", "y"]);
    assert_eq!(links("<!--[if mso]><!--[if x]><a href=x>--><a href=y>"), ["x", "y"]);
}

#[test]
fn raw_text_holds_no_links() {
    for name in ["script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes"] {
        let html = format!("<{name}><a href=x></{name}x></{name} ><a href=y>");
        assert_eq!(links(&html), ["y"], "{html}");
        assert_eq!(links(&format!("<{name}><a href=x>")), [""; 0]);
    }
    assert_eq!(links("<plaintext></plaintext><a href=x>"), [""; 0]);
    assert_eq!(links("<noscript><a href=x></noscript>"), ["x"]);
}

#[test]
fn a_script_in_an_escaped_script_does_not_close_it() {
    assert_eq!(links("<script><!--<script></script><a href=x></script><a href=y>"), ["y"]);
    assert_eq!(links("<script><!-- </script><a href=x>"), ["x"]);
    assert_eq!(links("<script><!--<script>--></script><a href=x>"), ["x"]);
    assert_eq!(links("<script><!--><script></script><a href=x>"), ["x"]);
}

#[test]
fn svg_has_cdata_and_no_raw_text() {
    assert_eq!(links("<svg><![CDATA[ > <a href=x> ]]><a href=y>"), ["y"]);
    assert_eq!(links("<![CDATA[ > <a href=x> ]]>"), ["x"]);
    assert_eq!(links("<svg><style><a href=x>"), ["x"]);
    assert_eq!(links("<svg><foreignObject><style><a href=x></style><a href=y>"), ["y"]);
    assert_eq!(links("<svg><p><style><a href=x>"), [""; 0]);
    assert_eq!(links("<svg/><style><a href=x>"), [""; 0]);
    assert_eq!(links("<svg></svg><style><a href=x>"), [""; 0]);
}

#[test]
fn nuls_hide_no_name() {
    assert_eq!(links("<a\0 h\0ref=x>"), ["x"]);
}

#[test]
fn the_first_base_counts_wherever_it_stands() {
    let html = "<a href=x><base target=y><base href=b><base href=c>";
    let (start, end) = scan(html.as_bytes()).base.unwrap();
    assert_eq!(&html[start..end], "b");
}
