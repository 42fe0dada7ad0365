//! Builds rules and filters with seccompiler.

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::{BpfProgram, SeccompAction, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch};

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;

pub(super) type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// One filter: the rules answer `errno`, all else passes. The crate's prologue kills a foreign architecture (i386).
pub(super) fn program(rules: Rules, errno: i32) -> io::Result<BpfProgram> {
    let refuse = SeccompAction::Errno(errno as u32);
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, refuse, ARCH).map_err(|error| other("compile", error))?;
    filter.try_into().map_err(|error| other("compile", error))
}

/// A rule that holds when every condition does: (argument's index, comparison, value), each on 32 bits.
pub(super) fn rule(conditions: &[(u8, SeccompCmpOp, u64)]) -> io::Result<SeccompRule> {
    let conditions: Result<Vec<_>, _> = conditions
        .iter()
        .map(|(index, op, value)| SeccompCondition::new(*index, Dword, op.clone(), *value))
        .collect();
    conditions
        .and_then(SeccompRule::new)
        .map_err(|error| other("write", error))
}

pub(super) fn other(what: &str, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("cannot {what} the seccomp filter: {error}"))
}
