//! Pieces of a pattern as finite automata.
//!
//! A piece without groups, such as an address or a date, needs no backtracking if its end is the
//! only one possible. The automaton of [`Dfa::build`] reads a piece together with one byte of what
//! follows it. It answers in one pass over the text:
//!
//! * the piece ends here, and no other end is possible. Then the order of alternatives, greed and
//!   atomic groups cannot matter, for they only choose between ends;
//! * the piece does not match here at all;
//! * it declines: a second end is possible, or a test depends on a character beyond ASCII. Then
//!   the piece's program runs instead.

mod dfa;
mod nfa;
mod stay;
mod stretch;

pub use dfa::{Dfa, Outcome};
