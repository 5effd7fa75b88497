//! Whatever is given as a pattern: no panic, bounded time and memory, and no stall while matching.

use logproc::grok::{
    CompileOptions, Dictionary, EcsCompatibility, Grok, GrokErrorKind, Limit, Regex, Scratch, SyntaxErrorKind, Timeout,
};
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// Tokens from which patterns are put together, so that they often mean something.
fn token() -> impl Strategy<Value = String> {
    let special = prop::sample::select(vec![
        "(",
        ")",
        "(?:",
        "(?<a>",
        "(?<b>",
        "(?>",
        "(?=",
        "(?!",
        "(?<=",
        "(?<!",
        "(?~",
        "(?(1)",
        "(?(<a>)",
        "(?i)",
        "(?mx-i:",
        "(?#",
        "[",
        "[^",
        "]",
        "[[:alpha:]]",
        "[:",
        "&&",
        "-",
        "|",
        "*",
        "+",
        "?",
        "{2}",
        "{2,}",
        "{,3}",
        "{1,100000}",
        "{99999}",
        "{",
        "}",
        "\\",
        "\\1",
        "\\k<a>",
        "\\k<a+1>",
        "\\g<a>",
        "\\g<0>",
        "\\g<-1>",
        "\\p{Alpha}",
        "\\p{^Han}",
        "\\x{41}",
        "\\xff",
        "\\u00e9",
        "\\R",
        "\\X",
        "\\K",
        "\\b",
        "\\A",
        "\\z",
        "\\Z",
        "\\G",
        "^",
        "$",
        ".",
        "%{WORD}",
        "%{IP:a:int}",
        "%{",
        "%{NOPE}",
        "%{X=\\d+}",
        ":",
        "=",
        "a",
        "é",
        "ß",
        " ",
        "\n",
    ]);
    prop_oneof![8 => special.prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)]
}

fn pattern() -> impl Strategy<Value = String> {
    prop::collection::vec(token(), 0..24).prop_map(|tokens| tokens.concat())
}

/// Steps that take a few milliseconds at most.
const SMALL: Limit = Limit { steps: 20_000, deadline: None, shared: false };

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn patterns_made_of_tokens(pattern in pattern(), text in "[ab é\n.1ß-]{0,40}") {
        if let Ok(regex) = Regex::new(&pattern) {
            let _ = regex.try_captures_at(&text, 0, &mut Scratch::new(), &SMALL);
        }
        let dictionary = Dictionary::bundled(EcsCompatibility::V8);
        if let Ok(grok) = Grok::compile(&pattern, &dictionary, &CompileOptions::default()) {
            let mut scratch = Scratch::new();
            let found = grok.find(&text, &mut scratch, &SMALL);
            for (_, span) in found.iter().flatten().flat_map(|found| found.iter()) {
                prop_assert!(text.get(span).is_some(), "a span that is not on characters");
            }
        }
    }

    #[test]
    fn errors_point_into_the_pattern(pattern in pattern()) {
        let dictionary = Dictionary::bundled(EcsCompatibility::Disabled);
        if let Err(error) = Grok::compile(&pattern, &dictionary, &CompileOptions::default()) {
            prop_assert!(error.at <= pattern.len());
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn hostile_sizes_are_refused() {
    let deep = "(".repeat(10_000) + &")".repeat(10_000);
    assert_eq!(Regex::new(&deep).expect_err("too deep").kind, SyntaxErrorKind::TooDeep);
    assert_eq!(
        Regex::new(&("a".to_owned() + &"*".repeat(10_000))).expect_err("too deep").kind,
        SyntaxErrorKind::TooDeep
    );
    assert_eq!(Regex::new(&"[".repeat(10_000)).expect_err("too deep").kind, SyntaxErrorKind::TooDeep);
    assert_eq!(Regex::new("a{100001}").expect_err("too big").kind, SyntaxErrorKind::RepeatTooBig);
    let start = Instant::now();
    let _ = Regex::new(&"(?:a|b){1,100000}".repeat(50));
    let _ = Regex::new("(?:(?:(?:(?:a{1,999}b){1,999}c){1,999}d){1,999}e){1,999}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn expansion_is_bounded() {
    let mut dictionary = Dictionary::empty();
    dictionary.add("P0", "abcdefghij");
    for level in 1..60 {
        dictionary.add(&format!("P{level}"), &format!("%{{P{0}}}%{{P{0}}}", level - 1));
    }
    let error = Grok::compile("%{P59}", &dictionary, &CompileOptions::default()).expect_err("two to the sixtieth");
    assert!(matches!(error.kind, GrokErrorKind::TooLarge(_)), "{error}");
    dictionary.add("LOOP", "a%{LOOP}");
    let error = Grok::compile("x%{LOOP}", &dictionary, &CompileOptions::default()).expect_err("circular");
    assert_eq!((error.kind, error.at), (GrokErrorKind::Circular("LOOP".to_owned()), 1));
}

/// Patterns that are exponential for a backtracking engine.
#[test]
fn nothing_stalls() {
    let long = "a".repeat(5_000);
    let spaced = "a ".repeat(2_000);
    for pattern in [
        "(a*)*b",
        "(a|aa)+$b",
        "(?:a+)+b",
        "(.*a){30}b",
        "(?:(?:a|b)*)*c",
        "^(?:\\w+\\s?)*$!",
        "(?<x>a*)*\\k<x>b",
        "(?=(a+)+b)a",
        "(a+){2,90}b",
    ] {
        let regex = Regex::new(pattern).expect("compiles");
        for text in [&long, &spaced] {
            let start = Instant::now();
            let answer = regex.try_captures_at(text, 0, &mut Scratch::new(), &Limit::default());
            assert!(start.elapsed() < Duration::from_secs(2), "{pattern} took {:?}", start.elapsed());
            assert!(!matches!(answer, Ok(Some(_))), "{pattern} cannot match");
        }
    }
}

#[test]
fn the_deadline_counts() {
    let regex = Regex::new("(?<x>a*)*\\k<x>b").expect("compiles");
    let limit = Limit { steps: u64::MAX, ..Limit::until(Instant::now() + Duration::from_millis(30)) };
    let start = Instant::now();
    assert_eq!(regex.try_captures_at(&"a".repeat(300), 0, &mut Scratch::new(), &limit), Err(Timeout));
    assert!(start.elapsed() < Duration::from_millis(500));
}

#[test]
fn a_shared_limit_holds_for_all_calls_together() {
    let regex = Regex::new("(a+)\\1?b").expect("compiles");
    let text = "a".repeat(40);
    let calls_until_timeout = |shared: bool| {
        let limit = Limit { steps: 20_000, shared, ..Limit::default() };
        let mut scratch = Scratch::new();
        let ends = |scratch: &mut Scratch| regex.try_captures_at(&text, 0, scratch, &limit).is_err();
        let calls = (1..1_000).find(|_| ends(&mut scratch));
        scratch.start_over();
        assert!(!ends(&mut scratch));
        calls
    };
    assert_eq!(calls_until_timeout(false), None);
    assert!(calls_until_timeout(true).is_some_and(|calls| calls > 1));
}
