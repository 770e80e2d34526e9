//! What is measured, in which unit, and whether more of it is better.

use serde::Serialize;

/// One kind of figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The median of an acquire + release, in microseconds.
    CycleP50Us,
    /// The 99th percentile of the same.
    CycleP99Us,
    /// Acquire + release, by all tasks together.
    CyclesPerSecond,
    /// How often the lock went to another waiter than the one that had it before.
    OwnerChangesPerSecond,
    /// The 99th percentile of the time from asking to having, in milliseconds.
    WaitP99Ms,
    /// The part of the time in which somebody had the lock.
    UtilisationPercent,
    /// How often the most and the least served waiter had the lock, divided.
    MostToLeastServed,
    /// How often somebody came in before the one inside had left.
    Overlaps,
    /// Commands that a client sent for one acquire + release.
    CommandsPerCycle,
    /// How often a server found something to read in one acquire + release.
    WritesPerCycle,
    /// Commands that clients sent while they only waited or held.
    CommandsPerSecond,
    /// One acquire + release of a machine alone, in nanoseconds.
    MachineNs,
    /// Allocations in one acquire + release.
    AllocationsPerCycle,
    /// Resident memory for each held lock.
    BytesPerLock,
    /// The part of one core that a process used.
    CorePercent,
}

/// Which way a figure improves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Less,
    More,
}

impl Metric {
    /// Which way it improves.
    pub fn better(self) -> Better {
        match self {
            Self::CyclesPerSecond | Self::OwnerChangesPerSecond | Self::UtilisationPercent => {
                Better::More
            }
            Self::CycleP50Us
            | Self::CycleP99Us
            | Self::WaitP99Ms
            | Self::MostToLeastServed
            | Self::Overlaps
            | Self::CommandsPerCycle
            | Self::WritesPerCycle
            | Self::CommandsPerSecond
            | Self::MachineNs
            | Self::AllocationsPerCycle
            | Self::BytesPerLock
            | Self::CorePercent => Better::Less,
        }
    }

    /// What a table calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::CycleP50Us => "cycle p50",
            Self::CycleP99Us => "cycle p99",
            Self::CyclesPerSecond => "cycles/s",
            Self::OwnerChangesPerSecond => "owner changes/s",
            Self::WaitP99Ms => "wait p99",
            Self::UtilisationPercent => "utilisation",
            Self::MostToLeastServed => "most/least served",
            Self::Overlaps => "overlaps",
            Self::CommandsPerCycle => "commands/cycle",
            Self::WritesPerCycle => "writes/cycle",
            Self::CommandsPerSecond => "commands/s",
            Self::MachineNs => "cycle",
            Self::AllocationsPerCycle => "allocations/cycle",
            Self::BytesPerLock => "memory/lock",
            Self::CorePercent => "of one core",
        }
    }

    /// A figure with its unit.
    pub fn show(self, value: f64) -> String {
        let number = rounded(value);
        match self {
            Self::CycleP50Us | Self::CycleP99Us => format!("{number} µs"),
            Self::WaitP99Ms => format!("{number} ms"),
            Self::MachineNs => format!("{number} ns"),
            Self::BytesPerLock => format!("{number} B"),
            Self::UtilisationPercent | Self::CorePercent => format!("{number} %"),
            Self::CyclesPerSecond
            | Self::OwnerChangesPerSecond
            | Self::MostToLeastServed
            | Self::Overlaps
            | Self::CommandsPerCycle
            | Self::WritesPerCycle
            | Self::CommandsPerSecond
            | Self::AllocationsPerCycle => number,
        }
    }
}

/// Three digits, or all that stand before the point, in groups.
pub fn rounded(value: f64) -> String {
    if value.is_nan() {
        return String::from("–");
    }
    if value.abs() >= 1000.0 {
        let digits = format!("{value:.0}");
        let groups: Vec<_> =
            digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
        return groups.join(" ");
    }
    let places = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.places$}")
}
