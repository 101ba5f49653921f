//! A copy of a mail's HTML for the frame: pictures inside it, one colour scheme forced. Nothing in it runs or is loaded.

use std::borrow::Cow;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::{Captures, Regex};

/// What a frame's document may do: be shown, in our page alone. Neither script, form, network nor window.
pub(in crate::web::studio) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; \
                                 base-uri 'none'; frame-ancestors 'self'; sandbox allow-same-origin";

/// Media types that a picture in the frame may have; none of them can hold a script.
const PICTURES: &[&str] = &["image/png", "image/jpeg", "image/gif", "image/webp"];

/// A picture of the mail.
#[derive(Debug, Clone)]
pub(in crate::web::studio) struct Picture {
    /// Its Content-ID.
    pub(in crate::web::studio) cid: String,
    /// Media type.
    pub(in crate::web::studio) kind: String,
    /// Content.
    pub(in crate::web::studio) bytes: Vec<u8>,
}

/// Which scheme the reader's mail program is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::web::studio) enum Scheme {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

/// The copy. Without `pictures`, they are left out, as mail programs do that ask first.
pub(in crate::web::studio) fn copy(html: &str, pictures: Option<&[Picture]>, scheme: Scheme) -> String {
    let html = force(html, scheme);
    match pictures {
        Some(pictures) => {
            let mut html = html.into_owned();
            for picture in pictures.iter().filter(|picture| PICTURES.contains(&picture.kind.as_str())) {
                let data = format!("data:{};base64,{}", picture.kind, STANDARD.encode(&picture.bytes));
                html = html.replace(&format!("cid:{}", picture.cid), &data);
            }
            html
        }
        None => blocked(&html),
    }
}

/// Takes the address of each picture away; what is left is its alternative text.
fn blocked(html: &str) -> String {
    static SOURCE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r#"(?i)(<img\b[^>]*?)\ssrc\s*=\s*("[^"]*"|'[^']*'|[^\s>]+)"#).ok());
    match &*SOURCE {
        Some(source) => source.replace_all(html, "$1").into_owned(),
        None => html.to_owned(),
    }
}

/// Answers the questions of style sheets and heads about the colour scheme.
fn force(html: &str, scheme: Scheme) -> Cow<'_, str> {
    static STYLE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?is)<style\b[^>]*>.*?</style\s*>").ok());
    static META: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r#"(?i)(<meta\s+name\s*=\s*["']?(?:supported-)?color-schemes?["']?\s+content\s*=\s*)("[^"]*"|'[^']*')"#,
        )
        .ok()
    });
    let (Some(style), Some(meta)) = (&*STYLE, &*META) else { return Cow::Borrowed(html) };
    let word = match scheme {
        Scheme::Light => "light",
        Scheme::Dark => "dark",
    };
    let html = style.replace_all(html, |found: &Captures<'_>| rules(found.get(0).map_or("", |all| all.as_str()), word));
    let forced = meta.replace_all(&html, |found: &Captures<'_>| {
        format!("{}\"{word}\"", found.get(1).map_or("", |before| before.as_str()))
    });
    Cow::Owned(forced.into_owned())
}

/// The same for one style element.
fn rules(style: &str, word: &str) -> String {
    static MEDIA: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?i)\(\s*prefers-color-scheme\s*:\s*(dark|light)\s*\)").ok());
    static PROPERTY: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?i)(\bcolor-schemes?\s*:)\s*[^;}()]*").ok());
    let (Some(media), Some(property)) = (&*MEDIA, &*PROPERTY) else { return style.to_owned() };
    let answered = media.replace_all(style, |found: &Captures<'_>| {
        let wanted = found.get(1).map_or("", |wanted| wanted.as_str());
        // Both are queries, so that what stands beside them in a list still holds.
        if wanted.eq_ignore_ascii_case(word) { "(min-width: 0px)" } else { "(max-width: 0px)" }
    });
    property.replace_all(&answered, format!("$1 {word}")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTML: &str = "<head><meta name=\"color-scheme\" content=\"light dark\"><style>:root { color-scheme: light dark; }\
                        @media (prefers-color-scheme: dark) and (max-width: 9px) { a { color: red } }</style></head>\
                        <p>(prefers-color-scheme: dark) color-scheme: light dark</p>";

    #[test]
    fn one_scheme_is_forced_in_styles_and_heads_alone() {
        let dark = copy(HTML, None, Scheme::Dark);
        assert!(dark.contains("content=\"dark\"") && dark.contains(":root { color-scheme: dark; }"), "{dark}");
        assert!(dark.contains("@media (min-width: 0px) and (max-width: 9px)"), "{dark}");
        let light = copy(HTML, None, Scheme::Light);
        assert!(light.contains("@media (max-width: 0px) and"), "{light}");
        assert!(light.contains("content=\"light\"") && light.contains(":root { color-scheme: light; }"), "{light}");
        for copy in [dark, light] {
            assert!(copy.ends_with("<p>(prefers-color-scheme: dark) color-scheme: light dark</p>"), "{copy}");
        }
    }

    #[test]
    fn pictures_are_inside_or_not_there() {
        let html = "<img alt=\"A\" src=\"cid:one@x\" width=9><img src='https://evil.example/p.png' alt=B>";
        let pictures = [Picture { cid: "one@x".into(), kind: "image/png".into(), bytes: b"PNG".to_vec() }];
        let shown = copy(html, Some(&pictures), Scheme::Light);
        assert!(shown.contains("src=\"data:image/png;base64,UE5H\""), "{shown}");
        let without = copy(html, None, Scheme::Light);
        assert_eq!(without, "<img alt=\"A\" width=9><img alt=B>");
        let script = [Picture { kind: "image/svg+xml".into(), ..pictures[0].clone() }];
        assert!(copy(html, Some(&script), Scheme::Light).contains("cid:one@x"));
    }
}
