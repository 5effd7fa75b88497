//! Fast rejection of lines that cannot match.
//!
//! A lazily built automaton over the outlines of one or more patterns reads a line once. An outline matches wherever
//! its pattern does, so if no outline matches, no pattern does. A match proves nothing.

use crate::grok::analysis::outline;
use crate::grok::syntax::Node;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::NFA;
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input, MatchKind};
use std::fmt;

/// The size in bytes of the automaton's state cache, for each thread that uses it.
const CACHE_BYTES: usize = 1 << 20;
/// The maximum size of the NFA in bytes. Larger ones are not built.
const NFA_BYTES: usize = 1 << 22;

/// An automaton that rejects lines.
pub(crate) struct Rejecter {
    dfa: DFA,
    caches: Pool<Cache, Box<dyn Fn() -> Cache + Send + Sync>>,
}

impl Rejecter {
    /// Builds the automaton of the patterns, or returns `None` if it would be too large.
    pub(crate) fn new<'n>(roots: impl IntoIterator<Item = &'n Node>) -> Option<Rejecter> {
        let outlines: Vec<_> = roots.into_iter().map(outline).collect();
        let config = NFA::config()
            .nfa_size_limit(Some(NFA_BYTES))
            .which_captures(regex_automata::nfa::thompson::WhichCaptures::None);
        let nfa = NFA::compiler().configure(config).build_many_from_hir(&outlines).ok()?;
        let config = DFA::config()
            .match_kind(MatchKind::All)
            .skip_cache_capacity_check(true)
            .cache_capacity(CACHE_BYTES)
            .minimum_cache_clear_count(Some(4));
        let dfa = DFA::builder().configure(config).build_from_nfa(nfa).ok()?;
        let for_cache = dfa.clone();
        let caches = Pool::new(Box::new(move || for_cache.create_cache()) as Box<dyn Fn() -> Cache + Send + Sync>);
        Some(Rejecter { dfa, caches })
    }

    /// Returns whether no pattern can match in `text` from `start` on.
    pub(crate) fn rejects(&self, text: &str, start: usize) -> bool {
        let input = Input::new(text).range(start..).anchored(Anchored::No).earliest(true);
        let mut cache = self.caches.get();
        matches!(self.dfa.try_search_fwd(&mut cache, &input), Ok(None))
    }
}

impl fmt::Debug for Rejecter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Rejecter")
    }
}
