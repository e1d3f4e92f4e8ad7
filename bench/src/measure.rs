//! Figures: percentiles, medians, and what the kernel says of a process.

use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

/// Durations of many calls.
#[derive(Debug, Clone, Default)]
pub struct Latencies(Vec<f64>);

impl FromIterator<Duration> for Latencies {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        let mut latencies = Self::default();
        for duration in durations {
            latencies.push(duration);
        }
        latencies
    }
}

impl Latencies {
    /// Adds one.
    pub fn push(&mut self, duration: Duration) {
        self.0.push(duration.as_secs_f64() * 1_000.0);
    }

    /// Adds all of another.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The given percentile (0 to 100) in milliseconds, nearest rank.
    pub fn percentile(&mut self, percent: f64) -> f64 {
        self.0.sort_by(f64::total_cmp);
        let last = self.0.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank within the list"
        )]
        let rank = (percent / 100.0 * last as f64).round() as usize;
        self.0.get(rank).copied().unwrap_or(f64::NAN)
    }
}

/// One figure of a scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What it tells.
    pub name: String,
    /// Its value in `unit`; the median of the repetitions once they are merged.
    pub value: f64,
    /// ms, /s, kB, …
    pub unit: &'static str,
}

impl Figure {
    /// A figure.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit }
    }
}

/// The median of each figure over repetitions, which list the same figures in the same order.
pub fn medians(repetitions: &[Vec<Figure>]) -> Vec<Figure> {
    let Some(first) = repetitions.first() else { return Vec::new() };
    let mut merged = first.clone();
    for (index, figure) in merged.iter_mut().enumerate() {
        let mut values: Vec<f64> =
            repetitions.iter().filter_map(|r| r.get(index)).map(|f| f.value).collect();
        values.sort_by(f64::total_cmp);
        figure.value = values[values.len() / 2];
    }
    merged
}

/// Resident memory of a process in bytes (`VmRSS`).
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .context("read /proc/<pid>/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.split_whitespace().nth(1).context("no value")?.parse()?;
    Ok(kilobytes * 1_024)
}

/// Processor time that a process has used (user + system).
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).context("read /proc/<pid>/stat")?;
    let after_name = stat.rsplit_once(')').context("no process name")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    // Fields 14 and 15 of proc(5), counted after the name; in ticks of 1/100 s on every Linux of today.
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Bytes that a folder holds on disk (allocated blocks).
pub fn disk_bytes(folder: &std::path::Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes +=
            if metadata.is_dir() { disk_bytes(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
