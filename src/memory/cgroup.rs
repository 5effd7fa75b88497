//! The memory limit of the process's control group, such as a container's. (The CPU quota is already considered by
//! [`std::thread::available_parallelism`].)

use std::path::{Path, PathBuf};

/// Returns the smallest memory limit, in bytes, among the process's control group and its ancestors; `None` if there is
/// none.
pub fn memory_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    limit_below(Path::new("/sys/fs/cgroup"), &groups)
}

/// Returns the smallest memory limit in a control group tree mounted at `root`; `groups` is the text of
/// `/proc/self/cgroup`.
fn limit_below(root: &Path, groups: &str) -> Option<u64> {
    let mut least: Option<u64> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => (root.to_path_buf(), "memory.max"),
            names if names.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        // Inside a container the path may be the host's although only the root of the group is mounted, so the root is
        // read too.
        let mut folder: PathBuf = root.join(group.trim_start_matches('/'));
        loop {
            let limit =
                std::fs::read_to_string(folder.join(file)).ok().and_then(|text| text.trim().parse::<u64>().ok());
            least = limit.into_iter().chain(least).min();
            if folder == root || !folder.pop() {
                break;
            }
        }
    }
    // Version 1 represents "no limit" as a number near the end of its range.
    least.filter(|limit| *limit < 1 << 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_above_the_process_counts() {
        let tree = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(limit_below(tree.path(), "0::/a/b\n"), None);
        put("a/memory.max", "1000\n");
        put("a/b/memory.max", "max\n");
        assert_eq!(limit_below(tree.path(), "0::/a/b\n"), Some(1_000));
        put("memory.max", "500\n");
        assert_eq!(limit_below(tree.path(), "0::/not/here\n"), Some(500));
        put("memory/c/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit_below(tree.path(), "5:memory,x:/c\n"), None);
        put("memory/c/memory.limit_in_bytes", "300\n");
        assert_eq!(limit_below(tree.path(), "5:memory,x:/c\n"), Some(300));
    }
}
