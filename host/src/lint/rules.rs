//! The kinds of findings and their words. Findings about what mail programs support are not here: they are data
//! (`support`).

use super::Severity::{self, Error, Hint, Warning};

/// A kind of finding.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Kebab-case; does not change between versions.
    pub id: &'static str,
    /// How bad.
    pub severity: Severity,
    /// Why it matters, and in which programs.
    pub why: &'static str,
    /// What to do.
    pub advice: &'static str,
}

impl Rule {
    /// The rule of this name.
    #[must_use]
    pub fn of(id: &str) -> Option<&'static Self> {
        RULES.iter().find(|rule| rule.id == id)
    }
}

const fn rule(id: &'static str, severity: Severity, why: &'static str, advice: &'static str) -> Rule {
    Rule { id, severity, why, advice }
}

/// All kinds of findings that are not about support.
pub const RULES: &[Rule] = &[
    // Size.
    rule(
        "html-clipped",
        Error,
        "Gmail shows the first 102 KB of the HTML part and hides the rest behind a link, footer included.",
        "Show fewer rows or columns (`include_result_table_from`, `result_table_max_columns`), attach the rows instead, or \
         shorten inline styles.",
    ),
    rule(
        "html-nearly-clipped",
        Warning,
        "Gmail cuts the HTML part off at 102 KB; an event with a little more in it will be cut.",
        "Show fewer rows or columns, or attach the rows instead.",
    ),
    rule(
        "html-too-long",
        Warning,
        "Only the beginning of the HTML part was looked at; programs that show such mails at all are slow with them.",
        "Attach the rows instead of showing them.",
    ),
    rule(
        "mail-over-10-mb",
        Hint,
        "Postfix takes no mail over 10 240 000 octets unless its `message_size_limit` is raised; Exchange Server's default \
         is about the same.",
        "Lower `attachments_max_mib` if mails come back as too large.",
    ),
    rule(
        "mail-over-20-mb",
        Warning,
        "Many servers take no mail over 20 MB. Attachments grow by a third on their way (base64).",
        "Lower `attachments_max_mib`.",
    ),
    rule(
        "mail-over-25-mb",
        Error,
        "25 MB is the limit of the large mail services for a mail that is sent through them, Gmail among them.",
        "Lower `attachments_max_mib`, or attach fewer sources (`include_result_attachment_from`).",
    ),
    // Subject and header.
    rule(
        "subject-empty",
        Warning,
        "Lists of mails show nothing to click on, and spam filters count it.",
        "Let the subject template write something for every event.",
    ),
    rule(
        "subject-long",
        Hint,
        "Lists on a desktop show about 78 characters of a subject, phones about 40.",
        "Put what matters first, or cut long names with `cut(N)`.",
    ),
    rule(
        "subject-shouting",
        Warning,
        "A subject in capitals reads as shouting; spam filters count it.",
        "Write it in small letters, and say what is urgent in a word.",
    ),
    rule(
        "subject-exclamation",
        Warning,
        "Several exclamation marks are typical of spam, and filters count them.",
        "Use one, or none.",
    ),
    rule(
        "header-missing",
        Error,
        "Servers refuse or distrust mails without Date, From and Message-ID.",
        "Report it as a bug: Bewit writes these fields itself.",
    ),
    rule(
        "header-automatic",
        Warning,
        "Without it, absence notes and ticket systems answer an automatic mail, and no filter can tell it from a person's.",
        "Report it as a bug: Bewit writes these fields itself.",
    ),
    // Text and HTML beside one another.
    rule(
        "text-empty",
        Error,
        "Programs that show text only show nothing, and spam filters count HTML without text.",
        "Let the text template say the same as the HTML.",
    ),
    rule(
        "text-much-shorter",
        Warning,
        "Who reads the text part misses most of the mail, and spam filters compare both parts.",
        "Let the text template say the same as the HTML.",
    ),
    rule(
        "text-lacks-facts",
        Warning,
        "Who reads the text part (terminals, some ticket systems, watches) does not learn it.",
        "Add it to the text template, or leave it out of the HTML.",
    ),
    rule(
        "text-lacks-links",
        Hint,
        "Who reads the text part cannot follow the links of the HTML.",
        "Write the addresses into the text template.",
    ),
    rule(
        "image-only",
        Warning,
        "Most programs show no pictures until they are asked to; the mail looks empty, and spam filters count it.",
        "Say it in words.",
    ),
    // Images.
    rule(
        "image-no-alt",
        Warning,
        "Who sees no pictures (screen readers, and every program that blocks them) is told nothing, or the file name.",
        "Write `alt=\"what it shows\"`; for a decoration write `alt=\"\" role=\"presentation\"`.",
    ),
    rule(
        "image-empty-alt",
        Hint,
        "An empty `alt` says that the picture is a decoration; nothing else says so here.",
        "Write what it shows or, for a decoration, add `role=\"presentation\"`.",
    ),
    rule(
        "image-remote",
        Error,
        "It is loaded from elsewhere: programs block it, and where they do not, the server learns who reads the mail.",
        "Put the picture into the mail (`cid:`), or do without it.",
    ),
    rule(
        "image-cid-missing",
        Error,
        "No file of the mail has this Content-ID: programs show a broken picture.",
        "Name a picture that the mail has.",
    ),
    rule(
        "image-no-size",
        Hint,
        "Outlook (Windows) draws the picture as large as it is, and the text jumps when it comes.",
        "Write `width` and `height` as attributes.",
    ),
    // Contrast.
    rule(
        "contrast",
        Warning,
        "WCAG 2.1 AA asks for 4.5:1, or 3:1 for large text (24 px, or 18.7 px in bold); below that many people cannot \
         read it.",
        "Choose a darker or a lighter colour (`_style.html.j2` has those of the stock mails).",
    ),
    rule(
        "contrast-dark",
        Warning,
        "In programs that follow the dark scheme (Apple Mail, Outlook for macOS and the web) many people cannot read it: \
         WCAG 2.1 AA asks for 4.5:1, or 3:1 for large text.",
        "Give both text and background a colour in the `prefers-color-scheme: dark` rules.",
    ),
    // Links.
    rule(
        "link-other-host",
        Error,
        "Text that shows one address and leads to another is how phishing looks; filters and readers distrust it.",
        "Let the text show where the link leads, or say in words what is there.",
    ),
    rule(
        "link-other-name",
        Warning,
        "The text looks like the name of another host than the link leads to; filters may take it for phishing.",
        "Say in words what is there (`Open the flow`).",
    ),
    rule(
        "link-empty",
        Warning,
        "There is nothing to click on, and screen readers read the address aloud.",
        "Write what is there, or remove the link.",
    ),
    rule(
        "link-script",
        Error,
        "Mail programs remove it, and filters take it for an attack.",
        "Link to an `https://` address.",
    ),
    rule(
        "link-relative",
        Error,
        "A mail has no address of its own: the link leads nowhere.",
        "Write the whole address, `https://` included.",
    ),
    rule(
        "link-http",
        Warning,
        "Whoever is between the reader and the server can read and change what is there.",
        "Link to `https://`; for links to the console set `[links] base_url`.",
    ),
    rule(
        "link-ip",
        Warning,
        "Links to a bare IP address are typical of attacks: filters count them, and certificates seldom fit.",
        "Give the host a name.",
    ),
    rule(
        "link-disguised",
        Error,
        "The address is built to look like another one: letters of several scripts, or a name before an `@`.",
        "Find out where it comes from; never let data of endpoints become a link.",
    ),
    rule(
        "link-punycode",
        Warning,
        "The host's name is not ASCII; names with letters that only look familiar are used for phishing.",
        "Check that it is the host you mean.",
    ),
    rule(
        "link-many",
        Hint,
        "Spam filters count links, and screen readers list them all.",
        "Show fewer rows with links, such as uploads (`include_uploads_table_rows`).",
    ),
    // Structure.
    rule(
        "html-no-doctype",
        Hint,
        "Without `<!doctype html>` programs fall back to the rules of the nineties for sizes and tables.",
        "Begin the HTML template with `<!doctype html>`.",
    ),
    rule(
        "html-no-lang",
        Warning,
        "Screen readers guess how to pronounce it, and some programs offer to translate it.",
        "Write `<html lang=\"en\">`, or the language of the mail.",
    ),
    rule(
        "html-no-title",
        Hint,
        "Screen readers and the print view of several programs name the mail by its title.",
        "Write a `<title>` into the head.",
    ),
    rule(
        "table-no-role",
        Hint,
        "A table without header cells is read aloud as data: `table with 1 row and 3 columns`.",
        "Write `role=\"presentation\"` if it only lays things out; else give its columns or rows a `<th>`.",
    ),
    rule(
        "th-no-scope",
        Hint,
        "Screen readers guess which cells the header cell belongs to.",
        "Write `scope=\"col\"` or `scope=\"row\"`.",
    ),
    rule(
        "heading-skipped",
        Warning,
        "Who finds the way by headings, with a screen reader, looks for the one that is not there.",
        "Use the next level, and set the size by a style.",
    ),
    rule(
        "heading-empty",
        Warning,
        "Screen readers stop at a heading that says nothing.",
        "Write something into it, or remove it.",
    ),
    rule("style-in-body", Warning, "Gmail removes `<style>` outside of the head.", "Move it into `<head>`."),
    rule(
        "style-large",
        Warning,
        "Gmail drops a `<style>` that is too large, in parts or whole: 16 KB by the newest tests, 8 KB in earlier years.",
        "Split it, or remove rules that are not used.",
    ),
    rule(
        "nesting-deep",
        Hint,
        "Outlook (Windows) is slow with tables deep in tables, and draws them with gaps.",
        "Use rows and cells instead of tables in tables.",
    ),
    rule(
        "nesting-too-deep",
        Warning,
        "Programs put elements that are deeper than 512 beside one another instead; what is inside was not looked at.",
        "Find the element that is opened again and again.",
    ),
    rule(
        "tag-not-closed",
        Warning,
        "Each program closes it somewhere else: what follows may get its look, or end up outside of its cell.",
        "Close it where it should end.",
    ),
    rule(
        "tag-stray",
        Warning,
        "An end tag without its start tag: one program skips it, another ends something else.",
        "Remove it, or write the start tag.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kebab_case_and_unique_and_words_are_sentences() {
        for (at, rule) in RULES.iter().enumerate() {
            assert!(rule.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{}", rule.id);
            assert!(RULES[..at].iter().all(|other| other.id != rule.id), "{}", rule.id);
            for words in [rule.why, rule.advice] {
                assert!(words.ends_with(['.', '?']) && !words.contains("  "), "{}: {words}", rule.id);
            }
        }
    }
}
