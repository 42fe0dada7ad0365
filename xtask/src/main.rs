//! Developer tasks: `cargo xtask TASK`.
//!
//! Each task is one file and one verb. They are quiet when all is well and print the end of what went wrong when not.

mod bench;
mod ci;
mod demo;
mod ebpf;
mod engines;
mod fleet;
mod foreign;
mod fuzz;
mod guard;
mod lint;
mod package;
mod run;
mod setup;
mod soak;
mod suites;
mod test;
mod threats;
mod tidy;
mod vm;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use tidy::Also;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer tasks of httpjail")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building and testing needs and this machine lacks
    Setup,
    /// Show the jail at work: real clients in the lab, a table of what really reached whom
    Demo {
        /// Use this BPF object instead of the committed one
        #[arg(long, value_name = "PATH", conflicts_with = "allow_all")]
        bpf_object: Option<PathBuf>,
        /// Use BPF programs that let everything pass: the demo must fail
        #[arg(long)]
        allow_all: bool,
    },
    /// Run all tests
    Test {
        /// Arguments for the test runner
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run third-party suites and real programs through a jail, by hand and before releases (installs a good deal)
    Suites {
        /// Which: websocket, h2, tls, slow, smuggling, programs; all of these if none is named. Or `defenses [NAME..]`: our
        /// own tests, with a defense of the jail taken out
        names: Vec<String>,
    },
    /// Work a jail's proxy for long, and see that it neither grows nor keeps descriptors nor judges wrongly
    Soak {
        /// How long the mixed load is, which is the last part
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
        minutes: u64,
        /// One stage only: down, up, streams, connections or mixed (where memory that was freed hides no growth)
        only: Option<String>,
    },
    /// Run real container engines with httpjail in the lab, by hand and before releases (installs them and a Debian to run)
    Engines {
        /// Which; all of these if none is named
        kinds: Vec<engines::Kind>,
        /// Raise the first of them, say how to get in, and wait
        #[arg(long)]
        hold: bool,
    },
    /// Simulate ten thousand machines that fetch one policy: the figures of docs/fleet.md
    Fleet,
    /// Build the BPF object from its source
    Ebpf {
        /// Compare with the committed object instead of replacing it
        #[arg(long)]
        check: bool,
        /// Build with tracing inside the programs
        #[arg(long)]
        trace: bool,
    },
    /// Measure the goals for speed against peers in the same run (minutes each, on an idle machine; installs the peers)
    Bench {
        /// Which: G1 to G13; all if none is named
        goals: Vec<String>,
        /// How often each contestant has its turn
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
        rounds: u16,
        /// A fraction of the work, to see that a goal runs at all
        #[arg(long)]
        quick: bool,
        /// Also what takes more than ten minutes: a thousand jails at once
        #[arg(long, conflicts_with = "quick")]
        full: bool,
        /// Measure this httpjail instead of a release build of this tree
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
    },
    /// Count the instructions and allocations of fixed work (installs valgrind)
    Guard {
        /// Write them as the baseline
        #[arg(long, conflicts_with_all = ["binary", "only"])]
        write: bool,
        /// Count those of this httpjail instead of one built of this tree
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
        /// Which, by the beginning of their names
        only: Vec<String>,
    },
    /// Run every fuzzer for a while (needs nightly Rust)
    Fuzz {
        /// How long each
        #[arg(long, value_name = "N", default_value_t = 600)]
        seconds: u64,
        /// Where chance begins; 0 is somewhere else each time
        #[arg(long, value_name = "N", default_value_t = 0)]
        seed: u32,
    },
    /// Boot other kernels in virtual machines and run the suite's tests there (installs QEMU; minutes to hours without KVM)
    Vm {
        /// Which: 5.10, 6.1, 6.12, 6.18, newest; all if none is named
        kernels: Vec<String>,
        /// One kernel, one boot, a few tests
        #[arg(long)]
        quick: bool,
        /// Only these tests, by the beginning of their names (repeatable)
        #[arg(long, value_name = "TESTS")]
        only: Vec<String>,
        /// Only this way of steering: ebpf, netns or rootless (repeatable)
        #[arg(long, value_name = "WAY")]
        way: Vec<String>,
    },
    /// Format, clippy, rustdoc, licenses, and the house rules
    Lint,
    /// The house rules alone
    Tidy {
        /// Write the tables of imports into ARCHITECTURE.md
        #[arg(long)]
        write: bool,
        /// Print the size of the house
        #[arg(long, conflicts_with = "write")]
        figures: bool,
    },
    /// Write the table of threats in SECURITY.md, from docs/threat-model.md and what the tests say they prove
    Threats,
    /// Install the tool from what would be published, somewhere else, and try it
    Package,
    /// Build and link for macOS and Windows, and try the Windows executable under wine (installs ziglang and wine)
    CheckForeign,
    /// All that a change must pass: setup, lint, ebpf --check, test, guard, fuzz, package, check-foreign, vm --quick
    Ci,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Fleet => fleet::run(),
        Task::Setup => setup::run(),
        Task::Demo { bpf_object, allow_all } => demo::run(bpf_object, allow_all),
        Task::Test { arguments } => test::run(&arguments),
        Task::Suites { names } => suites::run(&names),
        Task::Soak { minutes, only } => soak::run(minutes, only.as_deref()),
        Task::Engines { kinds, hold } => engines::run(&kinds, hold),
        Task::Ebpf { check, trace } => ebpf::run(check, trace),
        Task::Bench {
            goals,
            rounds,
            quick,
            full,
            binary,
        } => bench::run(bench::Wish {
            goals,
            rounds: rounds.into(),
            quick,
            full,
            binary,
        }),
        Task::Guard { write, binary, only } => guard::run(write, binary, &only),
        Task::Fuzz { seconds, seed } => fuzz::run(seconds, seed),
        Task::Vm {
            kernels,
            quick,
            only,
            way,
        } => vm::run(&kernels, quick, &only, &way),
        Task::Lint => lint::run(),
        Task::Tidy { write, figures } => tidy::run(match (write, figures) {
            (true, _) => Also::Write,
            (_, true) => Also::Figures,
            _ => Also::Nothing,
        }),
        Task::Threats => tidy::files().and_then(|files| threats::run(&files)),
        Task::Package => package::run(),
        Task::CheckForeign => foreign::run(),
        Task::Ci => ci::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
