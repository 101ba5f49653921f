//! From bytes to an admitted line: limits on length, depth and node count, checked before anything is built from it.

use std::borrow::Cow;

use memchr::memchr2;

/// Bounds on one line of JSON, from whatever intake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineLimits {
    /// Bytes, without the line end.
    pub line: u64,
    /// Nesting; the root is 1.
    pub depth: u32,
    /// JSON values (objects, arrays and scalars; keys do not count).
    pub nodes: u64,
}

impl Default for LineLimits {
    fn default() -> Self {
        Self { line: 16 * 1024 * 1024, depth: 64, nodes: 2_000_000 }
    }
}

/// Why a line was not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Longer than the limit.
    #[error("the line is longer than {limit} bytes")]
    TooLong {
        /// Bytes allowed.
        limit: u64,
    },
    /// Nested deeper than the limit.
    #[error("nested deeper than {limit} levels at byte {at}")]
    TooDeep {
        /// Levels allowed.
        limit: u32,
        /// Byte offset in the line.
        at: usize,
    },
    /// More values than the limit.
    #[error("more than {limit} JSON values")]
    TooManyNodes {
        /// Values allowed.
        limit: u64,
    },
    /// RFC 8259 section 8.1.
    #[error("not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Byte offset in the line.
        at: usize,
    },
}

/// Checks a line against the limits in one pass over its bytes, without building anything; escapes of lone surrogates
/// (`\ud800`), which no Rust string can hold, become `\ufffd`.
///
/// Only the shape is looked at, not the grammar: valid JSON within the limits is always admitted, and what is no JSON
/// may be, for the parser to refuse. Both counts hold for every prefix that a parser can get through, so a parser that
/// stops at its first error never builds more than the limits allow.
///
/// # Errors
/// A line that is too long, else one that is not UTF-8, else the first limit that is broken from the left.
pub fn admit<'a>(line: &'a [u8], limits: &LineLimits) -> Result<Cow<'a, str>, LineError> {
    if line.len() as u64 > limits.line {
        return Err(LineError::TooLong { limit: limits.line });
    }
    let text = std::str::from_utf8(line).map_err(|error| LineError::NotUtf8 { at: error.valid_up_to() })?;
    let lone = scan(line, limits)?;
    if lone.is_empty() {
        return Ok(Cow::Borrowed(text));
    }
    // Both escapes are six ASCII bytes, so nothing moves.
    let mut patched = line.to_vec();
    for at in lone {
        if let Some(escape) = patched.get_mut(at..at + ESCAPE) {
            escape.copy_from_slice(b"\\ufffd");
        }
    }
    String::from_utf8(patched)
        .map(Cow::Owned)
        .map_err(|error| LineError::NotUtf8 { at: error.utf8_error().valid_up_to() })
}

/// Bytes of `\uXXXX`.
const ESCAPE: usize = 6;

/// Depth and node count. Answers where the lone surrogate escapes begin.
fn scan(line: &[u8], limits: &LineLimits) -> Result<Vec<usize>, LineError> {
    let mut lone = Vec::new();
    let (mut depth, mut nodes) = (0_u32, 0_u64);
    // Whether the byte before belongs to the same number or literal.
    let mut in_scalar = false;
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        let mut new_node = false;
        let mut scalar = false;
        match byte {
            b'"' => {
                new_node = true;
                at = string_end(line, at + 1, &mut lone);
            }
            b'{' | b'[' => {
                new_node = true;
                depth = depth.saturating_add(1);
                if depth > limits.depth {
                    return Err(LineError::TooDeep { limit: limits.depth, at });
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            // The string before was a key. Its value is still to come, so the count never ran ahead.
            b':' => nodes = nodes.saturating_sub(1),
            b',' | b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => {
                scalar = true;
                new_node = !in_scalar;
            }
        }
        in_scalar = scalar;
        if new_node {
            nodes += 1;
            if nodes > limits.nodes {
                return Err(LineError::TooManyNodes { limit: limits.nodes });
            }
        }
        at += 1;
    }
    Ok(lone)
}

/// Where the string that begins at `at` (after its quote) has its closing quote; the end of the line if it has none.
fn string_end(line: &[u8], mut at: usize, lone: &mut Vec<usize>) -> usize {
    loop {
        let Some(rest) = line.get(at..) else { return line.len() };
        let Some(plain) = memchr2(b'"', b'\\', rest) else { return line.len() };
        at += plain;
        match rest.get(plain) {
            Some(b'\\') => at += escape_length(line, at, lone),
            _ => return at,
        }
    }
}

/// How many bytes the escape at `at` takes, with its second half if it is a surrogate pair.
fn escape_length(line: &[u8], at: usize, lone: &mut Vec<usize>) -> usize {
    match code_unit(line, at) {
        Some(0xd800..=0xdbff) if matches!(code_unit(line, at + ESCAPE), Some(0xdc00..=0xdfff)) => 2 * ESCAPE,
        Some(0xd800..=0xdfff) => {
            lone.push(at);
            ESCAPE
        }
        // Any other escape: what follows the character after the backslash is plain text.
        _ => 2,
    }
}

/// The UTF-16 code unit of a `\uXXXX` at `at`.
fn code_unit(line: &[u8], at: usize) -> Option<u32> {
    let digits = line.get(at..at + ESCAPE)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, &digit| Some(unit * 16 + char::from(digit).to_digit(16)?))
}

#[cfg(test)]
mod tests;
