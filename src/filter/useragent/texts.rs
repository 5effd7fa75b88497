//! The literals without which expressions can't match, extracted beforehand.
//!
//! They are derived from an expression's syntax tree. For the bundled expressions they are stored in `texts.json`,
//! because parsing a thousand expressions at each start takes longer than all other parsing there; a test compares the
//! file with the expressions.

use std::cell::Cell;

use regex_filtered::model::Model;
use serde::{Deserialize, Serialize};

/// The literals that must occur in a user agent for an expression to match.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Texts {
    /// No requirement.
    Nothing,
    /// The expression matches no user agent.
    Impossible,
    /// All of these.
    All(Vec<Texts>),
    /// At least one of these.
    Any(Vec<Texts>),
    /// This literal.
    Text(String),
}

impl Texts {
    /// Returns the literals that a regular expression requires.
    ///
    /// # Errors
    /// Fails if the expression can't be parsed.
    pub(super) fn of(pattern: &str, ignores_case: bool) -> Result<Texts, ua_parser::ParseError> {
        let mut syntax = regex_syntax::ParserBuilder::new();
        let tree = syntax.case_insensitive(ignores_case).build().parse(pattern);
        let tree = tree.map_err(|error| ua_parser::ParseError::SyntaxError(error.to_string()))?;
        Model::new(&tree).map(Texts::from).map_err(ua_parser::ParseError::ProcessingError)
    }
}

impl From<Model> for Texts {
    fn from(model: Model) -> Texts {
        let all = |models: Vec<Model>| models.into_iter().map(Texts::from).collect();
        match model {
            Model::All(_) => Texts::Nothing,
            Model::None(_) => Texts::Impossible,
            Model::Atom(_, text) => Texts::Text(text),
            Model::And(_, models) => Texts::All(all(models)),
            Model::Or(_, models) => Texts::Any(all(models)),
        }
    }
}

impl From<Texts> for Model {
    fn from(texts: Texts) -> Model {
        let all = |texts: Vec<Texts>| texts.into_iter().map(Model::from).collect();
        match texts {
            Texts::Nothing => Model::all(),
            Texts::Impossible => Model::none(),
            Texts::Text(text) => Model::Atom(Cell::default(), text),
            Texts::All(texts) => Model::And(Cell::default(), all(texts)),
            Texts::Any(texts) => Model::Or(Cell::default(), all(texts)),
        }
    }
}

/// The requirements of each expression, by kind, in the order of the file.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct Prepared {
    pub(super) browsers: Vec<Texts>,
    pub(super) systems: Vec<Texts>,
    pub(super) devices: Vec<Texts>,
}
