//! How bad it is what a doctor finds.

/// How bad a finding about a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Severity {
    /// Locks can't be had, or two may hold one at the same time in the course of normal operation.
    Danger,
    /// Good to know: some failures cost more than they need, or more than one may think.
    Advice,
}
