//! Our engine against Oniguruma: the same spans for every group, over all dictionary patterns and
//! over random expressions.
//!
//! Joni, which Logstash runs, takes `\w`, `\d` and `\s` as ASCII; Oniguruma takes them as Unicode.
//! So these escapes are written out before Oniguruma sees them.

#[path = "grok/generate.rs"]
mod generate;
#[path = "grok/patterns.rs"]
mod patterns;
#[path = "grok/random.rs"]
mod random;

use logproc::grok::{CompileOptions, Dictionary, EcsCompatibility, Grok, Limit, Scratch};
use random::Random;
use std::time::{Duration, Instant};

type Spans = Vec<(String, Option<(usize, usize)>)>;

/// Oniguruma's regular expression with the escapes written out.
struct Oracle(onig::Regex);

impl Oracle {
    fn new(regex: &str) -> Option<Oracle> {
        let options = onig::RegexOptions::REGEX_OPTION_MULTILINE;
        onig::Regex::with_options(&written_out(regex), options, onig::Syntax::ruby()).ok().map(Oracle)
    }

    /// The spans by name; `Err` where Oniguruma gave up.
    fn find(&self, text: &str) -> Result<Option<Spans>, ()> {
        let mut region = onig::Region::new();
        let mut limits = onig::MatchParam::default();
        limits.set_retry_limit_in_match(200_000);
        let found = self.0.search_with_param(
            text,
            0,
            text.len(),
            onig::SearchOptions::SEARCH_OPTION_NONE,
            Some(&mut region),
            limits,
        );
        if found.map_err(drop)?.is_none() {
            return Ok(None);
        }
        let mut spans = vec![("".to_owned(), region.pos(0))];
        self.0.foreach_name(|name, groups| {
            spans.extend(groups.iter().map(|&group| (semantic(name), region.pos(group as usize))));
            true
        });
        spans.sort();
        Ok(Some(spans))
    }
}

fn semantic(name: &str) -> String {
    let mut parts = name.split(':');
    let first = parts.next().unwrap_or("");
    parts.next().unwrap_or(first).to_owned()
}

fn written_out(regex: &str) -> String {
    let mut out = String::new();
    // A name may not begin with a bracket in Oniguruma, though it may in Joni.
    let regex = regex.replace("(?<[", "(?<X:[");
    let mut chars = regex.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('W') => out.push_str("[^0-9A-Za-z_]"),
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('s') => out.push_str("[\\t-\\r\\x20]"),
            Some('S') => out.push_str("[^\\t-\\r\\x20]"),
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    out
}

/// A pattern in both engines, and in ours without automata.
struct Pair {
    grok: Grok,
    simple: Grok,
    oracle: Oracle,
}

impl Pair {
    fn new(expression: &str, dictionary: &Dictionary) -> Option<Pair> {
        let options = CompileOptions { named_captures_only: false, ..CompileOptions::default() };
        let grok = Grok::compile(expression, dictionary, &options).ok()?;
        let simple = CompileOptions { automata_after: u32::MAX, ..options };
        let simple = Grok::compile(expression, dictionary, &simple).expect("it compiled before");
        let oracle = Oracle::new(grok.regex())?;
        Some(Pair { grok, simple, oracle })
    }

    /// Whether a comparison was made.
    fn check(&self, text: &str, scratch: &mut Scratch) -> bool {
        let Ok(wanted) = self.oracle.find(text) else {
            return false;
        };
        for (grok, kind) in [(&self.grok, "with automata"), (&self.simple, "without automata")] {
            let found = grok.find(text, scratch, &Limit::NONE).expect("no limit, no timeout");
            let got = found.map(|found| {
                let mut spans: Spans = vec![("".to_owned(), Some((found.span().start, found.span().end)))];
                for (index, capture) in grok.captures().iter().enumerate() {
                    spans.push((capture.name.clone(), found.get(index).map(|span| (span.start, span.end))));
                }
                spans.sort();
                spans
            });
            assert_eq!(
                got,
                wanted,
                "ours {kind}, then Oniguruma's\npattern {:?}\nregex {:?}\ntext {text:?}",
                grok.as_str(),
                grok.regex()
            );
        }
        true
    }
}

/// Every dictionary pattern with `lines` texts each.
fn dictionaries(seed: u64, lines: usize) -> usize {
    let mut random = Random::new(seed);
    let mut scratch = Scratch::new();
    let mut cases = 0;
    for ecs in [EcsCompatibility::Disabled, EcsCompatibility::V8] {
        let dictionary = Dictionary::bundled(ecs);
        for (name, _) in dictionary.iter() {
            let pair =
                Pair::new(&format!("%{{{name}}}"), &dictionary).unwrap_or_else(|| panic!("{name} does not compile"));
            for line in 0..lines {
                let sample = generate::sample(pair.grok.regex(), &mut random);
                let text = match line % 8 {
                    0 => generate::noise(&mut random),
                    1..=3 => generate::mutate(&sample, &mut random),
                    4 => format!("{} {sample}{}", generate::noise(&mut random), generate::noise(&mut random)),
                    5 => format!("{sample}x"),
                    _ => sample,
                };
                cases += usize::from(pair.check(&text, &mut scratch));
            }
        }
    }
    cases
}

/// Random expressions with random texts.
fn expressions(seed: u64, count: usize) -> usize {
    let mut random = Random::new(seed);
    let mut scratch = Scratch::new();
    let dictionary = Dictionary::empty();
    let mut cases = 0;
    for _ in 0..count {
        let expression = patterns::expression(&mut random, 3, &mut 0);
        // Oniguruma, unlike Joni, misses matches of `$.+`, `\Z.*+` or `.{2,}\s`, so `.` is for the
        // dictionaries' patterns and for the answers of Joni itself.
        let expression = expression.replace('.', "[^c]");
        let Some(pair) = Pair::new(&expression, &dictionary) else { continue };
        for round in 0..8 {
            let text =
                if round % 2 == 0 { patterns::text(&mut random) } else { generate::sample(&expression, &mut random) };
            cases += usize::from(pair.check(&text, &mut scratch));
        }
    }
    cases
}

#[test]
fn every_dictionary_pattern() {
    let cases = dictionaries(20_240_501, 110);
    println!("{cases} cases");
    assert!(cases > 60_000, "only {cases} cases were compared");
}

#[test]
fn random_expressions() {
    let cases = expressions(7, 8_000);
    println!("{cases} cases");
    assert!(cases > 40_000, "only {cases} cases were compared");
}

/// Runs for `LOGPROC_FUZZ_SECONDS`, or for ever if that is 0 or not set.
#[test]
#[ignore = "runs for as long as it is told to"]
fn endless() {
    let seconds = std::env::var("LOGPROC_FUZZ_SECONDS").ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let end = (seconds > 0).then(|| Instant::now() + Duration::from_secs(seconds));
    let mut seed = std::process::id().into();
    let mut cases = 0;
    while end.is_none_or(|end| Instant::now() < end) {
        cases += expressions(seed, 2_000) + dictionaries(seed, 4);
        println!("{cases} cases, seed {seed}");
        seed += 1;
    }
}
