//! What the programs cost the verifier. It follows them at each start of a jail, and that takes a good part of the start.

use super::super::{HOOKS, Programs};
use super::lab::in_namespace;
use std::os::fd::AsRawFd;

/// How many instructions of each program the verifier may follow: a tenth more than the most that it follows on Linux 6.1, 6.18
/// and 7.3, which differ by up to a half. A program that needs more on purpose gets a new limit here.
const LIMITS: [(&str, u64); 13] = [
    ("egress", 2760),
    ("ingress", 2600),
    ("sock_create", 325),
    ("sock_ops", 255),
    ("connect4", 1355),
    ("connect6", 1680),
    ("sendmsg4", 1265),
    ("sendmsg6", 1660),
    ("recvmsg4", 80),
    ("recvmsg6", 110),
    ("setsockopt", 190),
    ("getpeername4", 125),
    ("getpeername6", 165),
];

#[test]
fn the_verifier_follows_few_instructions() {
    in_namespace(|| {
        let programs = Programs::load(&Programs::object().unwrap(), true).unwrap();
        let mut costly = Vec::new();
        for (index, hook) in HOOKS.iter().enumerate() {
            let (_, limit) = LIMITS.iter().find(|(name, _)| *name == hook.name).unwrap();
            let path = format!("/proc/self/fdinfo/{}", programs.program_fd(index).as_raw_fd());
            let about = std::fs::read_to_string(path).unwrap();
            let field = about.lines().find_map(|line| line.strip_prefix("verified_insns:"));
            let followed: u64 = field.unwrap().trim().parse().unwrap();
            eprintln!("{}: {followed}", hook.name);
            if followed > *limit {
                costly.push(format!("{}: {followed}, more than {limit}", hook.name));
            }
        }
        assert!(costly.is_empty(), "{costly:#?}");
    });
}
