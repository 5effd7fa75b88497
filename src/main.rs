//! The `logproc` command.
fn main() {}
