//! Grok: named patterns that extract fields from a line.
//!
//! # How a pattern becomes a matcher
//!
//! ```text
//! %{IP:client} %{WORD:verb}      the expression
//!    │  expand      replaces the placeholders with definitions from the `dictionary`
//! (?<IP:client>…) (?<WORD:verb>…)
//!    │  syntax      parses Ruby's regular expressions into a tree
//! Concat[Capture[…], Char ' ', Capture[…]]
//!    │  analysis    computes which bytes each piece can begin with, and its length
//!    │  program     emits instructions, with as few choices as possible left to run time
//! Save 2, Dispatch 0, …
//!    │  strategy    selects how the program searches a text
//! Match
//! ```
//!
//! The reference is Joni, the regular expression engine of Logstash's grok: leftmost match, alternatives in order,
//! greedy and lazy loops, atomic groups, look-around, back references. Speed must not change a result, so every
//! shortcut rests on a proof about the pattern, and is not taken where there is none:
//!
//! * a branch is skipped if it cannot begin with the next byte, and a run of characters is not given back if nothing
//!   that follows could use it ([`analysis`], [`program`]);
//! * a part whose end is the only one possible is read by an automaton, and so needs no choices at all ([`automaton`]).
//!   Automata take long to build, so an expression has none until it has searched some texts
//!   ([`CompileOptions::automata_after`]);
//! * a line is rejected at once if it lacks a text that every match contains, or if an automaton for a wider language
//!   rejects it ([`strategy`], [`set`]).
//!
//! The rest runs on a backtracking [`machine`] that memoises failed choices once a search turns out to be hard, which
//! makes it linear for all patterns without back references, recursion and conditionals; those are stopped by a budget
//! of steps ([`Limit`]). If a line does not match, [`explain`] runs the pattern once more, without optimisations, to
//! report how far it matched.

mod analysis;
mod automaton;
mod capture;
mod dictionary;
mod error;
mod expand;
mod explain;
mod expression;
mod grapheme;
mod limit;
mod machine;
mod program;
mod regex;
mod set;
mod strategy;
mod syntax;

pub use capture::{CaptureDef, CaptureType, Integer, to_f, to_i};
pub use dictionary::{Definition, Dictionary, EcsCompatibility};
pub use error::{DictionaryError, GrokError, GrokErrorKind, SyntaxError, SyntaxErrorKind};
pub use expand::Dialect;
pub use explain::Explanation;
pub use expression::{CompileOptions, Grok, Match};
pub use limit::{Limit, Timeout};
pub use machine::Scratch;
pub use regex::{Captures, Regex};
pub use set::{GrokSet, SetTimeout};
pub use strategy::{Strategy, StrategyKind};
pub use syntax::SyntaxOptions;
