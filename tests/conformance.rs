//! Runs the answers of other programs against ours: see `tests/conformance/README.md` for what they are and whose.

#[path = "support/vectors.rs"]
mod vectors;

use vectors::Suite;

#[test]
fn suites() {
    let folder = std::path::PathBuf::from(std::env::var("VECTORS").unwrap());
    let only = std::env::var("ONLY").unwrap_or_default();
    for name in std::env::var("SUITES").unwrap().split(',') {
        let suite = Suite::read(&folder.join(name));
        let report = suite.run(&only);
        println!("{name}: {report}");
    }
}
