//! Notes the commit that is built, for `logproc --version`. It only calls git in this folder.
//!
//! `LOGPROC_COMMIT` in the environment goes first: a build without the repository, such as that of a container, sets it.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LOGPROC_COMMIT");
    // A debug build is not rebuilt for each commit: it shows the commit at which this script last ran.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        for watched in ["HEAD", "logs/HEAD"].iter().filter_map(|name| git(&["rev-parse", "--git-path", name])) {
            if Path::new(&watched).exists() {
                println!("cargo:rerun-if-changed={watched}");
            }
        }
    }
    let given = std::env::var("LOGPROC_COMMIT").ok().filter(|commit| !commit.trim().is_empty());
    if let Some(commit) = given.or_else(own_commit) {
        println!("cargo:rustc-env=LOGPROC_COMMIT={}", commit.trim());
    }
}

/// The commit of this package's own repository, where it has one: not that of a repository which happens to hold its folder.
fn own_commit() -> Option<String> {
    let root = git(&["rev-parse", "--show-toplevel"])?;
    let here = std::env::var("CARGO_MANIFEST_DIR").ok()?;
    let is_own = Path::new(&root).canonicalize().ok()? == Path::new(&here).canonicalize().ok()?;
    if is_own { git(&["rev-parse", "--short=12", "HEAD"]) } else { None }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_string();
    (!text.is_empty()).then_some(text)
}
