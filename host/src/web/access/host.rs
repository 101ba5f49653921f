//! Under which names the server can be reached. A page elsewhere whose name has been pointed at this machine (DNS
//! rebinding) is of the same origin as ours in the browser's eyes; its name in `Host` gives it away.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Uri, header};

/// What `Host` may say.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    listen: IpAddr,
    names: Vec<String>,
}

/// How a request has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// `Host` as it was sent.
    pub(super) authority: String,
    /// From this machine, to this machine, by a name that nobody else can give out.
    pub(super) local: bool,
}

impl Hosts {
    /// The listen address, and names beside it in lower case.
    pub(super) fn new(listen: SocketAddr, names: Vec<String>) -> Self {
        Self { listen: listen.ip().to_canonical(), names }
    }

    /// Whether nobody elsewhere gets here, not even by a proxy that is known.
    pub(super) fn are_local(&self) -> bool {
        self.listen.is_loopback() && self.names.is_empty()
    }

    /// Whether the request names us; `None`: it does not. Ports are not compared: one may be forwarded.
    pub(super) fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Option<Asked> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None, None) = (hosts.next(), hosts.next(), uri.authority()) else { return None };
        let authority = host.to_str().ok()?;
        let name = without_port(authority)?.to_ascii_lowercase();
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
        let loopback_listener = self.listen.is_loopback();
        let local = match bare.parse::<IpAddr>() {
            Ok(address) => {
                let address = address.to_canonical();
                // A number cannot be pointed elsewhere. Which of this machine's it is does not matter.
                if !address.is_loopback() && address != self.listen && !self.listen.is_unspecified() {
                    return None;
                }
                address.is_loopback()
            }
            Err(_) if bare == "localhost" => true,
            Err(_) if self.names.contains(&name) => false,
            Err(_) => return None,
        };
        Some(Asked { authority: authority.to_ascii_lowercase(), local: local && loopback_listener })
    }
}

/// `host` of `host[:port]`.
fn without_port(authority: &str) -> Option<&str> {
    let (host, port) = match authority.rfind(']') {
        Some(end) => authority.split_at_checked(end + 1)?,
        None => authority.find(':').map_or(Some((authority, "")), |colon| authority.split_at_checked(colon))?,
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let good = port.is_empty() || (port.starts_with(':') && !digits.is_empty() && digits.parse::<u16>().is_ok());
    (good && !host.is_empty()).then_some(host)
}

/// Whether `Origin` is the page that `Host` names. The scheme may be a proxy's.
pub(super) fn same_origin(origin: &str, authority: &str) -> bool {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    host.is_some_and(|host| host.eq_ignore_ascii_case(authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(hosts: &Hosts, host: &str) -> Option<bool> {
        let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
        hosts.admit(&Uri::from_static("/"), &headers).map(|asked| asked.local)
    }

    #[test]
    fn names_of_others_are_refused() {
        let local = Hosts::new("127.0.0.1:8026".parse().unwrap(), Vec::new());
        for host in ["127.0.0.1:8026", "localhost:8026", "LocalHost", "[::1]:9000", "127.0.0.2", "[::ffff:127.0.0.1]:1"]
        {
            assert_eq!(asked(&local, host), Some(true), "{host}");
        }
        for host in [
            "evil.example:8026",
            "localhost.evil.example",
            "evil.localhost",
            "127.0.0.1.evil.example:8026",
            "192.0.2.1:8026",
            "",
            ":8026",
            "localhost:",
            "localhost:x",
            "user@localhost",
            "localhost:80:80",
            "[::1",
            "[::1]x",
            "2130706433",
        ] {
            assert_eq!(asked(&local, host), None, "{host}");
        }
    }

    #[test]
    fn elsewhere_is_not_local_whatever_host_says() {
        let all = Hosts::new("0.0.0.0:8026".parse().unwrap(), vec!["bewit.example.org".into()]);
        for host in ["127.0.0.1:8026", "localhost", "192.0.2.1:8026", "[2001:db8::1]:8026", "bewit.example.org"] {
            assert_eq!(asked(&all, host), Some(false), "{host}");
        }
        assert_eq!(asked(&all, "other.example.org"), None);
        let one = Hosts::new("192.0.2.1:8026".parse().unwrap(), Vec::new());
        assert_eq!((asked(&one, "192.0.2.1:8026"), asked(&one, "192.0.2.2:8026")), (Some(false), None));
        // A proxy's name is no name of this machine.
        let proxied = Hosts::new("127.0.0.1:8026".parse().unwrap(), vec!["bewit.example.org".into()]);
        assert_eq!(asked(&proxied, "bewit.example.org"), Some(false));
    }

    #[test]
    fn one_host_and_no_authority_in_the_target() {
        let local = Hosts::new("127.0.0.1:8026".parse().unwrap(), Vec::new());
        let mut headers = HeaderMap::new();
        assert_eq!(local.admit(&Uri::from_static("/"), &headers), None);
        headers.append(header::HOST, "localhost".parse().unwrap());
        assert!(local.admit(&Uri::from_static("/"), &headers).is_some());
        assert_eq!(local.admit(&Uri::from_static("http://evil.example/"), &headers), None);
        headers.append(header::HOST, "localhost".parse().unwrap());
        assert_eq!(local.admit(&Uri::from_static("/"), &headers), None);
    }

    #[test]
    fn an_origin_is_compared_with_its_port() {
        assert!(same_origin("http://localhost:8026", "localhost:8026"));
        assert!(same_origin("https://bewit.example.org", "bewit.example.org"));
        for origin in ["null", "http://localhost:8027", "http://localhost", "ftp://localhost:8026", "localhost:8026"] {
            assert!(!same_origin(origin, "localhost:8026"), "{origin}");
        }
    }
}
