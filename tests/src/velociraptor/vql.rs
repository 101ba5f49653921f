//! As much of VQL as an integration's queries have: SELECT lists, WHERE, LET, calls with named arguments, and a LIMIT.

use std::collections::BTreeMap;

/// A piece of text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Word(String),
    Text(String),
    Number(i64),
    Sign(&'static str),
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Text(String),
    Number(i64),
    /// `a.b.c`
    Path(Vec<String>),
    Call(String, Vec<(String, Expr)>),
    Binary(Box<Expr>, &'static str, Box<Expr>),
    List(Vec<Expr>),
    /// A query in braces, as its tokens.
    Query(Vec<Token>),
}

/// One SELECT.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Select {
    /// Columns and their names; none: `*`.
    pub(super) columns: Vec<(String, Expr)>,
    /// What follows FROM.
    pub(super) plugin: String,
    pub(super) args: Vec<(String, Expr)>,
    pub(super) filter: Option<Expr>,
}

impl Select {
    pub(super) fn arg(&self, name: &str) -> Option<&Expr> {
        self.args.iter().find(|(own, _)| own == name).map(|(_, expr)| expr)
    }
}

/// A text, read.
#[derive(Debug, Default)]
pub(super) struct Program {
    pub(super) lets: BTreeMap<String, Expr>,
    /// Every SELECT, also inside others, in the order of the text.
    pub(super) selects: Vec<Select>,
    pub(super) limit: Option<usize>,
}

impl Program {
    /// Reads a text; the error is what the server's log would say.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let tokens = tokens(text)?;
        let mut program = Self::default();
        for (at, token) in tokens.iter().enumerate() {
            let Token::Word(word) = token else { continue };
            let mut parser = Parser { tokens: &tokens, at: at + 1 };
            if word.eq_ignore_ascii_case("LET") {
                let name = parser.word().ok_or("expected a name after LET")?;
                if !parser.take("<=") && !parser.take("=") {
                    return Err(format!("expected = after LET {name}"));
                }
                if !parser.peek_word("SELECT") {
                    program.lets.insert(name, parser.expr()?);
                }
            } else if word.eq_ignore_ascii_case("SELECT") {
                program.selects.push(parser.select()?);
            }
        }
        if program.selects.is_empty() {
            return Err("expected SELECT".to_owned());
        }
        if let [.., Token::Word(word), Token::Number(limit)] = tokens.as_slice()
            && word.eq_ignore_ascii_case("LIMIT")
        {
            program.limit = usize::try_from(*limit).ok();
        }
        Ok(program)
    }

    /// The first SELECT from a plugin.
    pub(super) fn from(&self, plugin: &str) -> Option<&Select> {
        self.selects.iter().find(|select| select.plugin == plugin)
    }
}

const SIGNS: &[&str] =
    &["!=", "<=", ">=", "=~", "=", "<", ">", "(", ")", "{", "}", "[", "]", ",", ".", "*", "+", "-", "/"];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length;
        if rest.starts_with("--") {
            length = rest.find('\n').unwrap_or(rest.len());
        } else if let Some(quote) = ["'''", "'", "\""].into_iter().find(|quote| rest.starts_with(quote)) {
            let inner = &rest[quote.len()..];
            let end = inner.find(quote).ok_or("unterminated string")?;
            tokens.push(Token::Text(inner[..end].to_owned()));
            length = end + 2 * quote.len();
        } else if first.is_ascii_digit() {
            length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            tokens.push(Token::Number(rest[..length].parse().map_err(|_| "number too large")?));
        } else if first.is_alphabetic() || first == '_' {
            length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..length].to_owned()));
        } else {
            let sign = SIGNS.iter().find(|&&sign| rest.starts_with(sign));
            let sign = sign.ok_or_else(|| format!("invalid input text {first:?}"))?;
            tokens.push(Token::Sign(sign));
            length = sign.len();
        }
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Parser<'_> {
    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Sign(own)) if *own == sign);
        self.at += usize::from(found);
        found
    }

    fn need(&mut self, sign: &str) -> Result<(), String> {
        if self.take(sign) { Ok(()) } else { Err(self.unexpected(sign)) }
    }

    fn unexpected(&self, wanted: &str) -> String {
        format!("unexpected token {:?} (expected {wanted})", self.tokens.get(self.at))
    }

    fn peek_word(&self, word: &str) -> bool {
        matches!(self.tokens.get(self.at), Some(Token::Word(own)) if own.eq_ignore_ascii_case(word))
    }

    fn word(&mut self) -> Option<String> {
        let Some(Token::Word(word)) = self.tokens.get(self.at) else { return None };
        self.at += 1;
        Some(word.clone())
    }

    /// What follows the word SELECT.
    fn select(&mut self) -> Result<Select, String> {
        let mut columns = Vec::new();
        if !self.take("*") {
            loop {
                let expr = self.expr()?;
                let name = if self.peek_word("AS") {
                    self.at += 1;
                    self.word().ok_or("expected a name after AS")?
                } else if let Expr::Path(path) = &expr {
                    path.join(".")
                } else {
                    format!("{expr:?}")
                };
                columns.push((name, expr));
                if !self.take(",") {
                    break;
                }
            }
        }
        if !self.peek_word("FROM") {
            return Err(self.unexpected("FROM"));
        }
        self.at += 1;
        let plugin = self.word().ok_or_else(|| self.unexpected("a plugin"))?;
        let args = if self.take("(") { self.args()? } else { Vec::new() };
        let filter = if self.peek_word("WHERE") {
            self.at += 1;
            Some(self.expr()?)
        } else {
            None
        };
        Ok(Select { columns, plugin, args, filter })
    }

    /// Arguments up to the closing bracket.
    fn args(&mut self) -> Result<Vec<(String, Expr)>, String> {
        let mut args = Vec::new();
        while !self.take(")") {
            let name = self.word().ok_or_else(|| self.unexpected("an argument"))?;
            self.need("=")?;
            args.push((name, self.expr()?));
            if !self.take(",") {
                self.need(")")?;
                break;
            }
        }
        Ok(args)
    }

    fn expr(&mut self) -> Result<Expr, String> {
        let mut left = self.term()?;
        loop {
            let operator = ["!=", "<=", ">=", "=~", "=", "<", ">", "*", "+"].into_iter().find(|sign| self.take(sign));
            let operator = match operator {
                Some(operator) => operator,
                None if self.peek_word("AND") => {
                    self.at += 1;
                    let right = self.expr()?;
                    return Ok(Expr::Binary(Box::new(left), "AND", Box::new(right)));
                }
                None => return Ok(left),
            };
            let mut right = self.term()?;
            if operator != "*" && self.take("*") {
                right = Expr::Binary(Box::new(right), "*", Box::new(self.term()?));
            }
            left = Expr::Binary(Box::new(left), operator, Box::new(right));
        }
    }

    fn term(&mut self) -> Result<Expr, String> {
        if self.take("(") {
            let inner = self.expr()?;
            self.need(")")?;
            return Ok(inner);
        }
        if self.take("[") {
            let mut items = Vec::new();
            while !self.take("]") {
                items.push(self.expr()?);
                if !self.take(",") {
                    self.need("]")?;
                    break;
                }
            }
            return Ok(Expr::List(items));
        }
        if self.take("{") {
            let (start, mut depth) = (self.at, 1);
            while depth > 0 {
                match self.tokens.get(self.at) {
                    Some(Token::Sign("{")) => depth += 1,
                    Some(Token::Sign("}")) => depth -= 1,
                    Some(_) => {}
                    None => return Err(self.unexpected("}")),
                }
                self.at += 1;
            }
            return Ok(Expr::Query(self.tokens[start..self.at - 1].to_vec()));
        }
        let token = self.tokens.get(self.at).ok_or("unexpected end")?;
        self.at += 1;
        match token {
            Token::Text(text) => Ok(Expr::Text(text.clone())),
            Token::Number(number) => Ok(Expr::Number(*number)),
            Token::Word(word) if self.take("(") => Ok(Expr::Call(word.clone(), self.args()?)),
            Token::Word(word) => {
                let mut path = vec![word.clone()];
                while self.take(".") {
                    path.push(self.word().ok_or_else(|| self.unexpected("a name"))?);
                }
                Ok(Expr::Path(path))
            }
            Token::Sign(_) => {
                self.at -= 1;
                Err(self.unexpected("an expression"))
            }
        }
    }
}
