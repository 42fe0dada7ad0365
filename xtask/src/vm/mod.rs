//! `cargo xtask vm`: the suite's own tests on other kernels, each booted in a virtual machine.
//!
//! Debian's kernels come from the package mirror that this machine uses anyway; the guest's programs are this machine's own,
//! and the tests are the executables that cargo built. A guest has no network card at all: what the tests send stays in
//! namespaces of the guest's. Where there is no KVM, QEMU translates, which is slow: a test takes ten times as long.

mod archive;
mod boot;
mod disks;
mod kernels;
mod packages;
mod report;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::run::root;
use crate::setup;
use disks::Tests;
use kernels::Kernel;
use report::Table;

/// What each program that this task drives is called in Debian.
const PROGRAMS: [(&str, &str); 7] = [
    ("busybox", "busybox-static"),
    ("depmod", "kmod"),
    ("mke2fs", "e2fsprogs"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("strip", "binutils"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
];

/// The ways of steering, as `HTTPJAIL_TEST_WAY` spells them.
const WAYS: [&str; 3] = ["ebpf", "netns", "rootless"];
/// From where on the kernel lets a proxy without rights read maps: README's limit.
const EBPF_SINCE: (u32, u32) = (5, 19);
/// What is run over each way. Clients and servers of other people's, and what asks no kernel, are for the host.
const TOPICS: [&str; 11] = [
    "lab::",
    "escapes::",
    "exit_status::",
    "faults::",
    "leftovers::",
    "terminal::",
    "identity::",
    "dns::",
    "publish::",
    "unix_sockets::",
    "named_pipes::",
];
/// Topics that choose the way themselves.
const ONLY_EBPF: [&str; 1] = ["attach::"];
/// For `--quick`, which is a step of `cargo xtask ci`: one boot, and in it the ways out over each way.
const QUICK: (&str, &[&str]) = (
    "6.1",
    &[
        "escapes::bound_to_a_device",
        "escapes::udp_lite",
        "exit_status::the_commands_own",
        "leftovers::an_orphan",
    ],
);

/// Runs the named kernels, or all.
pub(crate) fn run(names: &[String], quick: bool, topics: &[String], ways: &[String]) -> Result<()> {
    table(names, quick, topics, ways)?.print()
}

/// What CI does: `--quick`, with a second try as all tests have. Where there is no kernel to be had, or none that boots, that is
/// told and decides nothing, for it says nothing of the change.
pub(crate) fn check() -> Result<()> {
    let quick = || table(&[], true, &[], &[]);
    let tried = quick().and_then(|table| if table.is_good() { Ok(table) } else { quick() });
    match tried {
        Ok(table) if table.is_good() => Ok(()),
        Ok(table) => table.print(),
        Err(error) => {
            println!("warning: NO OTHER KERNEL WAS TRIED: {error:#}");
            Ok(())
        }
    }
}

fn table(names: &[String], quick: bool, topics: &[String], ways: &[String]) -> Result<Table> {
    for name in names {
        if !kernels::NAMES.contains(&name.as_str()) {
            bail!("no kernel `{name}`: {}", kernels::NAMES.join(", "));
        }
    }
    let ways: Vec<&str> = WAYS
        .into_iter()
        .filter(|way| ways.is_empty() || ways.iter().any(|wanted| wanted == way))
        .collect();
    if ways.is_empty() {
        bail!("ways are {}", WAYS.join(", "));
    }
    setup::debian_packages(&PROGRAMS)?;
    let chosen: Vec<&str> = match (names, quick) {
        ([], true) => vec![QUICK.0],
        ([], false) => kernels::NAMES.to_vec(),
        (names, _) => names.iter().map(String::as_str).collect(),
    };
    let kernels: Vec<Kernel> = chosen.iter().map(|name| kernels::get(name)).collect::<Result<_>>()?;
    let system = disks::system()?;
    let tests = Tests::build()?;
    let mut table = Table::default();
    for kernel in &kernels {
        // One boot a way, so that a kernel that stops takes no other way's results along; all in one where time counts.
        let plans: Vec<Vec<String>> = if quick {
            vec![ways.iter().flat_map(|way| plan(kernel, way, topics, true)).collect()]
        } else {
            ways.iter().map(|way| plan(kernel, way, topics, false)).collect()
        };
        for (plan, name) in plans.iter().zip(if quick { vec!["quick"] } else { ways.clone() }) {
            if plan.is_empty() {
                table.not_promised(kernel, name);
                continue;
            }
            let began = Instant::now();
            let disk = tests.disk(plan)?;
            let results = boot::boot(kernel, name, &system, disk.path(), plan.len())?;
            table.add(kernel, &results);
            eprintln!("vm: {} {name}: {} s", kernel.name, began.elapsed().as_secs());
        }
    }
    Ok(table)
}

/// The lines of a guest's plan: a way, and the tests by the beginning of their names.
fn plan(kernel: &Kernel, way: &str, topics: &[String], quick: bool) -> Vec<String> {
    if way == "ebpf" && kernel.version < EBPF_SINCE {
        return Vec::new();
    }
    let mut list: Vec<&str> = topics.iter().map(String::as_str).collect();
    if list.is_empty() && quick {
        list = QUICK.1.to_vec();
    } else if list.is_empty() {
        list = TOPICS.to_vec();
        if way == "ebpf" {
            list.extend(ONLY_EBPF);
        }
    }
    // What follows is for the test program, which looks for it anywhere in a test's name.
    let whole = |topic: &&str| {
        if topic.contains("::") {
            (*topic).to_owned()
        } else {
            format!("{topic}::")
        }
    };
    list.iter().map(whole).map(|topic| format!("{way} {topic}")).collect()
}

/// Where kernels, disks and results are kept; removing it gets newer ones.
fn folder() -> PathBuf {
    root().join("target/vm")
}
