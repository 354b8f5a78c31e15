//! What a file is by its first octets, whatever its name says.

use memchr::memmem;

/// Kinds of content that attachments are judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Windows program (`MZ`).
    WindowsProgram,
    /// Program of another system (ELF, Mach-O, Java class).
    OtherProgram,
    /// Windows shortcut.
    Shortcut,
    /// Script with an interpreter line.
    Script,
    /// Compound file of old Office and of Windows installers.
    Compound,
    /// Zip, also what is built on it.
    Zip,
    /// Gzip.
    Gzip,
    /// Archives that are not looked into: RAR, 7z, CAB, XZ, bzip2, ACE, ARJ.
    OtherArchive,
    /// Disk image (ISO 9660, VHD).
    DiskImage,
    /// PDF.
    Pdf,
    /// Rich text.
    Rtf,
    /// HTML or SVG.
    Html,
    /// A picture.
    Picture,
    /// Anything else.
    Other,
}

/// The kind of some content.
pub(crate) fn content(octets: &[u8]) -> Content {
    const STARTS: &[(&[u8], Content)] = &[
        (b"MZ", Content::WindowsProgram),
        (b"\x7fELF", Content::OtherProgram),
        (b"\xfe\xed\xfa\xce", Content::OtherProgram),
        (b"\xfe\xed\xfa\xcf", Content::OtherProgram),
        (b"\xce\xfa\xed\xfe", Content::OtherProgram),
        (b"\xcf\xfa\xed\xfe", Content::OtherProgram),
        (b"\xca\xfe\xba\xbe", Content::OtherProgram),
        (b"\x4c\x00\x00\x00\x01\x14\x02\x00", Content::Shortcut),
        (b"#!", Content::Script),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Content::Compound),
        (b"PK\x03\x04", Content::Zip),
        (b"PK\x05\x06", Content::Zip),
        (b"PK\x07\x08", Content::Zip),
        (b"\x1f\x8b", Content::Gzip),
        (b"Rar!\x1a\x07", Content::OtherArchive),
        (b"7z\xbc\xaf\x27\x1c", Content::OtherArchive),
        (b"MSCF\0\0\0\0", Content::OtherArchive),
        (b"\xfd7zXZ\0", Content::OtherArchive),
        (b"BZh", Content::OtherArchive),
        (b"\x60\xea", Content::OtherArchive),
        (b"conectix", Content::DiskImage),
        (b"vhdxfile", Content::DiskImage),
        (b"%PDF-", Content::Pdf),
        (b"{\\rt", Content::Rtf),
        (b"\x89PNG", Content::Picture),
        (b"GIF8", Content::Picture),
        (b"\xff\xd8\xff", Content::Picture),
        (b"BM", Content::Picture),
        (b"II*\0", Content::Picture),
        (b"MM\0*", Content::Picture),
        (b"RIFF", Content::Picture),
    ];
    if let Some((_, found)) = STARTS.iter().find(|(start, _)| octets.starts_with(start)) {
        return *found;
    }
    if octets.get(7..14) == Some(b"**ACE**") {
        return Content::OtherArchive;
    }
    if octets.get(32_769..32_774) == Some(b"CD001") {
        return Content::DiskImage;
    }
    // Readers of PDF take a header anywhere in the first kilobyte.
    let head = octets.get(..octets.len().min(1_024)).unwrap_or_default();
    if memmem::find(head, b"%PDF-").is_some() {
        return Content::Pdf;
    }
    if looks_like_html(head) { Content::Html } else { Content::Other }
}

fn looks_like_html(head: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let start: Vec<u8> = text.iter().take(512).map(u8::to_ascii_lowercase).collect();
    let begins = |tag: &[u8]| start.starts_with(tag);
    let tags: &[&[u8]] =
        &[b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<svg", b"<meta", b"<iframe"];
    if tags.iter().any(|tag| begins(tag)) {
        return true;
    }
    let framed = begins(b"<?xml") || begins(b"<!--") || begins(b"<!doctype");
    framed && (memmem::find(&start, b"<svg").is_some() || memmem::find(&start, b"<html").is_some())
}

/// The extension that a kind of content would have when it is one that policies forbid.
pub(crate) fn forbidden_name(content: Content) -> Option<&'static str> {
    match content {
        Content::WindowsProgram => Some("exe"),
        Content::Shortcut => Some("lnk"),
        Content::DiskImage => Some("iso"),
        _ => None,
    }
}

/// Whether content contradicts an extension (lower case). Only pairs that no honest program mixes up.
pub(crate) fn contradicts(content: Content, extension: &str) -> bool {
    let expected: &[Content] = match extension {
        "pdf" => &[Content::Pdf],
        "png" | "jpg" | "jpeg" | "gif" | "bmp" | "tif" | "tiff" | "webp" => &[Content::Picture],
        // Old and new Office are saved under each other's names; rich text and HTML as .doc and .xls too.
        "docx" | "xlsx" | "pptx" | "doc" | "xls" | "ppt" => {
            &[Content::Zip, Content::Compound, Content::Rtf, Content::Html, Content::Other]
        }
        "zip" => &[Content::Zip],
        "txt" | "csv" | "log" => &[Content::Other, Content::Script, Content::Html],
        _ => return false,
    };
    !expected.contains(&content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_told_by_its_first_octets() {
        let mut image = vec![0; 32_769];
        image.extend(b"CD001");
        for (octets, want) in [
            (&b"MZ\x90\0"[..], Content::WindowsProgram),
            (b"\x7fELF\x02", Content::OtherProgram),
            (b"PK\x03\x04rest", Content::Zip),
            (b"junk before\n%PDF-1.7", Content::Pdf),
            (b"\xef\xbb\xbf \n<!DOCTYPE html>", Content::Html),
            (b"<?xml version='1.0'?><svg>", Content::Html),
            (&image, Content::DiskImage),
            (b"plain text", Content::Other),
            (b"", Content::Other),
        ] {
            assert_eq!(content(octets), want);
        }
    }

    #[test]
    fn only_pairs_that_no_honest_program_mixes_up_contradict() {
        assert!(contradicts(Content::Zip, "pdf"));
        assert!(contradicts(Content::WindowsProgram, "jpg"));
        assert!(!contradicts(Content::Rtf, "doc"));
        assert!(!contradicts(Content::Zip, "unknown"));
    }
}
