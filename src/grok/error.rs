//! Errors in patterns, with their positions.

use thiserror::Error;

/// An error in a regular expression.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind}")]
pub struct SyntaxError {
    /// The byte offset in the pattern.
    pub at: usize,
    /// The kind of error.
    pub kind: SyntaxErrorKind,
}

/// The kinds of errors in a regular expression.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SyntaxErrorKind {
    /// `(` without `)`.
    #[error("this group is not closed: a `)` is missing")]
    UnclosedGroup,
    /// `)` without `(`.
    #[error("this `)` closes no group")]
    UnmatchedParenthesis,
    /// `[` without `]`.
    #[error("this character class is not closed: a `]` is missing")]
    UnclosedClass,
    /// `[]`
    #[error("this character class is empty")]
    EmptyClass,
    /// `[z-a]`
    #[error("this range runs backwards")]
    RangeBackwards,
    /// `[[:nope:]]`
    #[error("`[:{0}:]` is not a character class")]
    UnknownPosixClass(String),
    /// `\p{Nope}`
    #[error("`{0}` is not a character property")]
    UnknownProperty(String),
    /// `\p{`
    #[error("this property is not closed: a `}}` is missing")]
    UnclosedProperty,
    /// `\` at the end.
    #[error("the pattern ends in a backslash")]
    TrailingBackslash,
    /// A code that is not a character.
    #[error("this escape is not a character of UTF-8")]
    InvalidCodePoint,
    /// `\C` without `-X`.
    #[error("this control escape is not complete")]
    InvalidControl,
    /// `*` with nothing before.
    #[error("there is nothing before this quantifier to repeat")]
    NothingToRepeat,
    /// `{5,3}`
    #[error("this quantifier's maximum is less than its minimum")]
    RepeatBackwards,
    /// `{100001}`
    #[error("a repetition of more than 100000 is not supported")]
    RepeatTooBig,
    /// Groups nested deeper than the limit.
    #[error("the pattern is nested too deeply")]
    TooDeep,
    /// `(?Z…)`
    #[error("this kind of group is not known")]
    UnknownGroup,
    /// `(?<>…)`
    #[error("the name of this group is empty")]
    EmptyGroupName,
    /// `(?<1a>…)`
    #[error("`{0}` cannot be the name of a group")]
    InvalidGroupName(String),
    /// `\k<` without `>`.
    #[error("this reference is not closed")]
    UnclosedReference,
    /// `\k<nope>`
    #[error("there is no group `{0}`")]
    UnknownGroupReference(String),
    /// `\1` beside named groups.
    #[error("groups cannot be referred to by number when some have names")]
    NumberedReference,
    /// `\g<twice>`
    #[error("`{0}` names several groups, so it cannot be called")]
    AmbiguousCall(String),
    /// `(?<a>\g<a>)`
    #[error("this recursion never ends")]
    EndlessRecursion,
    /// `(?(nope)…)`
    #[error("this conditional is not valid")]
    InvalidCondition,
    /// A look-behind of a kind that Joni rejects.
    #[error("this look-behind is not valid: its length must be known, and it may not contain an atomic group")]
    InvalidLookBehind,
    /// A program that is larger than the limit.
    #[error("the pattern is too large: it would need more than {0} instructions")]
    TooLarge(usize),
}

/// An error in a grok expression, which therefore cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind}")]
pub struct GrokError {
    /// The byte offset in the expression as the user wrote it, for a caret.
    pub at: usize,
    /// The definition of the dictionary that contains the error, if it is not in the expression itself.
    pub within: Option<String>,
    /// The kind of error.
    pub kind: GrokErrorKind,
}

/// The kinds of errors in a grok expression or a dictionary.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GrokErrorKind {
    /// `%{NOPE}`
    #[error("unable to find pattern [{name}] in Grok's pattern dictionary{}", suggestion(.similar))]
    UnknownPattern {
        /// The unknown name.
        name: String,
        /// A name in the dictionary that resembles it.
        similar: Option<String>,
    },
    /// A definition that refers to itself.
    #[error("circular reference in pattern [{0}]")]
    Circular(String),
    /// A `%{` that is not closed, in a definition.
    #[error("malformed pattern: `%{{` is not closed by `}}`")]
    Malformed,
    /// An expanded expression that is too long.
    #[error("the pattern is too large: written out it has more than {0} bytes")]
    TooLarge(usize),
    /// An error in the regular expression.
    #[error("{0}")]
    Syntax(SyntaxErrorKind),
}

fn suggestion(similar: &Option<String>) -> String {
    similar.as_ref().map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
}

/// The error of a pattern file that cannot be read.
#[derive(Debug, Error)]
#[error("cannot read the patterns in {path}: {source}")]
pub struct DictionaryError {
    /// The path of the file.
    pub path: String,
    /// The error of the operating system.
    pub source: std::io::Error,
}
