//! Grok beside Oniguruma, fancy-regex and regex, in one run: `cargo bench --bench grok`.
//!
//! The competitors take turns on the same lines, several rounds, and the best round counts, so
//! that a noisy neighbour hurts all alike. Every engine extracts all captures. `regex` cannot
//! compile look-arounds and atomic groups, so it gets the pattern without them, which is not the
//! same pattern. Prints Markdown.

use logproc::grok::{CompileOptions, Dictionary, EcsCompatibility, Grok, GrokSet, Limit, Scratch};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 15;
const LINES: &str = include_str!("../tests/data/grok/apache-access.log");

/// One engine on one pattern.
type Engine<'e> = (&'static str, Box<dyn FnMut(&str) -> usize + 'e>);

/// Nanoseconds a line of the best round, for each engine.
fn measure(engines: &mut [Engine<'_>], lines: &[&str]) -> Vec<f64> {
    let mut best = vec![f64::INFINITY; engines.len()];
    let repeat = (40_000 / lines.len()).max(1);
    for _ in 0..ROUNDS {
        for (engine, best) in engines.iter_mut().zip(&mut best) {
            let rounds = if engine.0 == "ours" { repeat } else { repeat.div_ceil(8) };
            let start = Instant::now();
            for _ in 0..rounds {
                for line in lines {
                    black_box((engine.1)(black_box(line)));
                }
            }
            *best = best.min(start.elapsed().as_nanos() as f64 / (rounds * lines.len()) as f64);
        }
    }
    best
}

fn ours(grok: &Grok) -> Engine<'_> {
    let mut scratch = Scratch::new();
    let engine = move |line: &str| match grok.find(line, &mut scratch, &Limit::default()) {
        Ok(Some(found)) => found.iter().map(|(_, span)| span.end - span.start).sum(),
        _ => 0,
    };
    ("ours", Box::new(engine))
}

fn oniguruma(regex: &str) -> Option<Engine<'static>> {
    let options = onig::RegexOptions::REGEX_OPTION_MULTILINE;
    // A name may not begin with a bracket in Oniguruma.
    let regex = onig::Regex::with_options(&regex.replace("(?<[", "(?<X:["), options, onig::Syntax::ruby()).ok()?;
    let mut region = onig::Region::new();
    let engine = move |line: &str| {
        region.clear();
        match regex.search_with_options(line, 0, line.len(), onig::SearchOptions::SEARCH_OPTION_NONE, Some(&mut region))
        {
            Some(_) => region.iter().map(|(start, end)| end - start).sum(),
            None => 0,
        }
    };
    Some(("oniguruma", Box::new(engine)))
}

/// Names without brackets and colons, and without repeats, for the engines of Rust.
fn renamed(regex: &str) -> String {
    let mut out = String::new();
    let mut rest = regex;
    let mut count = 0;
    while let Some(at) = rest.find("(?<") {
        let after = &rest[at + 3..];
        out.push_str(&rest[..at]);
        if after.starts_with(['=', '!']) {
            out.push_str("(?<");
            rest = after;
            continue;
        }
        count += 1;
        out.push_str(&format!("(?<g{count}>"));
        rest = &after[after.find('>').map_or(0, |end| end + 1)..];
    }
    out + rest
}

fn fancy(regex: &str) -> Option<Engine<'static>> {
    let regex = fancy_regex::Regex::new(&format!("(?s){}", renamed(regex))).ok()?;
    let engine = move |line: &str| match regex.captures(line) {
        Ok(Some(found)) => found.iter().flatten().map(|span| span.end() - span.start()).sum(),
        _ => 0,
    };
    Some(("fancy-regex", Box::new(engine)))
}

/// The pattern without what `regex` does not know.
fn stripped(regex: &str) -> String {
    let mut out = renamed(regex).replace("(?>", "(?:");
    for look in ["(?<![0-9.+-])", "(?<![0-9])", "(?![0-9])", "(?!<[0-9])", "(?<!\\\\)", "(?<![0-9A-Fa-f])"] {
        out = out.replace(look, "");
    }
    format!("(?s){out}")
}

fn automaton(regex: &str) -> Option<Engine<'static>> {
    let regex = regex::Regex::new(&stripped(regex)).ok()?;
    let mut locations = regex.capture_locations();
    let engine = move |line: &str| match regex.captures_read(&mut locations, line) {
        Some(_) => (0..locations.len()).filter_map(|group| locations.get(group)).map(|(start, end)| end - start).sum(),
        None => 0,
    };
    Some(("regex, stripped", Box::new(engine)))
}

fn row(title: &str, names: &[&str], times: &[f64]) {
    let cell = |name: &str| {
        let time = names.iter().position(|known| *known == name).map(|index| times[index]);
        time.map_or("–".to_owned(), |time| format!("{time:.0}"))
    };
    let oniguruma = names.iter().position(|name| *name == "oniguruma").map(|index| times[index] / times[0]);
    let ratio = oniguruma.map_or("–".to_owned(), |ratio| format!("1/{ratio:.1}"));
    println!(
        "| {title} | {} | {} | {} | {} | {ratio} |",
        cell("ours"),
        cell("oniguruma"),
        cell("fancy-regex"),
        cell("regex, stripped")
    );
}

fn compile(expression: &str, ecs: EcsCompatibility) -> Grok {
    Grok::compile(expression, &Dictionary::bundled(ecs), &CompileOptions::default()).expect("the pattern compiles")
}

fn single(title: &str, grok: &Grok, lines: &[&str]) {
    let mut engines = vec![ours(grok)];
    engines.extend(oniguruma(grok.regex()));
    engines.extend(fancy(grok.regex()));
    engines.extend(automaton(grok.regex()));
    let times = measure(&mut engines, lines);
    let names: Vec<&str> = engines.iter().map(|engine| engine.0).collect();
    row(title, &names, &times);
}

/// Fifty patterns that none of the lines matches.
fn rejection() {
    let expressions: Vec<String> = (0..50)
        .map(|n| match n % 5 {
            0 => format!("%{{SYSLOGBASE}} service{n}: %{{GREEDYDATA:message}}"),
            1 => format!("%{{TIMESTAMP_ISO8601:time}} %{{LOGLEVEL:level}} worker-{n} %{{GREEDYDATA:message}}"),
            2 => format!("job{n} from %{{IP:client}} took %{{NUMBER:seconds:float}}s"),
            3 => format!("^%{{IPORHOST:host}} app{n}\\[%{{POSINT:pid}}\\]: %{{DATA:text}}$"),
            _ => format!("%{{WORD:verb}} /api/v{n}/%{{NOTSPACE:path}} status=%{{INT:status:int}}"),
        })
        .collect();
    let dictionary = Dictionary::bundled(EcsCompatibility::V8);
    let compiled = || {
        expressions.iter().map(|text| Grok::compile(text, &dictionary, &CompileOptions::default()).expect("compiles"))
    };
    let set = GrokSet::new(compiled().collect());
    let mut scratch = Scratch::new();
    let ours = move |line: &str| usize::from(matches!(set.find(line, &mut scratch, &Limit::default()), Ok(Some(_))));
    let regexes: Vec<onig::Regex> = compiled()
        .filter_map(|grok| {
            onig::Regex::with_options(grok.regex(), onig::RegexOptions::REGEX_OPTION_MULTILINE, onig::Syntax::ruby())
                .ok()
        })
        .collect();
    let oniguruma = move |line: &str| regexes.iter().filter(|regex| regex.find(line).is_some()).count();
    let lines: Vec<&str> = LINES.lines().take(20).collect();
    let mut engines: Vec<Engine<'_>> = vec![("ours", Box::new(ours)), ("oniguruma", Box::new(oniguruma))];
    let times = measure(&mut engines, &lines);
    row("a line that none of 50 patterns matches", &["ours", "oniguruma"], &times);
}

/// The patterns of the conformance vectors with their texts: the median of the ratios.
fn vectors() {
    let mut ratios = Vec::new();
    for line in include_str!("../tests/data/grok/patterns-core.jsonl").lines().filter(|line| !line.is_empty()) {
        let Ok(case) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let ecs = if case["config"]["ecs_compatibility"] == "disabled" {
            EcsCompatibility::Disabled
        } else {
            EcsCompatibility::V8
        };
        let Some((field, pattern)) = case["config"]["match"].as_object().and_then(|matches| matches.iter().next())
        else {
            continue;
        };
        let (Some(pattern), Some(text)) = (pattern.as_str(), case["input"]["event"][field].as_str()) else { continue };
        let grok = compile(pattern, ecs);
        let mut engines = vec![ours(&grok)];
        let Some(oniguruma) = oniguruma(grok.regex()) else { continue };
        engines.push(oniguruma);
        let mut best = [f64::INFINITY; 2];
        for _ in 0..5 {
            for (engine, best) in engines.iter_mut().zip(&mut best) {
                let start = Instant::now();
                for _ in 0..200 {
                    black_box((engine.1)(black_box(text)));
                }
                *best = best.min(start.elapsed().as_nanos() as f64 / 200.0);
            }
        }
        ratios.push((best[1] / best[0], best[0], pattern.to_owned()));
    }
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    println!("\n{} vectors: median 1/{:.1} of Oniguruma's time.", ratios.len(), ratios[ratios.len() / 2].0);
    if std::env::args().any(|arg| arg == "--slowest") {
        for (ratio, time, pattern) in ratios.iter().take(40) {
            println!("1/{ratio:.2} {time:.0} ns {pattern}");
        }
    }
}

fn main() {
    let lines: Vec<&str> = LINES.lines().collect();
    let average = lines.iter().map(|line| line.len()).sum::<usize>() / lines.len();
    println!(
        "Nanoseconds a line ({} lines of a real combined log, {average} bytes on average); the last column is ours to Oniguruma's.\n",
        lines.len()
    );
    println!("| pattern | ours | oniguruma | fancy-regex | regex, stripped | ratio |");
    println!("|---|---|---|---|---|---|");
    single("`%{COMBINEDAPACHELOG}`, legacy", &compile("%{COMBINEDAPACHELOG}", EcsCompatibility::Disabled), &lines);
    single("`%{COMBINEDAPACHELOG}`, ECS", &compile("%{COMBINEDAPACHELOG}", EcsCompatibility::V8), &lines);
    single("`%{HTTPDATE:t}`, unanchored", &compile("%{HTTPDATE:t}", EcsCompatibility::V8), &lines);
    single("`%{SYSLOGLINE}`, no match", &compile("%{SYSLOGLINE}", EcsCompatibility::V8), &lines);
    rejection();
    vectors();
}
