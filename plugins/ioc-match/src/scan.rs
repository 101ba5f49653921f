//! Looks at one text: a single pass that finds what could be an indicator, and asks the tables about that only. The
//! length of the list costs nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::indicators::Indicators;

/// A listed indicator that a text holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Hit {
    /// What it is: `MD5`, `address`, …
    pub(crate) kind: &'static str,
    /// As the list has it, in its plain form.
    pub(crate) indicator: String,
}

/// Names of the domain system are no longer.
const LONGEST_NAME: usize = 253;

/// Scans texts; keeps its buffer between them.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    lower: String,
}

impl Scanner {
    /// Tells every indicator in the text, some of them twice.
    pub(crate) fn scan(&mut self, text: &str, list: &Indicators, found: &mut impl FnMut(Hit)) {
        let (hashes, others) = (list.has_hashes(), list.has_addresses() || list.has_hosts());
        // Begin of the word that we are in, of the run of letters and digits, and what the word has.
        let (mut word, mut run) = (None, None);
        let (mut dots, mut colons, mut hex) = (0_usize, 0_usize, true);
        let ends = std::iter::once((text.len(), ' '));
        for (at, c) in text.char_indices().chain(ends) {
            let alphanumeric = if c.is_ascii() { c.is_ascii_alphanumeric() } else { c.is_alphanumeric() };
            if alphanumeric {
                run.get_or_insert(at);
                word.get_or_insert(at);
                hex &= c.is_ascii_hexdigit();
                continue;
            }
            if let Some(start) = run.take()
                && hashes
                && hex
                && let Some(digits) = text.get(start..at)
                && let Some(kind) = list.hash(digits)
            {
                found(Hit { kind, indicator: digits.to_ascii_lowercase() });
            }
            hex = true;
            match c {
                '.' => dots += 1,
                ':' => colons += 1,
                '-' | '_' => {}
                _ => {
                    if let Some(start) = word.take()
                        && others
                        && (dots > 0 || colons > 1)
                    {
                        self.word(text, start, at, colons > 1, list, found);
                    }
                    (dots, colons) = (0, 0);
                    continue;
                }
            }
            word.get_or_insert(at);
        }
    }

    /// Letters, digits, dots, colons, `-` and `_`.
    fn word(
        &mut self,
        text: &str,
        start: usize,
        end: usize,
        maybe_v6: bool,
        list: &Indicators,
        found: &mut impl FnMut(Hit),
    ) {
        let Some(word) = text.get(start..end) else { return };
        if maybe_v6 && let Some(address) = v6(word) {
            // What follows the bracket, if there is one, belongs to a URL.
            let after = text.get(end..).unwrap_or_default();
            self.address(IpAddr::V6(address), after.strip_prefix(']').unwrap_or(after), list, found);
            return;
        }
        let mut at = start;
        for piece in word.split(':') {
            let name = piece.trim_matches(['.', '-', '_']);
            // Where the piece ends in the text, for what comes after it.
            let after = text.get(at + piece.len()..).unwrap_or_default();
            at += piece.len() + 1;
            if !name.contains('.') || name.len() > LONGEST_NAME {
                continue;
            }
            if name.starts_with(|c: char| c.is_ascii_digit()) && self.v4(name, after, list, found) {
                continue;
            }
            if list.has_hosts() {
                self.host(name, after, list, found);
            }
        }
    }

    /// An IPv4 address, or several with a dash between.
    fn v4(&mut self, name: &str, after: &str, list: &Indicators, found: &mut impl FnMut(Hit)) -> bool {
        if let Ok(address) = name.parse::<Ipv4Addr>() {
            self.address(IpAddr::V4(address), after, list, found);
            return true;
        }
        if !name.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')) {
            return false;
        }
        for part in name.split(['-', '_']) {
            if let Ok(address) = part.parse::<Ipv4Addr>() {
                self.address(IpAddr::V4(address), "", list, found);
            }
        }
        true
    }

    fn address(&mut self, address: IpAddr, after: &str, list: &Indicators, found: &mut impl FnMut(Hit)) {
        if let Some(indicator) = list.address(address) {
            found(Hit { kind: "address", indicator });
        }
        if list.has_hosts()
            && let Some(indicator) = list.url(&address.to_canonical().to_string(), after)
        {
            found(Hit { kind: "URL", indicator });
        }
    }

    fn host(&mut self, name: &str, after: &str, list: &Indicators, found: &mut impl FnMut(Hit)) {
        self.lower.clear();
        if name.is_ascii() {
            self.lower.push_str(name);
            self.lower.make_ascii_lowercase();
        } else {
            self.lower.extend(name.chars().flat_map(char::to_lowercase));
        }
        if let Some(domain) = list.domain(&self.lower) {
            found(Hit { kind: "domain", indicator: domain.to_owned() });
        }
        if let Some(indicator) = list.url(&self.lower, after) {
            found(Hit { kind: "URL", indicator });
        }
    }
}

/// An IPv6 address, perhaps with a word and a colon before it.
fn v6(word: &str) -> Option<Ipv6Addr> {
    // The longest text that is one, with some room for the word before it.
    if word.len() > 80 {
        return None;
    }
    let word = word.trim_end_matches(['.', '-', '_']);
    let parse = |text: &str| text.parse::<Ipv6Addr>().ok();
    parse(word).or_else(|| parse(word.strip_suffix(':')?)).or_else(|| parse(word.split_once(':')?.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(entries: &[&str], text: &str) -> Vec<String> {
        let mut list = Indicators::default();
        for entry in entries {
            list.add(entry).unwrap();
        }
        let mut hits = Vec::new();
        Scanner::default().scan(text, &list, &mut |hit| hits.push(format!("{} {}", hit.kind, hit.indicator)));
        hits
    }

    #[test]
    fn domains_end_at_label_borders() {
        let list = ["evil.example"];
        for text in [
            "evil.example",
            "https://www.EVIL.example:8443/x?y",
            "mail to <bob@evil.example>.",
            "cmd /c ping evil.example.",
            r"\\files.evil.example\share",
            "“evil.example”",
            "a:evil.example:b",
            "evil.example, other.example",
        ] {
            assert_eq!(hits(&list, text), ["domain evil.example"], "{text}");
        }
        for text in ["notevil.example", "evil.example.org", "evil-example", "evil.examples", "", ".", "évil.example"] {
            assert_eq!(hits(&list, text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn addresses_are_found_in_what_surrounds_them() {
        let list = ["198.51.100.0/24", "2001:db8::7"];
        for (text, hit) in [
            ("198.51.100.9", "address 198.51.100.0/24"),
            ("tcp:198.51.100.9:443", "address 198.51.100.0/24"),
            ("(198.51.100.9)", "address 198.51.100.0/24"),
            ("from 198.51.100.9.", "address 198.51.100.0/24"),
            ("192.0.2.1-198.51.100.9", "address 198.51.100.0/24"),
            ("::ffff:198.51.100.9", "address 198.51.100.0/24"),
            ("[2001:DB8:0::7]:443", "address 2001:db8::7"),
            ("IP:2001:db8::7", "address 2001:db8::7"),
            ("to 2001:db8::7.", "address 2001:db8::7"),
        ] {
            assert_eq!(hits(&list, text), [hit], "{text}");
        }
        for text in ["198.51.100.999", "1198.51.100.9", "198.51.100.9.4", "2001:db8::8", "12:30:45", "::"] {
            assert_eq!(hits(&list, text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn hashes_are_whole_runs_of_hex_digits() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        let list = [md5];
        for text in [md5.to_uppercase(), format!("MD5={md5},SHA1=…"), format!("md5:{md5}"), format!("x_{md5}.bin")] {
            assert_eq!(hits(&list, &text), [format!("MD5 {md5}")], "{text}");
        }
        for text in [format!("{md5}0"), format!("g{md5}")] {
            assert_eq!(hits(&list, &text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_url_is_its_host_and_path() {
        let list = ["hxxps://share[.]example/u/7", "http://192.0.2.1:8080/x", "http://[2001:db8::1]/y"];
        assert_eq!(hits(&list, "GET https://share.example/u/7?d=1"), ["URL share.example/u/7"]);
        assert_eq!(hits(&list, "curl http://192.0.2.1:8080/x"), ["URL 192.0.2.1:8080/x"]);
        assert_eq!(hits(&list, "curl http://[2001:db8::1]/y"), ["URL 2001:db8::1/y"]);
        assert_eq!(hits(&list, "https://share.example/u/70 https://share.example/"), Vec::<String>::new());
    }
}
