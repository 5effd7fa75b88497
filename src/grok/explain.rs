//! Explanation of why a text does not match.
//!
//! The pattern is run once more, without optimisations, and the furthest position at which a step failed is recorded.
//! That step came from an offset in the pattern, and that offset from a definition of the dictionary.

use super::expand::Expansion;
use super::limit::Limit;
use super::machine::{Machine, Scratch};
use super::program::{EmitOptions, Program, Source, emit};
use super::syntax::Parsed;

/// The result of explaining how far a pattern matches a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// True if the pattern matches the text.
    pub matched: bool,
    /// The byte offset in the text up to which the pattern matched.
    pub offset: usize,
    /// The column of `offset`, in characters counted from 1.
    pub column: usize,
    /// The byte offset at which the furthest attempt began.
    pub start: usize,
    /// The definitions in which the pattern stopped, from the outermost to the innermost. Empty if it stopped in the
    /// expression's own text.
    pub within: Vec<String>,
    /// The field of the innermost of these definitions that has a semantic.
    pub field: Option<String>,
    /// The piece of the regular expression that did not match.
    pub expected: String,
    /// The byte offset in the expression, as written, at which the pattern stopped.
    pub pattern_offset: usize,
    /// True if the search was stopped by its limit.
    pub timed_out: bool,
}

/// The program of a pattern, compiled without optimisations.
#[derive(Debug)]
pub(super) struct Explainer {
    program: Program,
}

impl Explainer {
    pub(super) fn new(parsed: &Parsed) -> Option<Explainer> {
        let source = Source { root: &parsed.root, groups: parsed.groups, refers_to_groups: parsed.refers_to_groups };
        emit(source, EmitOptions { plain: true, ..EmitOptions::default() }).ok().map(|program| Explainer { program })
    }
}

impl Explanation {
    pub(super) fn of(
        explainer: Option<&Explainer>,
        expansion: &Expansion,
        expression: &str,
        text: &str,
    ) -> Explanation {
        let mut explanation = Explanation {
            matched: false,
            offset: 0,
            column: 1,
            start: 0,
            within: Vec::new(),
            field: None,
            expected: expression.to_owned(),
            pattern_offset: 0,
            timed_out: false,
        };
        let Some(explainer) = explainer else {
            return explanation;
        };
        let mut scratch = Scratch::new();
        let mut machine = Machine::new(&explainer.program, text, 0, &mut scratch, &Limit::default());
        machine.reset_furthest();
        for place in (0..=text.len()).filter(|&place| text.is_char_boundary(place)) {
            match machine.attempt_traced(place) {
                Ok(true) => {
                    explanation.matched = true;
                    return explanation;
                }
                Ok(false) => {}
                Err(_) => {
                    explanation.timed_out = true;
                    break;
                }
            }
        }
        let furthest = machine.furthest();
        if !furthest.known {
            return explanation;
        }
        let at = explainer.program.origins[furthest.pc as usize] as usize;
        explanation.offset = furthest.pos as usize;
        explanation.column = text[..explanation.offset].chars().count() + 1;
        explanation.start = furthest.start as usize;
        explanation.within = expansion.pieces_at(at).map(|piece| piece.name.clone()).collect();
        explanation.field = expansion.pieces_at(at).filter_map(|piece| piece.semantic.clone()).last();
        explanation.expected = piece_of(&expansion.regex, at);
        explanation.pattern_offset = expansion.origin_of(at);
        explanation
    }
}

/// Returns the piece of a regular expression that begins at an offset: a run of plain text, a class, or an escape.
fn piece_of(regex: &str, at: usize) -> String {
    let rest = &regex[at..];
    let special = |c: char| "\\^$.|?*+()[]{}".contains(c);
    let mut chars = rest.char_indices();
    let end = match chars.next() {
        Some((_, '\\')) => chars.next().map_or(rest.len(), |(offset, c)| offset + c.len_utf8()),
        Some((_, '[')) => {
            rest.char_indices().skip(2).find(|&(_, c)| c == ']').map_or(rest.len(), |(offset, _)| offset + 1)
        }
        Some((_, c)) if special(c) => c.len_utf8(),
        Some((_, c)) => {
            let plain = rest.find(special).unwrap_or(rest.len());
            // A quantifier belongs to the last character only.
            let quantified = rest[plain..].starts_with(['?', '*', '+', '{']);
            let last = rest[..plain].char_indices().next_back().map_or(0, |(offset, _)| offset);
            if quantified && last > 0 { last } else { plain.max(c.len_utf8()) }
        }
        None => 0,
    };
    rest[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use crate::grok::{CompileOptions, Dictionary, EcsCompatibility, Grok};

    fn explain(pattern: &str, text: &str) -> (usize, Vec<String>, String) {
        let dictionary = Dictionary::bundled(EcsCompatibility::V8);
        let grok = Grok::compile(pattern, &dictionary, &CompileOptions::default()).expect("the pattern compiles");
        let explanation = grok.explain(text);
        assert!(!explanation.matched);
        (explanation.column, explanation.within, explanation.expected)
    }

    #[test]
    fn names_the_place_and_the_piece() {
        assert_eq!(explain("took %{NUMBER:n}ms", "it took 12 s"), (11, vec![], "ms".to_owned()));
        let (column, within, _) = explain("took %{NUMBER:n}ms", "took long");
        assert_eq!((column, within), (6, vec!["NUMBER".to_owned(), "BASE10NUM".to_owned()]));
    }

    #[test]
    fn counts_columns_in_characters() {
        assert_eq!(explain("é+ x", "ééé y").0, 5);
    }

    #[test]
    fn knows_the_field() {
        let dictionary = Dictionary::bundled(EcsCompatibility::V8);
        let grok = Grok::compile("%{COMBINEDAPACHELOG}", &dictionary, &CompileOptions::default()).expect("compiles");
        let explanation = grok.explain("1.2.3.4 - - [17/Foo/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"-\"");
        assert_eq!(explanation.column, 18, "the F might begin February");
        assert_eq!(explanation.field.as_deref(), Some("timestamp"));
        assert_eq!(explanation.within.last().map(String::as_str), Some("MONTH"));
    }
}
