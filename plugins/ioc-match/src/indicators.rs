//! The list: from lines as people write them to tables that are asked once for each candidate.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses of one length: for each prefix length in use, the networks of that length.
type Networks<T> = Vec<(u32, HashSet<T>)>;

/// What is looked for, by kind.
#[derive(Debug, Default)]
pub(crate) struct Indicators {
    md5: HashSet<[u8; 16]>,
    sha1: HashSet<[u8; 20]>,
    sha256: HashSet<[u8; 32]>,
    v4: Networks<u32>,
    v6: Networks<u128>,
    domains: HashSet<Box<str>>,
    /// By host: what may come after it.
    urls: HashMap<Box<str>, Vec<Box<str>>>,
    count: usize,
}

impl Indicators {
    /// Takes one entry of the list.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(crate) fn add(&mut self, entry: &str) -> Result<(), String> {
        let entry = refang(entry);
        let known = self.add_hash(&entry)
            || self.add_url(&entry)?
            || self.add_network(&entry)?
            || domain(&entry).is_some_and(|name| added(&mut self.domains, name.into()));
        if !known {
            return Err(
                "is no hash (32, 40 or 64 hex digits), IP address, CIDR range, domain or URL; anything else is a \
                 regular expression and belongs into `patterns`"
                    .to_owned(),
            );
        }
        self.count += 1;
        Ok(())
    }

    /// How many entries it has taken.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn has_hashes(&self) -> bool {
        !(self.md5.is_empty() && self.sha1.is_empty() && self.sha256.is_empty())
    }

    pub(crate) fn has_addresses(&self) -> bool {
        !(self.v4.is_empty() && self.v6.is_empty())
    }

    pub(crate) fn has_hosts(&self) -> bool {
        !(self.domains.is_empty() && self.urls.is_empty())
    }

    /// What kind of hash this is, if it is listed.
    pub(crate) fn hash(&self, digits: &str) -> Option<&'static str> {
        match digits.len() {
            32 => self.md5.contains(&bytes::<16>(digits)?).then_some("MD5"),
            40 => self.sha1.contains(&bytes::<20>(digits)?).then_some("SHA-1"),
            64 => self.sha256.contains(&bytes::<32>(digits)?).then_some("SHA-256"),
            _ => None,
        }
    }

    /// The listed address or range that this address is in: the narrowest.
    pub(crate) fn address(&self, address: IpAddr) -> Option<String> {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let bits = v4.to_bits();
                let (length, network) = lookup(&self.v4, |length| mask4(bits, length))?;
                Some(show(Ipv4Addr::from_bits(network), length, 32))
            }
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                let (length, network) = lookup(&self.v6, |length| mask6(bits, length))?;
                Some(show(Ipv6Addr::from_bits(network), length, 128))
            }
        }
    }

    /// The listed domain that this name, in lower case, is or lies below.
    pub(crate) fn domain<'a>(&self, name: &'a str) -> Option<&'a str> {
        if self.domains.is_empty() {
            return None;
        }
        let mut rest = name;
        loop {
            if self.domains.contains(rest) {
                return Some(rest);
            }
            rest = rest.split_once('.')?.1;
        }
    }

    /// The listed URL of which this is the host, in lower case, and this what comes after it.
    pub(crate) fn url(&self, host: &str, after: &str) -> Option<String> {
        let rests = self.urls.get(host)?;
        let rest = rests.iter().find(|rest| {
            after.strip_prefix(&***rest).is_some_and(|end| {
                rest.ends_with('/') || !end.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '-' | '_'))
            })
        })?;
        Some(format!("{host}{rest}"))
    }

    fn add_hash(&mut self, entry: &str) -> bool {
        match entry.len() {
            32 => bytes(entry).is_some_and(|hash| added(&mut self.md5, hash)),
            40 => bytes(entry).is_some_and(|hash| added(&mut self.sha1, hash)),
            64 => bytes(entry).is_some_and(|hash| added(&mut self.sha256, hash)),
            _ => false,
        }
    }

    /// A URL stands for its host if it names no more than that.
    fn add_url(&mut self, entry: &str) -> Result<bool, String> {
        let Some((_, rest)) = entry.split_once("://") else { return Ok(false) };
        let rest = rest.rsplit_once('@').filter(|(user, _)| !user.contains('/')).map_or(rest, |(_, rest)| rest);
        // Brackets are around an IPv6 address.
        let (host, after) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some(parts) => parts,
            None => rest.split_at_checked(rest.find([':', '/', '?', '#']).unwrap_or(rest.len())).unwrap_or((rest, "")),
        };
        let host = match host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().to_string(),
            Err(_) => domain(host).ok_or_else(|| format!("has no good host: `{host}`"))?,
        };
        if after.trim_end_matches('/').is_empty() {
            return match self.add_network(&host)? {
                true => Ok(true),
                false => Ok(added(&mut self.domains, host.into())),
            };
        }
        self.urls.entry(host.into()).or_default().push(after.into());
        Ok(true)
    }

    fn add_network(&mut self, entry: &str) -> Result<bool, String> {
        let (address, length) = match entry.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (entry, None),
        };
        let address = address.trim_start_matches('[').trim_end_matches(']');
        let Ok(address) = address.parse::<IpAddr>() else { return Ok(false) };
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => most,
            Some(text) => text
                .parse::<u32>()
                .ok()
                .filter(|length| *length <= most)
                .ok_or_else(|| format!("has a prefix length of `{text}`; it goes from 0 to {most}"))?,
        };
        match (address, address.to_canonical()) {
            (IpAddr::V4(v4), _) => insert(&mut self.v4, length, mask4(v4.to_bits(), length)),
            // `::ffff:192.0.2.0/120` is a range of IPv4 addresses.
            (IpAddr::V6(_), IpAddr::V4(v4)) if length >= 96 => {
                insert(&mut self.v4, length - 96, mask4(v4.to_bits(), length - 96));
            }
            (IpAddr::V6(v6), _) => insert(&mut self.v6, length, mask6(v6.to_bits(), length)),
        }
        Ok(true)
    }
}

/// Adds it; true, whether it is new or not.
fn added<T: Eq + std::hash::Hash>(set: &mut HashSet<T>, entry: T) -> bool {
    set.insert(entry);
    true
}

fn insert<T: Eq + std::hash::Hash>(networks: &mut Networks<T>, length: u32, network: T) {
    if let Some((_, set)) = networks.iter_mut().find(|(own, _)| *own == length) {
        set.insert(network);
        return;
    }
    networks.push((length, HashSet::from([network])));
    networks.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
}

fn lookup<T: Eq + std::hash::Hash>(networks: &Networks<T>, mask: impl Fn(u32) -> T) -> Option<(u32, T)> {
    networks.iter().find_map(|(length, set)| {
        let network = mask(*length);
        set.contains(&network).then_some((*length, network))
    })
}

fn mask4(bits: u32, length: u32) -> u32 {
    bits & u32::MAX.checked_shl(32 - length).unwrap_or(0)
}

fn mask6(bits: u128, length: u32) -> u128 {
    bits & u128::MAX.checked_shl(128 - length).unwrap_or(0)
}

fn show(address: impl std::fmt::Display, length: u32, most: u32) -> String {
    if length == most { address.to_string() } else { format!("{address}/{length}") }
}

/// Undoes what people do so that nobody clicks on an indicator.
fn refang(entry: &str) -> String {
    let mut text = entry.trim().to_owned();
    for (from, to) in [
        ("[.]", "."),
        ("(.)", "."),
        ("{.}", "."),
        ("[dot]", "."),
        ("(dot)", "."),
        ("[:]", ":"),
        ("[://]", "://"),
        ("[/]", "/"),
    ] {
        if text.contains(from) {
            text = text.replace(from, to);
        }
    }
    if let Some(rest) = text.get(..4).filter(|start| start.eq_ignore_ascii_case("hxxp")).and_then(|_| text.get(4..)) {
        text = format!("http{rest}");
    }
    text
}

/// A domain in lower case, if this is one: labels with a dot between, the last one with a letter.
fn domain(text: &str) -> Option<String> {
    let text = text.trim_start_matches("*.").trim_matches('.').to_lowercase();
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next()?;
    let known =
        text.contains('.') && text.len() <= 253 && text.split('.').all(good) && last.contains(char::is_alphabetic);
    known.then_some(text)
}

/// The bytes of exactly so many hex digits.
fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let pairs = digits.as_bytes().chunks_exact(2);
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let [high, low] = pair else { return None };
        let digit = |c: &u8| char::from(*c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> Indicators {
        let mut list = Indicators::default();
        for entry in entries {
            list.add(entry).unwrap();
        }
        list
    }

    #[test]
    fn a_range_holds_its_addresses_and_no_other() {
        let list = list(&["198.51.100.0/25", "198.51.100.7", "2001:db8::/32", "0.0.0.0/8", "::ffff:203.0.113.0/120"]);
        let found = |text: &str| list.address(text.parse().unwrap());
        assert_eq!(found("198.51.100.127").as_deref(), Some("198.51.100.0/25"));
        assert_eq!(found("198.51.100.7").as_deref(), Some("198.51.100.7"));
        assert_eq!(found("198.51.100.128"), None);
        assert_eq!(found("2001:db8:ffff::1").as_deref(), Some("2001:db8::/32"));
        assert_eq!(found("2001:db9::1"), None);
        assert_eq!(found("::ffff:198.51.100.7").as_deref(), Some("198.51.100.7"));
        assert_eq!(found("203.0.113.9").as_deref(), Some("203.0.113.0/24"));
        assert!(self::list(&["0.0.0.0/0"]).address("8.8.8.8".parse().unwrap()).is_some());
    }

    #[test]
    fn defanged_entries_are_understood() {
        let list =
            list(&["hxxp://evil[.]example", "hXXps[://]other(.)example/a/b", "198[.]51[.]100[.]9", "*.wild.example"]);
        assert_eq!(list.domain("www.evil.example"), Some("evil.example"));
        assert_eq!(list.domain("notevil.example"), None);
        assert_eq!(list.domain("a.wild.example"), Some("wild.example"));
        assert_eq!(list.domain("other.example"), None);
        assert_eq!(list.url("other.example", "/a/b?x").as_deref(), Some("other.example/a/b"));
        assert_eq!(list.url("other.example", "/a/bc"), None);
        assert!(list.address("198.51.100.9".parse().unwrap()).is_some());
    }

    #[test]
    fn what_is_no_indicator_is_refused() {
        let mut list = Indicators::default();
        for bad in [
            "",
            "word",
            "198.51.100.0/33",
            "2001:db8::/129",
            "http:///x",
            "1.2.3",
            "abc.123",
            "-a.example",
            &"a".repeat(128),
        ] {
            assert!(list.add(bad).is_err(), "{bad}");
        }
        assert_eq!(list.len(), 0);
    }

    #[test]
    fn hashes_have_no_case() {
        let list = list(&["D41D8CD98F00B204E9800998ECF8427E"]);
        assert_eq!(list.hash("d41d8cd98f00b204e9800998ecf8427e"), Some("MD5"));
        assert_eq!(list.hash("d41d8cd98f00b204e9800998ecf8427f"), None);
        assert_eq!(list.hash("d41d8cd98f00b204e9800998ecf8427"), None);
    }
}
