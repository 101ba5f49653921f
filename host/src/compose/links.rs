//! Links into the Velociraptor GUI, exactly as VQL `link_to()` builds them: Go's `url.QueryEscape`, with `%20` for
//! `+` in the fragment; downloads with Go's `url.Values.Encode`.

use std::fmt::Write as _;

use crate::facts::live::Prefixes;

/// Where a server's pages are.
#[derive(Debug, Clone, Copy)]
pub enum Root<'a> {
    /// `[links] base_url`, ending in `/`.
    Base(&'a str),
    /// What the server's own links begin with, as it says itself.
    Server {
        /// What stands before `?org_id=` in the address of a page.
        page: &'a str,
        /// What stands before `?` in the address of a download.
        download: &'a str,
    },
}

impl<'a> From<&'a Prefixes> for Root<'a> {
    fn from(links: &'a Prefixes) -> Self {
        Self::Server { page: &links.page, download: &links.download }
    }
}

/// Builds links below one server's root.
#[derive(Debug, Clone, Copy)]
pub struct Links<'a> {
    root: Root<'a>,
    org: &'a str,
}

impl<'a> Links<'a> {
    /// Links into `org` (`root` for the root org) of the server with this root.
    #[must_use]
    pub fn new(root: Root<'a>, org: &'a str) -> Self {
        Self { root, org: if org.is_empty() { "root" } else { org } }
    }

    /// A client's page.
    #[must_use]
    pub fn client(&self, client: &str) -> String {
        self.page(&["host", client])
    }

    /// A flow's tab, such as `logs`.
    #[must_use]
    pub fn flow(&self, client: &str, flow: &str, tab: &str) -> String {
        self.page(&["collected", client, flow, tab])
    }

    /// A hunt's overview.
    #[must_use]
    pub fn hunt(&self, hunt: &str) -> String {
        self.page(&["hunts", hunt, "overview"])
    }

    /// An artifact's definition.
    #[must_use]
    pub fn artifact(&self, name: &str) -> String {
        self.page(&["artifacts", name])
    }

    /// The download of an uploaded file: its place in the file store, and the name it is saved under (the base name
    /// of `stored_name`).
    #[must_use]
    pub fn upload(&self, components: &[String], stored_name: &str) -> String {
        let mut url = match self.root {
            Root::Base(base) => format!("{base}api/v1/DownloadVFSFile?"),
            Root::Server { download, .. } => format!("{download}?"),
        };
        for component in components {
            let _ = write!(url, "fs_components={}&", query_escape(component));
        }
        let _ = write!(url, "org_id={}&vfs_path={}", query_escape(self.org), query_escape(stored_name));
        url
    }

    fn page(&self, segments: &[&str]) -> String {
        let mut url = match self.root {
            Root::Base(base) => format!("{base}app/index.html"),
            Root::Server { page, .. } => page.to_owned(),
        };
        let _ = write!(url, "?org_id={}#", query_escape(self.org));
        for segment in segments {
            let _ = write!(url, "/{}", query_escape(segment).replace('+', "%20"));
        }
        url
    }
}

/// Go's `url.QueryEscape`: all but `A-Z a-z 0-9 - _ . ~` is escaped, a space becomes `+`.
#[must_use]
pub fn query_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://velociraptor.example.org/";
    const LINKS: Links<'_> = Links { root: Root::Base(BASE), org: "root" };

    #[test]
    fn gui_links_carry_the_org_and_escape_each_segment() {
        for (url, rest) in [
            (LINKS.client("C.1f2e"), "app/index.html?org_id=root#/host/C.1f2e"),
            (LINKS.flow("C.1f2e", "F.C0FFEE", "logs"), "app/index.html?org_id=root#/collected/C.1f2e/F.C0FFEE/logs"),
            (LINKS.hunt("H.1"), "app/index.html?org_id=root#/hunts/H.1/overview"),
            (LINKS.artifact("Custom.A B/C+\"é"), "app/index.html?org_id=root#/artifacts/Custom.A%20B%2FC%2B%22%C3%A9"),
        ] {
            assert_eq!(url, format!("{BASE}{rest}"));
        }
        let other = Links::new(Root::Base("https://v.example/base/"), "O 1&x");
        assert_eq!(other.client("C.1"), "https://v.example/base/app/index.html?org_id=O+1%26x#/host/C.1");
        assert_eq!(
            Links::new(Root::Base("https://v.example/"), "").client("C.1"),
            "https://v.example/app/index.html?org_id=root#/host/C.1"
        );
    }

    #[test]
    fn downloads_are_sorted_by_key_and_keep_the_order_of_components() {
        let components = ["clients", "C.1", "uploads", "auto", "C:", "a b.txt"].map(str::to_owned);
        assert_eq!(
            LINKS.upload(&components, "C:\\Temp\\a b.txt"),
            "https://velociraptor.example.org/api/v1/DownloadVFSFile?fs_components=clients&fs_components=C.1\
             &fs_components=uploads&fs_components=auto&fs_components=C%3A&fs_components=a+b.txt\
             &org_id=root&vfs_path=C%3A%5CTemp%5Ca+b.txt"
        );
    }

    #[test]
    fn a_servers_own_prefixes_are_taken_as_they_are() {
        let root = Root::Server { page: "https://v.example/gui/app.html", download: "https://v.example/dl" };
        let links = Links::new(root, "O1");
        assert_eq!(links.client("C.1"), "https://v.example/gui/app.html?org_id=O1#/host/C.1");
        assert_eq!(links.upload(&["a".to_owned()], "a"), "https://v.example/dl?fs_components=a&org_id=O1&vfs_path=a");
    }
}
