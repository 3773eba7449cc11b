//! From the text of a label selector to its requirements; every error in Kubernetes' words (3.7.2).
//!
//! The grammar is upstream's, with its two contexts: `in` and `notin` are operators where an operator may stand, and
//! ordinary words elsewhere. Kubernetes: `apimachinery/pkg/labels/selector.go` (`Lexer`, `Parser`).

use super::labels::{Operator, Requirement, SelectorError};
use crate::name;
use std::collections::BTreeSet;

/// The requirements of a text, in its order.
pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser { tokens: tokens(text), next: 0 };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            Token::Word(_) | Token::Not => {
                let requirement = parser.requirement();
                let requirement = requirement
                    .map_err(|e| SelectorError(format!("unable to parse requirement: {}", e.0)))?;
                requirements.push(requirement);
                if parser.separator()? == End::OfText {
                    return Ok(requirements);
                }
            }
            Token::End => return Ok(requirements),
            other => return Err(expected(&other, ", expected: !, identifier, or 'end of string'")),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    /// An operator symbol other than `!`.
    Symbol(&'a str),
    Not,
    Comma,
    Open,
    Close,
    End,
}

impl Token<'_> {
    fn text(&self) -> &str {
        match self {
            Token::Word(text) | Token::Symbol(text) => text,
            Token::Not => "!",
            Token::Comma => ",",
            Token::Open => "(",
            Token::Close => ")",
            Token::End => "",
        }
    }
}

#[derive(PartialEq)]
enum End {
    OfText,
    OfRequirement,
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    next: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.next).copied().unwrap_or(Token::End)
    }

    fn take(&mut self) -> Token<'a> {
        let token = self.peek();
        self.next += 1;
        token
    }

    fn separator(&mut self) -> Result<End, SelectorError> {
        match self.take() {
            Token::End => Ok(End::OfText),
            Token::Comma => match self.peek() {
                Token::Word(_) | Token::Not => Ok(End::OfRequirement),
                other => Err(expected(&other, ", expected: identifier after ','")),
            },
            other => Err(expected(&other, ", expected: ',' or 'end of string'")),
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let negated = self.peek() == Token::Not;
        if negated {
            self.take();
        }
        let key = match self.take() {
            Token::Word(key) => key,
            other => return Err(expected(&other, ", expected: identifier")),
        };
        if let Err(texts) = name::qualified_name(key) {
            // The path is absent upstream, and prints so.
            return Err(SelectorError(format!("<nil>: Invalid value: {key:?}: {}", texts.join("; "))));
        }
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, []);
        }
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Requirement::new(key, Operator::Exists, []);
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => self.value()?,
        };
        Requirement::new(key, operator, values)
    }

    fn operator(&mut self) -> Result<Operator, SelectorError> {
        let token = self.take();
        match token.text() {
            "in" => Ok(Operator::In),
            "notin" => Ok(Operator::NotIn),
            "=" => Ok(Operator::Equals),
            "==" => Ok(Operator::DoubleEquals),
            "!=" => Ok(Operator::NotEquals),
            ">" => Ok(Operator::GreaterThan),
            "<" => Ok(Operator::LessThan),
            _ => Err(expected(&token, ", expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    fn value(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok([String::new()].into());
        }
        match self.take() {
            Token::Word(value) => Ok([value.to_string()].into()),
            other => Err(expected(&other, ", expected: identifier")),
        }
    }

    fn values(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        match self.take() {
            Token::Open => {}
            other => return Err(expected(&other, " expected: '('")),
        }
        match self.peek() {
            Token::Word(_) | Token::Comma => self.list(),
            Token::Close => {
                self.take();
                Ok(BTreeSet::new())
            }
            other => Err(expected(&other, ", expected: ',', ')' or identifier")),
        }
    }

    /// Words between commas, up to and with the parenthesis; nothing between commas is the empty word.
    fn list(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        let mut values = BTreeSet::new();
        loop {
            match self.take() {
                Token::Word(value) => {
                    values.insert(value.to_string());
                    match self.peek() {
                        Token::Comma => {}
                        Token::Close => break,
                        other => return Err(expected(&other, ", expected: ',' or ')'")),
                    }
                }
                Token::Comma => {
                    if values.is_empty() || matches!(self.peek(), Token::Close | Token::Comma) {
                        values.insert(String::new());
                    }
                    match self.peek() {
                        Token::Close => break,
                        Token::Comma => drop(self.take()),
                        _ => {}
                    }
                }
                other => return Err(expected(&other, ", expected: ',', or identifier")),
            }
        }
        self.take();
        Ok(values)
    }
}

fn expected(found: &Token<'_>, rest: &str) -> SelectorError {
    SelectorError(format!("found '{}'{rest}", found.text()))
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(is_blank);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '=' | '!' if rest.as_bytes().get(1) == Some(&b'=') => 2,
            c if is_special(c) => 1,
            _ => rest.find(|c| is_special(c) || is_blank(c)).unwrap_or(rest.len()),
        };
        let (token, tail) = rest.split_at(length);
        tokens.push(match token {
            "!" => Token::Not,
            "," => Token::Comma,
            "(" => Token::Open,
            ")" => Token::Close,
            "=" | "==" | "!=" | ">" | "<" => Token::Symbol(token),
            word => Token::Word(word),
        });
        rest = tail.trim_start_matches(is_blank);
    }
    tokens
}

fn is_special(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

#[cfg(test)]
mod tests {
    use crate::selector::Selector;

    fn check(text: &str, expected: Result<&str, &str>) {
        let found = Selector::parse(text).map(|s| s.to_string()).map_err(|e| e.to_string());
        assert_eq!(found, expected.map(str::to_string).map_err(str::to_string), "{text:?}");
    }

    #[test]
    fn texts_parse_and_print_canonically() {
        check("", Ok(""));
        check(" ", Ok(""));
        check("x", Ok("x"));
        check("!x", Ok("!x"));
        check("z=1 , a == 2", Ok("a==2,z=1"));
        check("x!=y", Ok("x!=y"));
        check("x=", Ok("x="));
        check("x=,y", Ok("x=,y"));
        check("x in ( b, a )", Ok("x in (a,b)"));
        check("x notin (a,,b)", Ok("x notin (,a,b)"));
        check("x in (,)", Ok("x in ()"));
        check("in in (in)", Ok("in in (in)"));
        check("x>5,y<7", Ok("x>5,y<7"));
        check("a.b/c-d_e=f", Ok("a.b/c-d_e=f"));
    }

    #[test]
    fn errors_carry_kubernetes_words() {
        let requirement = "unable to parse requirement: found";
        check("x in (a", Err(&format!("{requirement} '', expected: ',' or ')'")));
        check("x=a=b", Err("found '=', expected: ',' or 'end of string'"));
        check("x in a", Err(&format!("{requirement} 'a' expected: '('")));
        check("x in (", Err(&format!("{requirement} '', expected: ',', ')' or identifier")));
        check("x a", Err(&format!("{requirement} 'a', expected: in, notin, =, ==, !=, gt, lt")));
        check("!", Err(&format!("{requirement} '', expected: identifier")));
        check("x=(", Err(&format!("{requirement} '(', expected: identifier")));
        check("x,", Err("found '', expected: identifier after ','"));
        check(",x", Err("found ',', expected: !, identifier, or 'end of string'"));
        check("=x", Err("found '=', expected: !, identifier, or 'end of string'"));
        check("!x=y", Err("found '=', expected: ',' or 'end of string'"));
        check(
            "x in ()",
            Err(
                "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set can't \
                 be empty",
            ),
        );
        check(
            "x>a",
            Err(
                "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value \
                 must be an integer",
            ),
        );
    }

    #[test]
    fn a_bad_key_names_itself_without_a_path() {
        let error = Selector::parse("a@b=c").unwrap_err().to_string();
        assert!(
            error.starts_with("unable to parse requirement: <nil>: Invalid value: \"a@b\": name part must")
        );
    }
}
