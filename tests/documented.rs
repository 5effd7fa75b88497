//! Every command that `--help`, the README and the pages under `docs/` show is run, on fixtures in a folder of its own. What needs a
//! server is read by the real argument parser, and runs in the end-to-end tests (`replay_cases`, `trials`).

#![allow(clippy::unwrap_used)]

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::error::ErrorKind;

/// An example and where it stands.
struct Example {
    place: String,
    line: String,
    /// True if it is a word in a sentence, which may leave out arguments.
    is_mention: bool,
}

impl fmt::Display for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}`", self.place, self.line)
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All pages for users.
fn pages() -> Vec<PathBuf> {
    let named = [
        "README.md",
        "CONTRIBUTING.md",
        "ARCHITECTURE.md",
        "pipelines/README.md",
        "deploy/README.md",
        "benches/README.md",
    ];
    let mut pages: Vec<PathBuf> = named.iter().map(|name| root().join(name)).collect();
    for folder in ["docs", "docs/adr"] {
        let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    pages.sort();
    pages
}

/// Returns whether a shell line calls the product.
fn has_command(line: &str) -> bool {
    ["", "| ", "&& "].iter().any(|before| {
        let command = format!("{before}logproc ");
        if before.is_empty() { line.starts_with(&command) } else { line.contains(&command) }
    })
}

/// The commands on a page: lines of blocks without a language or for a shell, and words in sentences.
fn of_page(path: &Path) -> Vec<Example> {
    let name = path.strip_prefix(root()).unwrap().display().to_string();
    let text = std::fs::read_to_string(path).unwrap();
    let mut examples = Vec::new();
    let (mut block, mut begun) = (None, String::new());
    for (number, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", number + 1);
        if let Some(language) = line.strip_prefix("```") {
            block = if block.is_some() { None } else { Some(language.to_string()) };
            continue;
        }
        match block.as_deref() {
            Some("" | "sh" | "bash" | "console") => {
                begun.push_str(line.trim());
                if let Some(part) = begun.strip_suffix('\\') {
                    begun = part.to_string();
                } else if begun.ends_with('|') {
                    begun.push(' ');
                } else {
                    let line = std::mem::take(&mut begun);
                    if has_command(&line) {
                        examples.push(Example { place, line, is_mention: false });
                    }
                }
            }
            Some(_) => {}
            None => {
                let spans = line.split('`').skip(1).step_by(2).filter(|span| span.starts_with("logproc "));
                examples.extend(spans.flat_map(spelled_out).map(|line| Example {
                    place: place.clone(),
                    line,
                    is_mention: true,
                }));
            }
        }
    }
    examples
}

/// The commands that a word such as `logproc dlq list\|show` stands for.
fn spelled_out(span: &str) -> Vec<String> {
    let span = span.replace("\\|", "|");
    let Some(word) = span.split(' ').find(|word| word.contains('|') && word.len() > 1) else {
        return vec![span.clone()];
    };
    word.split('|').map(|choice| span.replacen(word, choice, 1)).collect()
}

/// The examples in the help of a command and its subcommands, as it is printed.
fn of_help(command: &clap::Command, path: &[&str], examples: &mut Vec<Example>) {
    let output = product().args(path).arg("--help").output().unwrap();
    assert!(output.status.success(), "{path:?}");
    let help = String::from_utf8(output.stdout).unwrap();
    let place = format!("logproc {} --help", path.join(" "));
    let after = help.split("\nExamples:\n").nth(1).or_else(|| help.split("\nExample:\n").nth(1)).unwrap_or_default();
    for line in after.lines().take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("     ")) {
        // What it does stands behind it.
        let line = line.trim().split("   ").next().unwrap().to_string();
        assert!(has_command(&line), "{place}: not a command: {line}");
        examples.push(Example { place: place.clone(), line, is_mention: false });
    }
    for subcommand in command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help") {
        of_help(subcommand, &[path, &[subcommand.get_name()]].concat(), examples);
    }
}

fn product() -> Command {
    Command::new(env!("CARGO_BIN_EXE_logproc"))
}

/// The words of each call of the product in a line of a shell.
fn calls(line: &str) -> Vec<Vec<String>> {
    let mut calls = vec![Vec::new()];
    let (mut word, mut is_word, mut quote) = (String::new(), false, None);
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (Some(_), other) => word.push(other),
            (None, '\'' | '"') => (quote, is_word) = (Some(character), true),
            (None, '#') if !is_word => break,
            (None, ' ' | '|' | '&' | ';' | '<' | '>') => {
                if std::mem::take(&mut is_word) {
                    calls.last_mut().unwrap().push(std::mem::take(&mut word));
                }
                match character {
                    ' ' => {}
                    // The name of a file follows.
                    '<' | '>' => {
                        while characters.next_if(|next| *next == ' ').is_some() {}
                        while characters.next_if(|next| *next != ' ').is_some() {}
                    }
                    _ => calls.push(Vec::new()),
                }
            }
            (None, other) => {
                word.push(other);
                is_word = true;
            }
        }
    }
    if is_word {
        calls.last_mut().unwrap().push(word);
    }
    calls.retain(|words: &Vec<String>| words.first().is_some_and(|word| word == "logproc"));
    calls
}

/// The reason for which a call can't be run here.
fn why_not(words: &[String]) -> Option<&'static str> {
    let has = |option: &str| words.iter().any(|word| word == option);
    match words.get(1).map(String::as_str) {
        Some("replay") => Some("it reads a topic of a Kafka cluster"),
        Some("setup") => Some("it installs templates into an Elasticsearch cluster"),
        Some("dlq") if !has("--file") => Some("it reads the topic of dead letters"),
        Some("run" | "--pipeline") if !has("--stdin") => Some("the pipeline's source and sink are servers"),
        _ if words.iter().any(|word| word.starts_with("/etc/")) => Some("it names a folder of the reader's machine"),
        _ if words.iter().any(|word| is_placeholder(word)) => Some("it has a word in place of an argument"),
        _ => None,
    }
}

/// Returns whether a word stands for an argument: `FILE`, `FILE…`, `[SEARCH]`, `'PATTERN'`.
fn is_placeholder(word: &str) -> bool {
    let bare = word.trim_matches(|character: char| "…[]".contains(character));
    bare.len() > 2 && bare.chars().all(|character| character.is_ascii_uppercase())
}

/// Reads a call with the real argument parser. A mention may leave out what it must have, and have words in place of arguments.
#[track_caller]
fn parse(example: &Example, words: &[String]) {
    let words = words.iter().map(|word| {
        let is_argument = example.is_mention && (is_placeholder(word) || word == "…");
        if is_argument {
            if words.iter().any(|word| word == "completions") { "bash" } else { "2026-01-01T00:00Z" }
        } else {
            word.as_str()
        }
    });
    match logproc::cli::command().try_get_matches_from(words) {
        Ok(_) => {}
        Err(error) if example.is_mention => {
            let is_short = matches!(
                error.kind(),
                ErrorKind::MissingRequiredArgument | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            );
            assert!(is_short, "{example}: {error}");
        }
        Err(error) => panic!("{example}: {error}"),
    }
}

/// A folder with everything that examples name.
fn fixtures() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for shared in ["pipelines", "deploy"] {
        std::os::unix::fs::symlink(root().join(shared), path(shared)).unwrap();
    }
    let line =
        "203.0.113.9 - - [23/Nov/2026:10:05:01 +0000] \"GET /a.html?b=c HTTP/1.1\" 200 612 \"-\" \"curl/8.5.0\"\n";
    std::fs::write(path("access.log"), line.repeat(3)).unwrap();
    std::fs::write(
        path("events.ndjson"),
        std::fs::read(root().join("tests/data/events/filebeat-nginx-access.json")).unwrap(),
    )
    .unwrap();
    let conf =
        "input { stdin {} }\nfilter { grok { match => { \"message\" => \"%{WORD:verb}\" } } }\noutput { stdout {} }\n";
    std::fs::write(path("logstash.conf"), conf).unwrap();
    let pipeline = "[source]\ntype = \"stdin\"\n[sink]\ntype = \"stdout\"\n[[test]]\ninput = \"x\"\nexpect = { message = \"x\" }\n";
    std::fs::write(path("pipeline.toml"), pipeline).unwrap();
    std::fs::create_dir(path("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_logproc"), path("bin/logproc")).unwrap();
    folder
}

/// Runs a line in a shell, in which any command that fails fails the line.
#[track_caller]
fn run(example: &Example) {
    let folder = fixtures();
    // Nobody interrupts it here.
    let line = example.line.replace("tail -f ", "cat ");
    let search = format!("{}:{}", folder.path().join("bin").display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-o", "pipefail", "-c", &line])
        .current_dir(folder.path())
        .envs([("PATH", search.as_str()), ("RUST_LOG", "warn")])
        .env_remove("GEOIP_CITY")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{example}: {}\n{stdout}\n{stderr}", output.status);
}

/// Examples that were run, and those that were read, of which there must be some: else the pages were not understood.
fn check(examples: &[Example]) -> (usize, usize) {
    let (mut ran, mut parsed) = (0, 0);
    for example in examples {
        let calls = calls(&example.line);
        assert!(!calls.is_empty(), "{example}: no call of the product");
        for words in &calls {
            parse(example, words);
        }
        let is_short = example.is_mention && logproc::cli::command().try_get_matches_from(&calls[0]).is_err();
        if is_short || calls.iter().any(|words| why_not(words).is_some()) {
            parsed += 1;
        } else {
            run(example);
            ran += 1;
        }
    }
    (ran, parsed)
}

#[test]
fn examples_of_help_run() {
    let mut examples = Vec::new();
    of_help(&logproc::cli::command(), &[], &mut examples);
    let (ran, parsed) = check(&examples);
    assert!(ran >= 12 && parsed >= 2, "{ran} ran, {parsed} were read");
}

#[test]
fn examples_of_pages_run() {
    let examples: Vec<Example> = pages().iter().flat_map(|page| of_page(page)).collect();
    let (ran, parsed) = check(&examples);
    assert!(ran >= 8 && parsed >= 25, "{ran} ran, {parsed} were read");
}

#[test]
fn a_line_of_a_shell_is_taken_apart_as_a_shell_does() {
    let words = |line: &str| calls(line).into_iter().map(|words| words.join("\u{1f}")).collect::<Vec<_>>();
    assert_eq!(
        words("cat a | logproc explain p.toml '| x' > out && logproc check out"),
        ["logproc\u{1f}explain\u{1f}p.toml\u{1f}| x", "logproc\u{1f}check\u{1f}out"]
    );
    assert_eq!(words("logproc --pipeline a --stdin < b   # c"), ["logproc\u{1f}--pipeline\u{1f}a\u{1f}--stdin"]);
}
