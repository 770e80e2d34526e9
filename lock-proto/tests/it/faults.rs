use std::error::Error as _;
use std::io;
use std::time::Duration;

use lock_proto::{Fault, FaultKind, LockError, LossReason};

#[test]
fn a_fault_says_where_and_what_and_why() {
    let cause = io::Error::other("reset by peer");
    let fault = Fault::unknown("no answer came").with_cause(cause).with_context("server 2");
    assert_eq!(fault.kind(), FaultKind::Unknown);
    assert_eq!(fault.to_string(), "server 2: no answer came");
    assert_eq!(fault.source().map(ToString::to_string).as_deref(), Some("reset by peer"));
    let shown = format!("{fault:?}");
    assert!(shown.contains("Unknown") && shown.contains("reset by peer"), "{shown}");
}

#[test]
fn a_fault_without_a_cause_has_none() {
    assert!(Fault::refused("no space left").source().is_none());
    assert_eq!(Fault::refused("no space left").kind(), FaultKind::Refused);
    assert_eq!(Fault::not_sent("too late").kind(), FaultKind::NotSent);
}

#[test]
fn a_lock_that_was_lost_is_told_from_one_that_was_not_free() {
    let lost = LockError::LockLost(LossReason::Expired);
    assert!(lost.is_lost() && !lost.is_timeout());
    let busy = LockError::Timeout(Duration::from_secs(1));
    assert!(busy.is_timeout() && !busy.is_lost());
}
