//! Links: where they lead, what they show, and what filters and readers make of that.

use std::collections::HashSet;
use std::net::IpAddr;

use super::images::{starts_with, strip};
use super::report::Report;
use super::{Page, Part, Rendered};
use crate::text::Shown;

/// Different addresses in a mail that nobody wonders at.
const MANY: usize = 100;
/// Links that are looked at.
const MOST: usize = 5_000;

/// Last labels of names that are hosts and no files.
const TOPS: [&str; 22] = [
    "app", "arpa", "biz", "cloud", "com", "dev", "edu", "example", "gov", "info", "int", "invalid", "io", "local",
    "mil", "name", "net", "onion", "online", "org", "site", "xyz",
];

pub(super) fn check(page: &Page, mail: &Rendered<'_>, report: &mut Report) {
    let mut addresses = HashSet::new();
    let links = page.document.elements().filter(|(_, _, element)| ["a", "area"].contains(&element.name.as_str()));
    for (at, node, element) in links.take(MOST) {
        let Some(href) = element.get("href").map(str::trim) else { continue };
        let link = Link::parse(href);
        let ours = mail.ours.iter().any(|start| !start.is_empty() && href.starts_with(start));
        let octet = Some(node.at);
        address(href, &link, ours, octet, report);
        if element.name == "a" {
            shown(page, at, href, &link, ours, octet, report);
        }
        if matches!(link, Link::Web { .. }) {
            addresses.insert(href);
        }
    }
    if addresses.len() > MANY {
        let what = format!("the HTML part has {} different links", addresses.len());
        report.add("link-many", Part::Html, None, what);
    }
    let named = |href: &&str| mail.text.contains(*href) || host(href).is_some_and(|host| mail.text.contains(&host));
    if !addresses.is_empty() && !addresses.iter().any(named) {
        report.add("text-lacks-links", Part::Text, None, "the HTML part has links, the text part has none of them");
    }
}

/// What an address is.
#[derive(Debug, PartialEq, Eq)]
enum Link {
    /// `http` or `https`.
    Web { secure: bool, host: String, user: bool },
    /// `mailto:`, `tel:`, `cid:` or a place in the mail.
    Other,
    /// Runs or holds something.
    Script,
    /// No scheme.
    Relative,
}

impl Link {
    fn parse(href: &str) -> Self {
        // Browsers drop blanks and controls inside a scheme.
        let bare: String = href.chars().filter(|c| !c.is_control() && !c.is_whitespace()).take(2_000).collect();
        for (scheme, secure) in [("https:", true), ("http:", false)] {
            if let Some(rest) = strip(&bare, scheme) {
                let rest = rest.trim_start_matches(['/', '\\']);
                let end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
                let authority = rest.get(..end).unwrap_or_default();
                let (user, host) = authority.rsplit_once('@').map_or((false, authority), |(_, host)| (true, host));
                return Self::Web { secure, host: without_port(host).to_lowercase(), user };
            }
        }
        if ["javascript:", "data:", "vbscript:", "file:", "blob:"].iter().any(|scheme| starts_with(&bare, scheme)) {
            return Self::Script;
        }
        if bare.starts_with('#') {
            return Self::Other;
        }
        let scheme = bare.split(':').next().unwrap_or_default();
        let named = bare.contains(':')
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        if named { Self::Other } else { Self::Relative }
    }
}

fn without_port(host: &str) -> &str {
    if host.starts_with('[') {
        return host.split_inclusive(']').next().unwrap_or(host);
    }
    host.rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(host, |(name, _)| name)
}

fn host(href: &str) -> Option<String> {
    match Link::parse(href) {
        Link::Web { host, .. } if !host.is_empty() => Some(host),
        _ => None,
    }
}

/// What is wrong with the address alone.
fn address(href: &str, link: &Link, ours: bool, octet: Option<usize>, report: &mut Report) {
    let told = Shown(href);
    match link {
        Link::Script => report.add("link-script", Part::Html, octet, format!("the link is {told}")),
        Link::Relative => report.add("link-relative", Part::Html, octet, format!("the link is {told}")),
        Link::Other => {}
        Link::Web { secure, host, user } => {
            let host = host.as_str();
            // Ours: whoever configured it knows how the console is reached.
            if !secure && !ours {
                report.add("link-http", Part::Html, octet, format!("the link to `{}` is not encrypted", Bare(host)));
            }
            if *user {
                report.add("link-disguised", Part::Html, octet, format!("{told} has a name before the host"));
            }
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            if !ours && bare.parse::<IpAddr>().is_ok() {
                report.add("link-ip", Part::Html, octet, format!("the link leads to {}", Shown(bare)));
            }
            if scripts(host) > 1 {
                let what = format!("the host {} has letters of several scripts", Shown(host));
                report.add("link-disguised", Part::Html, octet, what);
            } else if !ours && (!host.is_ascii() || host.split('.').any(|label| label.starts_with("xn--"))) {
                report.add("link-punycode", Part::Html, octet, format!("the host is {}", Shown(host)));
            }
        }
    }
}

/// A host inside backticks of a sentence.
struct Bare<'a>(&'a str);

impl std::fmt::Display for Bare<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", crate::text::fit(self.0, 60))
    }
}

/// How many scripts that look alike the letters of a label are from; of the label with the most.
fn scripts(host: &str) -> usize {
    let of = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' => Some(0),
        '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => Some(1),
        '\u{400}'..='\u{52f}' => Some(2),
        '\u{530}'..='\u{58f}' => Some(3),
        '\u{13a0}'..='\u{13ff}' => Some(4),
        _ => None,
    };
    host.split('.').map(|label| label.chars().filter_map(of).collect::<HashSet<_>>().len()).max().unwrap_or_default()
}

/// What is wrong with what the link shows.
fn shown(page: &Page, at: usize, href: &str, link: &Link, ours: bool, octet: Option<usize>, report: &mut Report) {
    let text = page.document.text(at);
    if !text.chars().any(|c| !c.is_whitespace() && !crate::text::is_invisible(c)) {
        let named = page
            .document
            .elements_inside(at)
            .any(|element| element.name == "img" && element.get("alt").is_some_and(|alt| !alt.trim().is_empty()));
        let own = page.document.element(at).and_then(|element| element.get("aria-label")).unwrap_or_default();
        if !named && own.trim().is_empty() {
            report.add("link-empty", Part::Html, octet, format!("the link to {} shows nothing", Shown(href)));
        }
        return;
    }
    let Link::Web { host: own, .. } = link else { return };
    let Some((seen, whole)) = host_in(&text) else { return };
    if same(&seen, own) {
        return;
    }
    let what = format!("the text shows `{}`, the link leads to `{}`", Bare(&seen), Bare(own));
    if whole {
        report.add("link-other-host", Part::Html, octet, what);
    } else if !ours {
        // A page of ours about an endpoint is well named by the endpoint.
        report.add("link-other-name", Part::Html, octet, what);
    }
}

/// The first host that a text shows, and whether it is shown as an address (`https://…`, `www.…`).
fn host_in(text: &str) -> Option<(String, bool)> {
    for word in text.split_whitespace().take(50) {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '/' && c != '[');
        if let Some(host) = host(word) {
            return Some((host, true));
        }
        // What is behind the host tells a file from a name: `example.org/x`, not `x/y.org`.
        let name = without_port(word.split(['/', '?', '#']).next().unwrap_or_default()).to_lowercase();
        let labels: Vec<&str> = name.split('.').collect();
        let sound = labels.len() >= 2
            && labels.iter().all(|label| {
                !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-') && !label.starts_with('-')
            });
        if !sound || name.contains('@') {
            continue;
        }
        if labels.first() == Some(&"www") {
            return Some((name, true));
        }
        let last = labels.last().copied().unwrap_or_default();
        let country = last.len() == 2 && last.bytes().all(|byte| byte.is_ascii_lowercase()) && labels.len() >= 3;
        if TOPS.contains(&last) || country {
            return Some((name, false));
        }
    }
    None
}

/// Whether two hosts are of one house: the same, or one inside the other.
fn same(one: &str, other: &str) -> bool {
    let bare = |host: &str| host.trim_start_matches("www.").trim_end_matches('.').to_owned();
    let (one, other) = (bare(one), bare(other));
    let inside = |inner: &str, outer: &str| inner.strip_suffix(outer).is_some_and(|head| head.ends_with('.'));
    one == other || (inside(&one, &other) && other.contains('.')) || (inside(&other, &one) && one.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_as_browsers_do() {
        let web = |secure, host: &str, user| Link::Web { secure, host: host.to_owned(), user };
        for (href, link) in [
            ("https://A.example:8443/x?y@z", web(true, "a.example", false)),
            ("http://good.example@evil.example/", web(false, "evil.example", true)),
            ("https:\\\\evil.example\\x", web(true, "evil.example", false)),
            ("https://[::1]:80/", web(true, "[::1]", false)),
            ("java\nscript:alert(1)", Link::Script),
            (" JavaScript:x", Link::Script),
            ("data:text/html,x", Link::Script),
            ("mailto:ana@example.org", Link::Other),
            ("#top", Link::Other),
            ("/path", Link::Relative),
            ("example.org/x:y", Link::Relative),
            ("//example.org", Link::Relative),
        ] {
            assert_eq!(Link::parse(href), link, "{href}");
        }
    }

    #[test]
    fn hosts_in_texts_are_found_and_files_are_not() {
        for (text, found) in [
            ("see https://bank.example/x.", Some(("bank.example", true))),
            ("(www.bank.example)", Some(("www.bank.example", true))),
            ("ws-17.example.org", Some(("ws-17.example.org", false))),
            ("mail.bank.de now", Some(("mail.bank.de", false))),
            ("Windows.System.Pslist", None),
            ("setup.py", None),
            ("C:\\pagefile.sys", None),
            ("ana@example.org", None),
            ("Open the flow", None),
        ] {
            assert_eq!(host_in(text), found.map(|(host, whole)| (host.to_owned(), whole)), "{text}");
        }
        assert!(same("www.example.org", "example.org") && same("a.example.org", "example.org"));
        assert!(!same("example.org", "badexample.org") && !same("org", "example.org"));
    }
}
