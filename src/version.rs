//! The version of this program and of what it is built on.

use std::sync::OnceLock;

/// The version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Returns the commit that was built, `unknown` where neither git nor `LOGPROC_COMMIT` told it to the build.
pub fn commit() -> &'static str {
    match option_env!("LOGPROC_COMMIT") {
        Some(commit) if !commit.is_empty() => commit,
        _ => "unknown",
    }
}

/// Returns the version of librdkafka.
pub fn librdkafka() -> String {
    rdkafka::util::get_rdkafka_version().1
}

/// Returns what `logproc --version` prints after the name.
pub fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| format!("{VERSION} (commit {}, librdkafka {})", commit(), librdkafka()))
}
