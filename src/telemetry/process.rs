//! The metrics of the process under the names of Prometheus's own clients, read from `/proc` when they are asked for.

use std::fmt::Write as _;

/// Clock ticks per second in `/proc`: the kernel's USER_HZ, which is 100 on every architecture that Linux runs containers on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Appends the metrics in the text format of Prometheus. One that the system does not tell is left out.
pub fn render(out: &mut String) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (stat, status, limits, system) =
        (read("/proc/self/stat"), read("/proc/self/status"), read("/proc/self/limits"), read("/proc/stat"));
    let open = std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as f64);
    let mut put = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n");
        }
    };
    put("process_cpu_seconds_total", "counter", "User and system CPU time of the process.", cpu_seconds(&stat));
    put("process_resident_memory_bytes", "gauge", "Resident memory of the process.", bytes_of(&status, "VmRSS:"));
    put("process_virtual_memory_bytes", "gauge", "Virtual memory of the process.", bytes_of(&status, "VmSize:"));
    put("process_open_fds", "gauge", "Open file descriptors.", open);
    put("process_max_fds", "gauge", "File descriptors that may be open at most.", max_fds(&limits));
    put("process_threads", "gauge", "Threads of the process.", number_of(&status, "Threads:"));
    put(
        "process_start_time_seconds",
        "gauge",
        "Start of the process, in seconds since 1970.",
        start_seconds(&stat, &system),
    );
}

/// A field of `/proc/self/stat`, numbered as in proc(5). The second holds the program's name, which may contain spaces.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(number - 3)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_field(stat, 14)? + stat_field(stat, 15)?) / TICKS_PER_SECOND)
}

fn start_seconds(stat: &str, system: &str) -> Option<f64> {
    let boot = system.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(boot.trim().parse::<f64>().ok()? + stat_field(stat, 22)? / TICKS_PER_SECOND)
}

fn number_of(status: &str, name: &str) -> Option<f64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

fn bytes_of(status: &str, name: &str) -> Option<f64> {
    number_of(status, name).map(|kilobytes| kilobytes * 1_024.0)
}

/// The soft limit; infinite where there is none.
fn max_fds(limits: &str) -> Option<f64> {
    match limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()? {
        "unlimited" => Some(f64::INFINITY),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 150 0 0 20 0 9 0 6000 1 2";
        assert_eq!(cpu_seconds(stat), Some(4.0));
        assert_eq!(start_seconds(stat, "cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_060.0));
        assert_eq!(cpu_seconds("12 (a"), None);
    }

    #[test]
    fn the_process_is_described() {
        let mut out = String::new();
        render(&mut out);
        let value = |name: &str| -> f64 {
            let line = out.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} in {out}")).parse().unwrap()
        };
        assert!(
            value("process_resident_memory_bytes") > 1e6
                && value("process_virtual_memory_bytes") > value("process_resident_memory_bytes")
        );
        assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") >= value("process_open_fds"));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - 3_600.0 * 24.0..now + 2.0).contains(&value("process_start_time_seconds")));
        assert!(value("process_cpu_seconds_total") >= 0.0 && value("process_threads") >= 1.0);
    }
}
