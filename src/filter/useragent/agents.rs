//! uap-core's regular expressions, compiled lazily.
//!
//! There are some thousand of them, and a user agent needs only a few: those whose required literals occur in it, of
//! which the first match counts. At the start, only a search for these literals is built, from the expressions' syntax
//! trees; an expression is compiled when it is first tried. `ua-parser` then extracts the fields, one expression at a
//! time.

use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex_filtered::mapper::{self, Mapper};
use ua_parser::{Regexes, device, os, user_agent};

use super::texts::{Prepared, Texts};

/// Expressions of one kind, each with its own extractor.
struct Family<P, E> {
    /// Search for the literals that expressions require.
    texts: AhoCorasick,
    /// Mapping from these literals to expressions.
    mapper: Mapper,
    parsers: Vec<P>,
    /// Compiled expressions; `None` for one that can't be compiled.
    extractors: Vec<OnceLock<Option<E>>>,
}

/// An expression of one kind.
trait Parser {
    type Extractor;

    /// Length below which literals are not searched for.
    const SHORTEST_TEXT: usize;

    fn pattern(&self) -> &str;

    fn ignores_case(&self) -> bool {
        false
    }

    fn build(&self) -> Result<Self::Extractor, ua_parser::Error>;
}

impl Parser for user_agent::Parser<'static> {
    type Extractor = user_agent::Extractor<'static>;
    const SHORTEST_TEXT: usize = 3;

    fn pattern(&self) -> &str {
        &self.regex
    }

    fn build(&self) -> Result<Self::Extractor, ua_parser::Error> {
        let copy = user_agent::Parser {
            regex: self.regex.clone(),
            family_replacement: self.family_replacement.clone(),
            v1_replacement: self.v1_replacement.clone(),
            v2_replacement: self.v2_replacement.clone(),
            v3_replacement: self.v3_replacement.clone(),
            v4_replacement: self.v4_replacement.clone(),
        };
        Ok(user_agent::Builder::new().push(copy)?.build()?)
    }
}

impl Parser for os::Parser<'static> {
    type Extractor = os::Extractor<'static>;
    const SHORTEST_TEXT: usize = 3;

    fn pattern(&self) -> &str {
        &self.regex
    }

    fn build(&self) -> Result<Self::Extractor, ua_parser::Error> {
        let copy = os::Parser {
            regex: self.regex.clone(),
            os_replacement: self.os_replacement.clone(),
            os_v1_replacement: self.os_v1_replacement.clone(),
            os_v2_replacement: self.os_v2_replacement.clone(),
            os_v3_replacement: self.os_v3_replacement.clone(),
            os_v4_replacement: self.os_v4_replacement.clone(),
        };
        Ok(os::Builder::new().push(copy)?.build()?)
    }
}

impl Parser for device::Parser<'static> {
    type Extractor = device::Extractor<'static>;
    const SHORTEST_TEXT: usize = 2;

    fn pattern(&self) -> &str {
        &self.regex
    }

    fn ignores_case(&self) -> bool {
        self.regex_flag == Some(device::Flag::IgnoreCase)
    }

    fn build(&self) -> Result<Self::Extractor, ua_parser::Error> {
        let copy = device::Parser {
            regex: self.regex.clone(),
            regex_flag: self.ignores_case().then_some(device::Flag::IgnoreCase),
            device_replacement: self.device_replacement.clone(),
            brand_replacement: self.brand_replacement.clone(),
            model_replacement: self.model_replacement.clone(),
        };
        Ok(device::Builder::new().push(copy)?.build()?)
    }
}

impl<P: Parser> Family<P, P::Extractor> {
    /// Builds a family from expressions and the literals that each requires.
    fn new(parsers: Vec<P>, texts: Vec<Texts>) -> Result<Self, ua_parser::Error> {
        let mut builder = mapper::Builder::new(P::SHORTEST_TEXT);
        texts.into_iter().for_each(|texts| builder.push(texts.into()));
        let (mapper, texts) = builder.build();
        // The noncontiguous NFA is the fastest to build, and only user agents that are not cached are searched.
        let soonest = Some(AhoCorasickKind::NoncontiguousNFA);
        let texts = AhoCorasick::builder().kind(soonest).ascii_case_insensitive(true).build(texts);
        let texts = texts.map_err(ua_parser::BuildError::PrefilterError)?;
        let extractors = parsers.iter().map(|_| OnceLock::new()).collect();
        Ok(Family { texts, mapper, parsers, extractors })
    }

    /// Compiles all expressions.
    fn complete(&self) -> Result<(), ua_parser::Error> {
        self.parsers.iter().zip(&self.extractors).try_for_each(|(parser, place)| {
            let built = parser.build()?;
            place.get_or_init(|| Some(built));
            Ok(())
        })
    }

    /// Returns the result of the first expression that matches.
    fn first<'s, V>(&'s self, agent: &'s str, extract: impl Fn(&'s P::Extractor, &'s str) -> Option<V>) -> Option<V> {
        let texts = self.texts.find_overlapping_iter(agent).map(|found| found.pattern().as_usize());
        self.mapper.atom_to_re(texts).into_iter().find_map(|index| {
            let extractor = self.extractors.get(index)?.get_or_init(|| self.parsers[index].build().ok());
            extract(extractor.as_ref()?, agent)
        })
    }
}

/// The expressions for browsers, operating systems and devices.
pub(super) struct Agents {
    browsers: Family<user_agent::Parser<'static>, user_agent::Extractor<'static>>,
    systems: Family<os::Parser<'static>, os::Extractor<'static>>,
    devices: Family<device::Parser<'static>, device::Extractor<'static>>,
}

impl Agents {
    /// Parses uap-core's `regexes.yaml`.
    ///
    /// # Errors
    /// Fails if the text is not such a file, or contains an invalid expression.
    pub(super) fn read(text: &str) -> Result<Agents, String> {
        let regexes = regexes(text)?;
        let prepared = prepared(&regexes).map_err(|error| unusable(error.into()))?;
        Agents::new(regexes, prepared)
    }

    /// Parses a file whose expressions' literals were extracted beforehand.
    ///
    /// # Errors
    /// Fails if either text is invalid.
    pub(super) fn read_prepared(text: &str, texts: &str) -> Result<Agents, String> {
        let prepared =
            serde_json::from_str(texts).map_err(|error| format!("not the texts of a regexes.yaml: {error}"))?;
        Agents::new(regexes(text)?, prepared)
    }

    fn new(regexes: Regexes<'static>, prepared: Prepared) -> Result<Agents, String> {
        let families = || {
            Ok(Agents {
                browsers: Family::new(regexes.user_agent_parsers, prepared.browsers)?,
                systems: Family::new(regexes.os_parsers, prepared.systems)?,
                devices: Family::new(regexes.device_parsers, prepared.devices)?,
            })
        };
        families().map_err(unusable)
    }

    /// Compiles all expressions, so that those of a user's own file are validated before they are needed.
    ///
    /// # Errors
    /// Fails if an expression can't be compiled.
    pub(super) fn check(&self) -> Result<(), String> {
        let complete = || {
            self.browsers.complete()?;
            self.systems.complete()?;
            self.devices.complete()
        };
        complete().map_err(unusable)
    }

    /// Returns browser, operating system and device of a user agent.
    pub(super) fn extract<'s>(
        &'s self,
        agent: &'s str,
    ) -> (Option<user_agent::ValueRef<'s>>, Option<os::ValueRef<'s>>, Option<device::ValueRef<'s>>) {
        (
            self.browsers.first(agent, |one, agent| one.extract(agent)),
            self.systems.first(agent, |one, agent| one.extract(agent)),
            self.devices.first(agent, |one, agent| one.extract(agent)),
        )
    }
}

fn regexes(text: &str) -> Result<Regexes<'static>, String> {
    serde_saphyr::from_str(text).map_err(|error| format!("not a regexes.yaml: {error}"))
}

/// Extracts the literals that each expression requires.
fn prepared(regexes: &Regexes<'static>) -> Result<Prepared, ua_parser::ParseError> {
    fn texts<P: Parser>(parsers: &[P]) -> Result<Vec<Texts>, ua_parser::ParseError> {
        parsers.iter().map(|parser| Texts::of(parser.pattern(), parser.ignores_case())).collect()
    }
    Ok(Prepared {
        browsers: texts(&regexes.user_agent_parsers)?,
        systems: texts(&regexes.os_parsers)?,
        devices: texts(&regexes.device_parsers)?,
    })
}

fn unusable(error: ua_parser::Error) -> String {
    format!("a regular expression of the file is not usable: {error}")
}

#[cfg(test)]
mod tests {
    use super::super::{BUNDLED, BUNDLED_TEXTS};
    use super::*;

    #[test]
    fn the_texts_are_those_of_the_expressions() {
        let current = prepared(&regexes(BUNDLED).unwrap()).unwrap();
        if std::env::var_os("LOGPROC_BLESS").is_some() {
            let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/filter/useragent/texts.json");
            // One expression per line.
            let text = serde_json::to_string(&current).unwrap().replace("},{", "},\n{");
            std::fs::write(file, text + "\n").unwrap();
            return;
        }
        let stored: Prepared = serde_json::from_str(BUNDLED_TEXTS).unwrap();
        assert!(stored == current, "texts.json is not current: run `LOGPROC_BLESS=1 cargo test --lib the_texts_are`");
    }

    #[test]
    fn what_is_compiled_late_says_what_all_together_say() {
        let lazy = Agents::read_prepared(BUNDLED, BUNDLED_TEXTS).unwrap();
        let whole = ua_parser::Extractor::try_from(regexes(BUNDLED).unwrap()).unwrap();
        // All quoted texts of these files: user agents, and many that are not.
        let data = concat!(
            include_str!("../../../tests/data/grok/apache-access.log"),
            include_str!("../../../tests/conformance/logstash-filters/useragent.jsonl")
        );
        let agents: std::collections::BTreeSet<&str> = data.split('"').filter(|text| text.len() > 8).collect();
        assert!(agents.len() > 100);
        for agent in agents {
            let (browser, system, device) = lazy.extract(agent);
            let (expected_browser, expected_system, expected_device) = whole.extract(agent);
            assert_eq!((browser, system, device), (expected_browser, expected_system, expected_device), "{agent}");
        }
    }
}
