//! Finite automata for pieces of a pattern.
//!
//! A piece without groups, such as an address or a date, needs no backtracking if only one end is possible. The
//! automaton of [`Dfa::build`] reads a piece together with the one byte that follows it. One pass over the text has one
//! of three outcomes:
//!
//! * the piece ends here, and no other end is possible. The order of alternatives, greed and atomic groups cannot
//!   matter then, for they only choose between ends;
//! * the piece does not match here at all;
//! * the automaton declines: a second end is possible, or a test depends on a character beyond ASCII. The piece's
//!   program runs instead.

mod dfa;
mod nfa;
mod stay;
mod stretch;

pub use dfa::{Dfa, Outcome};
