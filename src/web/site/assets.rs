//! Stylesheets, icon and robots.txt. The brand's colour comes as a stylesheet of its own, since pages have no
//! inline style; the ink on it is black or white, whichever reads better (WCAG contrast at least 4.5).

use std::collections::HashMap;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

const CSS: &str = include_str!("static/site.css");
const ICON: &str = include_str!("static/icon.svg");

/// GET routes of everything that is not a page.
pub(super) fn routes() -> BoxedFilter<(Response,)> {
    let css = warp::path!("static" / "site.css").map(|| asset("text/css; charset=utf-8", CSS.to_owned()));
    let icon = warp::path!("static" / "icon.svg").map(|| asset("image/svg+xml", ICON.to_owned()));
    let favicon = warp::path!("favicon.ico").map(|| asset("image/svg+xml", ICON.to_owned()));
    let robots = warp::path!("robots.txt")
        .map(|| asset("text/plain; charset=utf-8", "User-agent: *\nDisallow: /\n".to_owned()));
    let brand =
        warp::path!("brand.css").and(warp::query::<HashMap<String, String>>()).map(|query| brand(&query));
    let all = css.or(icon).unify().or(favicon).unify().or(robots).unify().or(brand).unify();
    super::reads().and(all).boxed()
}

fn asset(kind: &'static str, text: String) -> Response {
    let mut response = Response::new(text.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn brand(query: &HashMap<String, String>) -> Response {
    let colour = query.get("c").map_or("", String::as_str);
    let Some(text) = brand_css(colour) else {
        let mut response = asset("text/css; charset=utf-8", String::new());
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    asset("text/css; charset=utf-8", text)
}

/// Whether a text is six hex digits.
pub(super) fn is_colour(text: &str) -> bool {
    text.len() == 6 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The stylesheet of a colour given as six hex digits.
fn brand_css(colour: &str) -> Option<String> {
    if !is_colour(colour) {
        return None;
    }
    let light = luminance(colour)?;
    // Contrast with white is 1.05 / (l + 0.05), with black (l + 0.05) / 0.05; they meet at l = 0.179.
    let ink = if light > 0.179 { "#000000" } else { "#ffffff" };
    Some(format!(":root {{ --brand: #{colour}; --brand-ink: {ink}; }}\n"))
}

/// Relative luminance, WCAG 2.
fn luminance(colour: &str) -> Option<f64> {
    let mut sum = 0.0;
    for (index, share) in [0.2126, 0.7152, 0.0722].into_iter().enumerate() {
        let digits = colour.get(index * 2..index * 2 + 2)?;
        let channel = f64::from(u8::from_str_radix(digits, 16).ok()?) / 255.0;
        let linear =
            if channel <= 0.040_45 { channel / 12.92 } else { ((channel + 0.055) / 1.055).powf(2.4) };
        sum += share * linear;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_six_hex_digits_are_a_colour() {
        for wrong in ["", "fff", "0b5c8g", "0b5c8a;}", "#0b5c8", "ééé"] {
            assert_eq!(brand_css(wrong), None, "{wrong}");
        }
        assert!(brand_css("0b5c8a").unwrap().contains("--brand: #0b5c8a; --brand-ink: #ffffff"));
    }

    #[test]
    fn the_ink_reads_on_every_colour() {
        for step in 0..4_096_u32 {
            let colour =
                format!("{:02x}{:02x}{:02x}", (step & 15) * 17, (step >> 4 & 15) * 17, (step >> 8 & 15) * 17);
            let light = luminance(&colour).unwrap();
            let white = brand_css(&colour).unwrap().contains("ink: #ffffff");
            let contrast = if white { 1.05 / (light + 0.05) } else { (light + 0.05) / 0.05 };
            assert!(contrast >= 4.5, "{colour} {contrast}");
        }
    }
}
