//! What is refused in a template's text, before it is compiled: blank files, `|safe`, `autoescape`, `debug`.

use std::ops::Range;

use super::TemplateError;

/// Findings in one file.
pub(super) fn refused(name: &str, text: &str) -> Vec<TemplateError> {
    if text.trim().is_empty() {
        return vec![TemplateError::of_file(name, text, "it is empty: is it complete?")];
    }
    let mut found = Vec::new();
    for tag in tags(text) {
        let words = words(text, &tag);
        let word = |at: usize| words.get(at).and_then(|span: &Range<usize>| text.get(span.clone())).unwrap_or_default();
        for (at, span) in words.iter().enumerate() {
            let before = if at == 0 { "" } else { word(at - 1) };
            let message = match word(at) {
                "safe" if before == "|" || (tag.is_block && before == "filter") => {
                    "`safe` is not allowed: values come from endpoints, they are always escaped"
                }
                "autoescape" if tag.is_block && at == 0 => {
                    "`autoescape` is not allowed: what is escaped follows the part of the mail"
                }
                "debug" if word(at + 1) == "(" && before != "." && before != "macro" => {
                    "`debug()` is not allowed: it shows all values"
                }
                _ => continue,
            };
            found.push(TemplateError::at(name, text, span.clone(), message));
        }
    }
    found
}

/// The inside of `{{ … }}` or `{% … %}`.
struct Tag {
    is_block: bool,
    span: Range<usize>,
}

/// Tags of a text, comments and raw blocks left out. Tolerant: the compiler will say what is wrong.
fn tags(text: &str) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut at = 0;
    while let Some(open) = text.get(at..).and_then(|rest| rest.find('{')).map(|found| at + found) {
        let kind = text.as_bytes().get(open + 1).copied();
        let (is_block, close) = match kind {
            Some(b'{') => (false, "}}"),
            Some(b'%') => (true, "%}"),
            Some(b'#') => {
                at = text.get(open..).and_then(|rest| rest.find("#}")).map_or(text.len(), |found| open + found + 2);
                continue;
            }
            _ => {
                at = open + 1;
                continue;
            }
        };
        let start = open + 2;
        let end = end_of_tag(text, start, close);
        let span = start..end;
        at = end + 2;
        let inside = text.get(span.clone()).unwrap_or_default().trim_matches(['-', '+', ' ', '\t', '\n', '\r']);
        if is_block && inside == "raw" {
            at = text.get(at..).and_then(|rest| rest.find("endraw").map(|found| at + found)).unwrap_or(text.len());
            continue;
        }
        tags.push(Tag { is_block, span });
    }
    tags
}

/// Where the closing mark is, strings skipped.
fn end_of_tag(text: &str, start: usize, close: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.get(start..).unwrap_or_default().char_indices() {
        match quote {
            Some(open) => {
                if c == open && !escaped {
                    quote = None;
                }
                escaped = c == '\\' && !escaped;
            }
            None if c == '"' || c == '\'' => quote = Some(c),
            None if text.get(start + at..).is_some_and(|rest| rest.starts_with(close)) => return start + at,
            None => {}
        }
    }
    text.len()
}

/// Names and single marks of a tag, strings left out.
fn words(text: &str, tag: &Tag) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut quote = None;
    let mut escaped = false;
    let mut begun: Option<usize> = None;
    for (offset, c) in text.get(tag.span.clone()).unwrap_or_default().char_indices() {
        let at = tag.span.start + offset;
        if let Some(open) = quote {
            if c == open && !escaped {
                quote = None;
            }
            escaped = c == '\\' && !escaped;
            continue;
        }
        if c.is_alphanumeric() || c == '_' {
            begun.get_or_insert(at);
            continue;
        }
        if let Some(start) = begun.take() {
            words.push(start..at);
        }
        if c == '"' || c == '\'' {
            quote = Some(c);
        }
        // The marks that trim blanks are no part of the tag.
        if !c.is_whitespace() && !(matches!(c, '-' | '+') && (offset == 0 || at + 1 == tag.span.end)) {
            words.push(at..at + c.len_utf8());
        }
    }
    if let Some(start) = begun {
        words.push(start..tag.span.end);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_escaping_off_is_found_wherever_it_hides() {
        for bad in [
            "{{ x|safe }}",
            "{{ x | safe }}",
            "{{ x|trim|safe|upper }}",
            "{% set y = x|safe %}",
            "{%- filter safe -%}x{% endfilter %}",
            "{% autoescape false %}x{% endautoescape %}",
            "{%-autoescape 'none'-%}x{% endautoescape %}",
            "{{ debug() }}",
            "{# no #}{{ '}}' ~ x|safe }}",
            "{% raw %}{% endraw %}{{ x|safe }}",
            "  \n\t ",
            "",
        ] {
            assert!(!refused("x.html.j2", bad).is_empty(), "{bad}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_not() {
        for good in [
            "{{ safe }}",
            "{{ '|safe' }}",
            "{# {{ x|safe }} #}x",
            "{% raw %}{{ x|safe }}{% endraw %}",
            "a |safe b",
            "{{ x.safe }}",
            "{{ x|safely }}",
            "{ {{ x }} }",
        ] {
            assert!(refused("x.html.j2", good).is_empty(), "{good}");
        }
    }

    #[test]
    fn the_place_is_told() {
        let found = refused("x.html.j2", "a\n  {{ x|safe }}");
        assert_eq!((found[0].line, found[0].span.clone()), (Some(2), Some(9..13)));
    }
}
