//! Search for pairs: one regular expression in Ruby's syntax, built from the options in the same way as by the plugin,
//! so that character classes written by a user keep their meaning.

use crate::config::Args;
use crate::filter::mutate::replace_all;
use crate::grok::{Limit, Regex, Scratch, Timeout};

/// A search for pairs.
pub struct Scan {
    /// Expression whose groups are the key, followed by the value in each form in which it may be written.
    pair: Regex,
    value_split: Regex,
}

/// A pair as written in the text.
#[derive(Debug, PartialEq, Eq)]
pub struct Pair<'t> {
    /// Key of the pair.
    pub key: &'t str,
    /// Value without its quotes or brackets; `None` if there is none.
    pub value: Option<&'t str>,
}

/// Returns an expression for a run of characters that are escaped or not in a class.
fn run_of(class: &str) -> String {
    format!(r"((?:\\.|[^{class}])+)")
}

/// Returns an expression for a run of characters up to a pattern.
fn run_until(pattern: &str) -> String {
    format!(r"((?:\\.|(?!{pattern}).)+)")
}

fn enclosed(open: &str, close: &str) -> String {
    format!("{open}{}?{close}", run_of(close))
}

impl Scan {
    /// Builds the expression from the options of `kv`.
    ///
    /// # Errors
    /// Returns the option that is invalid, and a message.
    pub fn compile(args: &Args) -> Result<Scan, (&'static str, String)> {
        let mut patterns = Vec::new();
        for (pattern, class) in [("field_split_pattern", "field_split"), ("value_split_pattern", "value_split")] {
            let (option, text) = match args.text(pattern) {
                Some(text) => (pattern, text),
                None => (class, args.required_text(class)),
            };
            if text.is_empty() {
                return Err((option, format!("`{option}` is empty")));
            }
            let text = if option == class { format!("[{text}]") } else { format!("(?:{text})") };
            Regex::new(&text).map_err(|error| (option, error.to_string()))?;
            patterns.push(text);
        }
        let (field_split, mut value_split) = (&patterns[0], patterns[1].clone());
        if args.text("whitespace").as_deref() != Some("strict") {
            value_split = format!("(?: *{value_split} *)");
        }
        let by_pattern = args.is_given("field_split_pattern");
        let key = if by_pattern || args.is_given("value_split_pattern") {
            run_until(&format!("(?:{value_split}|{field_split})"))
        } else {
            run_of(&(args.required_text("value_split") + &args.required_text("field_split")))
        };
        let mut values = vec![enclosed("\"", "\""), enclosed("'", "'")];
        if args.flag("include_brackets") {
            values.extend([enclosed(r"\(", r"\)"), enclosed(r"\[", r"\]"), enclosed("<", ">")]);
        }
        values.push(if by_pattern { run_until(field_split) } else { run_of(&args.required_text("field_split")) });
        let whole = format!("{key}{value_split}(?:{})?(?:{field_split}|$)", values.join("|"));
        let regex = |text: &str| Regex::new(text).map_err(|error| ("field_split", error.to_string()));
        Ok(Scan { pair: regex(&whole)?, value_split: regex(&value_split)? })
    }

    /// Returns whether a text contains a separator of key and value.
    pub fn may_match(&self, text: &str) -> bool {
        self.value_split.is_match(text)
    }

    /// Returns the next pair from `at` on, and moves `at` behind it.
    ///
    /// # Errors
    /// Fails if the search exceeds the limit.
    pub fn next<'t>(
        &self,
        text: &'t str,
        at: &mut usize,
        scratch: &mut Scratch,
        limit: &Limit,
    ) -> Result<Option<Pair<'t>>, Timeout> {
        let Some(found) = self.pair.try_captures_at(text, *at, scratch, limit)? else { return Ok(None) };
        let end = found.get(0).map_or(text.len(), |whole| whole.end);
        // A pair is never empty, so `at` always advances.
        *at = end.max(*at + 1);
        let value = (2..found.len()).find_map(|group| found.get(group)).map(|span| &text[span]);
        let key = found.get(1).map_or("", |span| &text[span]);
        Ok(Some(Pair { key, value }))
    }
}

/// Characters to remove from a text.
pub struct Strip(Regex);

impl Strip {
    /// Compiles the removal of characters of a class at both ends of every line.
    pub fn ends(class: &str) -> Result<Strip, String> {
        Strip::of(&format!("^[{class}]+|[{class}]+$"))
    }

    /// Compiles the removal of characters of a class anywhere in the text.
    pub fn anywhere(class: &str) -> Result<Strip, String> {
        Strip::of(&format!("[{class}]"))
    }

    fn of(pattern: &str) -> Result<Strip, String> {
        Regex::new(pattern).map(Strip).map_err(|error| error.to_string())
    }

    /// Returns the text without these characters; `None` if it contains none.
    pub fn apply(&self, text: &str) -> Option<String> {
        replace_all(text, &self.0, "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Data, Key, Node, Span};
    use proptest::prelude::*;

    fn scan(options: &[(&str, &str)]) -> Scan {
        let entries = options.iter().map(|(name, value)| {
            let key = Key { span: Span::default(), name: name.to_string() };
            (key, Node { span: Span::default(), data: Data::String(value.to_string()) })
        });
        let defs = super::super::DEF.options.iter().copied();
        Scan::compile(&Args::check("kv", Span::default(), entries.collect(), defs).unwrap()).unwrap()
    }

    fn pairs<'t>(scan: &Scan, text: &'t str) -> Vec<Pair<'t>> {
        let (mut at, mut pairs, mut scratch) = (0, Vec::new(), Scratch::default());
        while let Some(pair) = scan.next(text, &mut at, &mut scratch, &Limit::default()).unwrap() {
            pairs.push(pair);
        }
        pairs
    }

    #[test]
    fn quotes_and_brackets_hold_values_together() {
        let found = pairs(&scan(&[]), r#"a=1 b = "x y" c=(p q) d='' e\ f=g\ h"#);
        let found: Vec<_> = found.into_iter().map(|pair| (pair.key, pair.value)).collect();
        assert_eq!(
            found,
            [("a", Some("1")), ("b", Some("x y")), ("c", Some("p q")), ("d", None), (r"e\ f", Some(r"g\ h"))]
        );
    }

    proptest! {
        #[test]
        fn every_text_ends(text in "[a=b:; \"'(é\\\\\n]{0,40}", split in prop_oneof![Just(":"), Just("=;"), Just(" ")]) {
            for scan in [scan(&[("field_split", split)]), scan(&[("value_split_pattern", ":+"), ("whitespace", "strict")])] {
                let found = pairs(&scan, &text);
                prop_assert!(found.len() <= text.len());
            }
        }
    }
}
