//! The machine that the numbers come from.

use std::fs;

/// Kind of processor, number of cores, kernel and load, in words.
pub fn describe() -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = first_line("/proc/sys/kernel/osrelease");
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    // Three averages come first, then what the scheduler counts.
    let load = first_line("/proc/loadavg");
    let averages: Vec<&str> = load.split_whitespace().take(3).collect();
    vec![
        format!("{processor}, {cores} cores, {memory} of memory"),
        format!("Linux {kernel}"),
        format!("load averages when the run began: {}", averages.join(", ")),
    ]
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

/// The value of the first line `name: value` in a file.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let values = text.lines().filter_map(|line| line.split_once(':'));
    values
        .filter(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
        .next()
}
