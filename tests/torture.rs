//! Every step of start, run and end made to fail in turn: the command never runs half-jailed, the exit status says whose fault
//! it was, nothing is left, and nothing waits for ever.
//!
//! The command tells what holds it (its rights, its filter, its mounts) and sends a datagram outside. Where it ran, all of that
//! is as in a run in which nothing failed, and the lab's wire has not seen the datagram.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use httpjail_lab::{JailBuilder, Lab, Outcome, Running, Way, canary, eventually, processes_with};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Expect as _, have, lab, repeats};

/// Longer than any limit of httpjail's own.
const LIMIT: Duration = Duration::from_secs(50);

/// Nothing but what bash itself can do: whatever fails is httpjail's. Where sockets and logs are covered differs from
/// run to run, and a device that cannot be brought back is one less. Over the host's cgroups lies a cover, and on it the jail's
/// own part where that can be had.
const COMMAND: &str = r#"echo "$1" > /dev/udp/198.51.100.3/9999
while read -r key value; do
    case $key in Seccomp:|NoNewPrivs:|CapInh:|CapPrm:|CapEff:|CapAmb:|Uid:|Gid:) echo "$key $value";; esac
done < /proc/self/status > "$2" || exit 9
while read -r _ _ _ _ at _; do
    case $at in /tmp/*|/run/*|/home*|/root/*|/var/*|/dev/*|/sys/fs/cgroup*) ;; *) echo "$at";; esac
done < /proc/self/mountinfo >> "$2" || exit 9
echo end >> "$2""#;

/// What came of a run in which something failed.
#[derive(Debug)]
enum End {
    /// The command did not run, and httpjail said why.
    Refused,
    /// It ran as it should.
    Held,
    /// It was not httpjail that failed: what stands before it, or the command.
    Elsewhere,
}

/// Runs the command and looks at what came of it; `Err` if anything is as it must not be.
fn attempt(
    clean: Option<&str>,
    prepare: impl for<'lab> Fn(&'lab Lab, JailBuilder<'lab>) -> JailBuilder<'lab>,
    lab: &Lab,
) -> Result<(End, String), String> {
    let (mark, ran) = (canary(), lab.fresh_path("ran"));
    let line = ["bash", "--norc", "-c", COMMAND, "bash", &mark, ran.to_str().unwrap()];
    let began = Instant::now();
    let jail = prepare(lab, lab.jail().limit(LIMIT).rule("allow: .*"))
        .command(line)
        .start();
    let outcome = jail.unwrap().wait().map_err(|error| format!("hangs: {error:#}"))?;
    let told = fs::read_to_string(&ran).ok();
    let wrong = |what: &str| Err(format!("{what} after {:?}: {outcome:#?} {told:?}", began.elapsed()));
    if lab.wire().saw(&mark) {
        return wrong("something got out");
    }
    if !eventually(Duration::from_secs(10), || processes_with(&mark).is_empty()) {
        return wrong(&format!("left: {:?}", processes_with(&mark)));
    }
    let complete = told.as_deref().is_some_and(|told| told.ends_with("end\n"));
    if let Some(clean) = clean.filter(|clean| complete && told.as_deref() != Some(*clean)) {
        return wrong(&format!("half-jailed, not as in {clean}"));
    }
    let ours = outcome.stderr.lines().any(|line| line.starts_with("error: "));
    let loader = outcome.stderr.contains("error while loading shared libraries");
    match (outcome.code(), &told) {
        (Some(0), Some(_)) if complete => Ok((End::Held, told.unwrap_or_default())),
        (Some(125 | 2), None) if ours => Ok((End::Refused, outcome.stderr)),
        // It failed once the command was under way.
        (Some(125), Some(_)) if ours => Ok((End::Held, outcome.stderr)),
        // Of what failed in the command, or in the program that starts httpjail.
        (Some(126 | 127), None) if ours || loader => Ok((End::Elsewhere, outcome.stderr)),
        (Some(1..), _) if !ours && outcome.code() != Some(101) => Ok((End::Elsewhere, outcome.stderr)),
        _ => wrong("another status"),
    }
}

/// What the command tells where nothing fails.
fn undisturbed(lab: &Lab) -> String {
    let (end, told) = attempt(None, |_, jail| jail, lab).unwrap();
    assert!(matches!(end, End::Held) && told.contains("Seccomp: 2"), "{told}");
    told
}

/// Tries all of `faults`, and fails with all that went wrong.
fn all<Fault: std::fmt::Display>(
    lab: &Lab,
    faults: impl IntoIterator<Item = Fault>,
    prepare: impl for<'lab> Fn(&Fault, JailBuilder<'lab>) -> JailBuilder<'lab>,
) {
    let clean = undisturbed(lab);
    let (mut counts, mut wrong) = ([0; 3], String::new());
    for fault in faults {
        // With those of httpjail's own reads bash's fail too, and it tells less.
        let clean = Some(clean.as_str()).filter(|_| !fault.to_string().starts_with("read:"));
        match attempt(clean, |_, jail| prepare(&fault, jail), lab) {
            Ok((end, _)) => counts[end as usize] += 1,
            Err(error) => {
                let _ = writeln!(wrong, "{fault}: {error}");
                eprintln!("{fault}: {}", error.lines().next().unwrap_or_default());
            }
        }
    }
    let [refused, held, elsewhere] = counts;
    let way = Way::of_this_process().name();
    eprintln!("{way}: {refused} refused, {held} held, {elsewhere} failed elsewhere");
    assert!(wrong.is_empty(), "{wrong}");
    assert!(refused + held > 0);
    undisturbed(lab);
    assert_eq!(dead_cgroups(), Vec::<String>::new());
}

/// Cgroups of httpjail's whose run is over; the latest run has cleared those of the runs before it.
fn dead_cgroups() -> Vec<String> {
    let parent = Path::new("/sys/fs/cgroup/httpjail");
    let names = fs::read_dir(parent).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let dead = |name: &String| {
        let pid = name.strip_prefix("run-").and_then(|rest| rest.split('-').next());
        pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
    };
    names.filter(dead).collect()
}

/// How many of the calls that are made over and over fail.
const OF_ONE_CALL: usize = 40;

/// A call of the start's that fails.
struct Fault {
    name: String,
    error: &'static str,
    when: usize,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:error={}:when={}", self.name, self.error, self.when)
    }
}

/// Cannot fail, or not so: memory for code and stacks, what ends a process, what only the C library's own start does, and
/// close(2), which closes also where it fails.
const NEVER: [&str; 33] = [
    "arch_prctl",
    "brk",
    "clone",
    "close",
    "execve",
    "exit",
    "exit_group",
    "futex",
    "getegid",
    "geteuid",
    "getgid",
    "getpid",
    "getppid",
    "getpriority",
    "getresgid",
    "getresuid",
    "gettid",
    "getuid",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "pread64",
    "restart_syscall",
    "rseq",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    "umask",
    "rt_sigaction",
];

fn error_of(name: &str) -> &'static str {
    match name {
        "clone3" | "bpf" => "ENOMEM",
        "openat" | "openat2" | "socket" | "socketpair" | "pipe2" | "eventfd2" | "epoll_create1" | "signalfd4"
        | "pidfd_open" | "memfd_create" => "EMFILE",
        "read" | "write" | "sendmsg" | "recvmsg" | "sendto" | "recvfrom" | "poll" | "epoll_wait" | "getdents64" => {
            "EIO"
        }
        _ => "EPERM",
    }
}

/// The calls that httpjail's processes make in a run, each as often as the one of them that makes it most often; not those of
/// the command.
fn calls(trace: &str) -> BTreeMap<String, usize> {
    let mut counted: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut commands = Vec::new();
    for line in trace.lines() {
        let Some((process, call)) = line.split_once(' ') else {
            continue;
        };
        let Some((name, _)) = call.trim_start().split_once('(') else {
            continue;
        };
        if commands.contains(&process) || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        if name == "execve"
            && line.contains("\"--norc\"")
            && line.contains("\"bash\", \"--norc\"")
            && line.contains("[\"bash\"")
        {
            commands.push(process);
        }
        *counted.entry((process, name)).or_default() += 1;
    }
    let mut most = BTreeMap::new();
    for ((_, name), count) in counted {
        let known: &mut usize = most.entry(name.to_owned()).or_default();
        *known = count.max(*known);
    }
    most.retain(|name, _| !NEVER.contains(&name.as_str()));
    most
}

#[test]
fn a_system_call_that_fails() {
    if !have("strace") {
        return;
    }
    let lab = lab();
    undisturbed(&lab);
    let trace = lab.fresh_path("trace");
    let traced =
        |expression: &str| ["strace", "-f", "-qq", "-o", trace.to_str().unwrap(), "-e", expression].map(str::to_owned);
    attempt(None, |_, jail| jail.through(traced("trace=all")), &lab).unwrap();
    let calls = calls(&fs::read_to_string(&trace).unwrap());
    let mut faults: Vec<Fault> = Vec::new();
    for (name, count) in calls {
        let fault = |when| Fault {
            error: error_of(&name),
            name: name.clone(),
            when,
        };
        // Before main: Rust's runtime looks whether its standard streams are open, and aborts if it cannot.
        let first = if name == "poll" { 2 } else { 1 };
        // What is done for each of many files is done in the same way for each.
        faults.extend((first..=count).step_by(count.div_ceil(OF_ONE_CALL)).map(fault));
    }
    // So many of them, evenly spread. Where from differs from run to run only where somebody asked for more: chance does not
    // decide what lands.
    let (total, wanted) = (faults.len(), repeats("HTTPJAIL_TEST_FAULTS", 12));
    let step = total.div_ceil(wanted.max(1)).max(1);
    let asked = std::env::var_os("HTTPJAIL_TEST_FAULTS").is_some();
    let first = if asked { std::process::id() as usize % step } else { 0 };
    eprintln!("{total} faults, every {step}th from {first}");
    all(&lab, faults.into_iter().skip(first).step_by(step), |fault, jail| {
        jail.through(traced(&format!("inject={fault}")))
    });
}

#[test]
fn a_capability_that_is_missing() {
    if Way::of_this_process() == Way::Rootless {
        return;
    }
    let lab = lab();
    let last: u32 = fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let names = (0..=last).map(|number| format!("cap_{number}"));
    all(&lab, names, |name, jail| {
        jail.through([
            "setpriv".to_owned(),
            format!("--inh-caps=-{name}"),
            format!("--bounding-set=-{name}"),
        ])
    });
}

#[test]
fn a_limit_that_is_low() {
    let lab = lab();
    let limits = [
        "nofile=4",
        "nofile=10",
        "nofile=16",
        "nofile=24",
        "nofile=40",
        "nofile=64",
        "nproc=1",
        "nproc=4",
        "fsize=0",
        "fsize=100",
        "memlock=0",
        "stack=1048576",
        "core=0",
        "sigpending=0",
        "msgqueue=0",
        "rttime=1000000",
        "locks=0",
    ];
    all(&lab, limits, |limit, jail| {
        jail.through(["prlimit".to_owned(), format!("--{limit}")])
    });
}

/// A jail whose command waits for a file, and the processes of httpjail: supervisor, init, proxy.
struct Waiting<'lab> {
    lab: &'lab Lab,
    run: Running,
    mark: String,
    go: std::path::PathBuf,
    init: Pid,
    proxy: Pid,
}

impl<'lab> Waiting<'lab> {
    fn start(lab: &'lab Lab, prepare: impl Fn(JailBuilder<'lab>) -> JailBuilder<'lab>, more: &str) -> Self {
        let (mark, go) = (canary(), lab.fresh_path("go"));
        let script = format!(
            "echo up; while [ ! -e {} ]; do sleep 0.05; done; {more}; exit 3; : {mark}",
            go.display()
        );
        let run = prepare(lab.jail().limit(LIMIT).rule(r"allow: ^http://ok\.test/"))
            .shell(&script)
            .start()
            .unwrap();
        assert!(
            eventually(Duration::from_secs(40), || run.stdout() == "up\n"),
            "{}",
            run.stderr()
        );
        let mut others = Vec::new();
        for pid in processes_with(&mark) {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            let first = status
                .lines()
                .any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"));
            if exe == lab.binary() && status.contains(&format!("PPid:\t{}\n", run.pid())) {
                others.push((first, Pid::from_raw(pid)));
            }
        }
        others.sort_unstable();
        let [(false, proxy), (true, init)] = others[..] else {
            panic!("{others:?}")
        };
        Waiting {
            lab,
            run,
            mark,
            go,
            init,
            proxy,
        }
    }

    fn go(&self) {
        fs::write(&self.go, "").unwrap();
    }

    #[track_caller]
    fn ends_with(self, code: i32) -> Outcome {
        let outcome = self.run.wait().unwrap().expect_code(code);
        let gone = eventually(Duration::from_secs(10), || processes_with(&self.mark).is_empty());
        assert!(gone, "left: {:?}", processes_with(&self.mark));
        self.lab.jail().command(["true"]).run().expect_code(0);
        assert_eq!(dead_cgroups(), Vec::<String>::new());
        outcome
    }
}

#[test]
fn a_part_that_is_killed() {
    for signal in [Signal::SIGKILL, Signal::SIGABRT, Signal::SIGILL] {
        let lab = lab();
        let jail = Waiting::start(&lab, |jail| jail, ":");
        kill(jail.proxy, signal).unwrap();
        let outcome = jail.ends_with(125);
        assert!(outcome.stderr.contains("error: "), "{outcome:#?}");
    }
    let lab = lab();
    let jail = Waiting::start(&lab, |jail| jail, ":");
    kill(jail.init, Signal::SIGKILL).unwrap();
    jail.ends_with(125);
}

#[test]
fn a_part_that_is_stopped() {
    // The proxy: it is ended, and the log has no end.
    let lab = lab();
    let jail = Waiting::start(&lab, |jail| jail, ":");
    kill(jail.proxy, Signal::SIGSTOP).unwrap();
    jail.go();
    jail.ends_with(3);
    // Init: the time is kept without it.
    let jail = Waiting::start(&lab, |jail| jail.option("--timeout").option("3"), ":");
    kill(jail.init, Signal::SIGSTOP).unwrap();
    jail.go();
    jail.ends_with(124);
}

/// Nobody is there to tell whose a connection is. It is served all the same, and the run goes on where it was.
#[test]
fn a_supervisor_that_is_stopped() {
    let lab = lab();
    let (asked, script) = (
        lab.fresh_path("asked"),
        "curl -sS -o /dev/null --max-time 30 http://ok.test/$i",
    );
    let script = format!("for i in 1 2 3; do {script}; done; echo > {}", asked.display());
    let jail = Waiting::start(&lab, |jail| jail, &script);
    kill(jail.run.pid(), Signal::SIGSTOP).unwrap();
    jail.go();
    assert!(
        eventually(Duration::from_secs(40), || asked.exists()),
        "nothing is served"
    );
    assert_eq!(lab.requests_for("ok.test").len(), 3);
    kill(jail.run.pid(), Signal::SIGCONT).unwrap();
    let outcome = jail.ends_with(3);
    assert_eq!(outcome.events_with(&[("event", "request")]).len(), 3, "{outcome:#?}");
}

/// The disk fills while requests are recorded: none is let through unrecorded in silence, and the end comes.
#[test]
fn a_log_on_a_disk_that_is_full() {
    let lab = lab();
    let disk = lab.fresh_path("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = lab.on_jailside(|| {
        nix::mount::mount(
            Some("small"),
            &disk,
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            Some("size=16k,mode=1777"),
        )?;
        Ok(())
    });
    mounted.unwrap();
    let log = disk.join("log.json");
    let script = "for i in $(seq 100); do echo http://ok.test/$i; done | xargs curl -s -o /dev/null --max-time 20";
    let outcome = lab
        .jail()
        .limit(LIMIT)
        .rule("allow: .*")
        .log_to(&log)
        .shell(script)
        .run();
    let said = outcome.stderr.contains("error: ") || outcome.stderr.contains("warning: ");
    assert!(said && outcome.stderr.contains("log"), "{outcome:#?}");
}
