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
    /// A group that is not closed: `(` without `)`.
    #[error("this group is not closed: a `)` is missing")]
    UnclosedGroup,
    /// A parenthesis that closes no group: `)` without `(`.
    #[error("this `)` closes no group")]
    UnmatchedParenthesis,
    /// A character class that is not closed: `[` without `]`.
    #[error("this character class is not closed: a `]` is missing")]
    UnclosedClass,
    /// An empty character class: `[]`.
    #[error("this character class is empty")]
    EmptyClass,
    /// A range whose end is less than its start: `[z-a]`.
    #[error("this range runs backwards")]
    RangeBackwards,
    /// An unknown POSIX bracket: `[[:nope:]]`.
    #[error("`[:{0}:]` is not a character class")]
    UnknownPosixClass(String),
    /// An unknown character property: `\p{Nope}`.
    #[error("`{0}` is not a character property")]
    UnknownProperty(String),
    /// A character property that is not closed: `\p{`.
    #[error("this property is not closed: a `}}` is missing")]
    UnclosedProperty,
    /// A backslash at the end of the pattern.
    #[error("the pattern ends in a backslash")]
    TrailingBackslash,
    /// An escape whose code is not a Unicode character.
    #[error("this escape is not a character of UTF-8")]
    InvalidCodePoint,
    /// An incomplete control escape: `\C` without `-X`.
    #[error("this control escape is not complete")]
    InvalidControl,
    /// A quantifier that follows nothing, such as `*` at the beginning.
    #[error("there is nothing before this quantifier to repeat")]
    NothingToRepeat,
    /// A quantifier whose maximum is less than its minimum: `{5,3}`.
    #[error("this quantifier's maximum is less than its minimum")]
    RepeatBackwards,
    /// A quantifier above the maximum: `{100001}`.
    #[error("a repetition of more than 100000 is not supported")]
    RepeatTooBig,
    /// Groups nested deeper than the limit.
    #[error("the pattern is nested too deeply")]
    TooDeep,
    /// An unknown kind of group: `(?Z…)`.
    #[error("this kind of group is not known")]
    UnknownGroup,
    /// A group with an empty name: `(?<>…)`.
    #[error("the name of this group is empty")]
    EmptyGroupName,
    /// A group with an invalid name: `(?<1a>…)`.
    #[error("`{0}` cannot be the name of a group")]
    InvalidGroupName(String),
    /// A reference that is not closed: `\k<` without `>`.
    #[error("this reference is not closed")]
    UnclosedReference,
    /// A reference to a group that does not exist: `\k<nope>`.
    #[error("there is no group `{0}`")]
    UnknownGroupReference(String),
    /// A reference by number in a pattern with named groups: `\1`.
    #[error("groups cannot be referred to by number when some have names")]
    NumberedReference,
    /// A call of a name that several groups have: `\g<twice>`.
    #[error("`{0}` names several groups, so it cannot be called")]
    AmbiguousCall(String),
    /// A recursion that never ends: `(?<a>\g<a>)`.
    #[error("this recursion never ends")]
    EndlessRecursion,
    /// A conditional that is not valid: `(?(nope)…)`.
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
    /// A placeholder whose pattern is not in the dictionary: `%{NOPE}`.
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
