//! Substring search for patterns that are plain text.

use super::Matcher;
use crate::grok::limit::{Limit, Timeout};
use crate::grok::machine::Scratch;
use crate::grok::syntax::{Kind, Parsed};
use memchr::memmem::Finder;

/// A searcher for a substring.
#[derive(Debug)]
pub(super) struct Literal {
    finder: Finder<'static>,
}

impl Literal {
    pub(super) fn new(parsed: &Parsed) -> Option<Literal> {
        let nodes = match &parsed.root.kind {
            Kind::Concat(nodes) => nodes.as_slice(),
            Kind::Char(_) => std::slice::from_ref(&parsed.root),
            _ => return None,
        };
        let text: Option<String> =
            nodes.iter().map(|node| if let Kind::Char(c) = node.kind { Some(c) } else { None }).collect();
        Some(Literal { finder: Finder::new(text?.as_bytes()).into_owned() })
    }
}

impl Matcher for Literal {
    fn search(&self, text: &str, start: usize, scratch: &mut Scratch, _limit: &Limit) -> Result<bool, Timeout> {
        let Some(found) = self.finder.find(&text.as_bytes()[start..]) else {
            return Ok(false);
        };
        let begin = start + found;
        scratch.slots.clear();
        scratch.slots.extend([begin as u32, (begin + self.finder.needle().len()) as u32]);
        Ok(true)
    }
}
