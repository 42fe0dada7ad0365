//! Ways out that are not HTTP. Each is tried without a jail first, where it must put its canary on the wire, and then
//! in one, as root and as a user: there the wire must stay clean, whatever the program was told.

use std::time::Duration;

use httpjail_lab::{JailBuilder, Lab, Outcome, canary, eventually};

use crate::support::{Expect as _, PYTHON, lab};

const ESCAPE: &str = include_str!("support/probes/escape.py");
const ANSWERS: &str = include_str!("support/probes/answers.py");
const WITH_SOCKETS: &str = include_str!("support/probes/with_sockets.py");
const DOORS: &str = include_str!("support/probes/doors.py");
const ACCOMPLICE: &str = include_str!("support/probes/accomplice.py");

/// How a canary looks on the wire, and how long after its cause it may come.
struct Needle {
    of: fn(&str) -> Vec<u8>,
    delay: Duration,
}

/// The canary itself, in frames that are sent before the call that sends them returns.
const PLAIN: Needle = Needle {
    of: |canary| canary.into(),
    delay: Duration::ZERO,
};

fn check(mechanism: &str) -> Vec<Outcome> {
    check_with(&lab(), mechanism, &[], &PLAIN)
}

/// The outcomes of the jailed attempts, for a test that wants to know more.
fn check_with(lab: &Lab, mechanism: &str, arguments: &[&str], needle: &Needle) -> Vec<Outcome> {
    let probe = lab.file("escape.py", ESCAPE);
    let attempt = |run: JailBuilder<'_>, mark: &str| {
        let mut line = vec![PYTHON, probe.to_str().unwrap(), mechanism, mark];
        line.extend(arguments);
        run.command(line).run()
    };
    let mark = canary();
    let twin = attempt(lab.unjailed(), &mark);
    if ["EPROTONOSUPPORT", "EAFNOSUPPORT", "ESOCKTNOSUPPORT"]
        .iter()
        .any(|word| twin.stdout.contains(word))
    {
        eprintln!("skipped: this kernel lacks what {mechanism} needs: {}", twin.stdout);
        return Vec::new();
    }
    check_leak(lab, needle, &mark, true, &twin);
    let contacts = lab.heard().contacts.all().len();

    let jails: [fn(&Lab) -> JailBuilder<'_>; 2] = [|lab| lab.jail(), |lab| lab.jail().as_user()];
    let outcomes: Vec<Outcome> = jails
        .iter()
        .map(|jail| {
            let mark = canary();
            // Even where everything is allowed, nothing but HTTP gets out.
            let outcome = attempt(jail(lab).rule("allow: .*"), &mark);
            check_leak(lab, needle, &mark, false, &outcome);
            outcome
        })
        .collect();
    assert_eq!(
        lab.heard().contacts.all().len(),
        contacts,
        "a server was reached: {outcomes:#?}"
    );
    outcomes
}

fn check_leak(lab: &Lab, needle: &Needle, mark: &str, wanted: bool, run: &Outcome) {
    let limit = if wanted { Duration::from_secs(5) } else { needle.delay };
    let saw = eventually(limit, || lab.wire().saw((needle.of)(mark)));
    assert_eq!(saw, wanted, "whether the canary was on the wire, after {run:#?}");
}

/// The attempt ran, and the log says that it was denied.
fn reported(outcomes: Vec<Outcome>) {
    for outcome in outcomes {
        assert!(outcome.stdout.starts_with("trying"), "{outcome:#?}");
        assert!(!outcome.events_with(&[("verdict", "deny")]).is_empty(), "{outcome:#?}");
    }
}

/// The attempt ran; what stopped it happened where no report is due (an option or a socket that never came to be).
fn ran(outcomes: Vec<Outcome>) {
    for outcome in outcomes {
        assert!(outcome.stdout.starts_with("trying"), "{outcome:#?}");
    }
}

// Proves: S15, S19.
#[test]
fn tcp() {
    for mechanism in ["tcp4", "tcp6", "tcp_mapped", "tcp_to_the_allowed_server"] {
        reported(check(mechanism));
    }
}

// Proves: S19, H19, S25.
#[test]
fn tcp_on_known_ports() {
    reported(check("tcp_on_port_443"));
    reported(check("tcp_where_the_server_speaks_first"));
    reported(check("tcp_on_port_853"));
    ran(check("tcp_on_port_53"));
}

// Proves: S08.
#[test]
fn multipath_tcp() {
    ran(check("mptcp"));
    ran(check("mptcp6"));
}

// Proves: S07.
#[test]
fn fast_open() {
    for mechanism in ["fast_open", "fast_open_without_cookie", "fast_open_by_connect"] {
        reported(check(mechanism));
    }
}

// Proves: S13, S07.
#[test]
fn bound_to_a_device() {
    ran(check("bound_to_a_device"));
}

// Proves: S05, S15.
#[test]
fn udp() {
    for mechanism in ["udp4", "udp6", "udp_mapped", "udp_connected"] {
        reported(check(mechanism));
    }
}

// Proves: S05, S06.
#[test]
fn udp_by_other_calls() {
    for mechanism in ["udp_reconnected", "udp_in_pieces", "udp_message", "udp_on_port_443"] {
        reported(check(mechanism));
    }
}

// Proves: S21.
#[test]
fn udp_on_port_53() {
    for server in [
        "udp_on_port_53_of_any_server",
        "udp_on_port_53_of_any_server6",
        "udp_on_port_53_of_the_resolver",
    ] {
        ran(check(server));
    }
}

// Proves: S16.
#[test]
fn udp_to_many() {
    ran(check("udp_broadcast"));
    ran(check("udp_multicast"));
}

// Proves: S09.
#[test]
fn udp_lite() {
    ran(check("udplite"));
    ran(check("udplite_on_port_53"));
}

// Proves: S27.
#[test]
fn icmp() {
    ran(check("ping"));
    ran(check("ping6"));
}

// Proves: S10, S11.
#[test]
fn raw_sockets() {
    ran(check("raw"));
    ran(check("raw_header"));
    ran(check("packet"));
}

// Proves: S12, S14.
#[test]
fn routing_headers_and_options() {
    ran(check("udp_by_routing_header"));
    ran(check("tcp_by_routing_header"));
    ran(check("ip_options"));
}

// Proves: S16.
#[test]
fn multicast_joins() {
    let lab = lab();
    // The kernel sends the reports, from a timer, and they carry an address of the program's choice.
    let delay = Duration::from_secs(1);
    let group4 = Needle {
        of: |mark| [&[239], &mark.as_bytes()[..3]].concat(),
        delay,
    };
    ran(check_with(&lab, "multicast_join", &[], &group4));
    let group6 = Needle {
        of: |mark| mark.as_bytes()[..14].to_vec(),
        delay,
    };
    ran(check_with(&lab, "multicast_join6", &[], &group6));
}

// Proves: S22.
#[test]
fn dns_labels() {
    ran(check("dns_question"));
}

// Proves: S01, S04.
#[test]
fn inherited_sockets() {
    let lab = lab();
    let wrapper = lab.file("with_sockets.py", WITH_SOCKETS);
    // The TCP socket's own connection reaches the server before any jail is there.
    for (how, number) in [("numbers", "7"), ("numbers", "8"), ("stdin", "0")] {
        let probe = lab.file("escape.py", ESCAPE);
        let line = |mark: &str| [PYTHON, probe.to_str().unwrap(), "inherited", mark, number].map(str::to_owned);
        let through = [PYTHON, wrapper.to_str().unwrap(), how];
        let mark = canary();
        let twin = lab.unjailed().through(through).command(line(&mark)).run();
        check_leak(&lab, &PLAIN, &mark, true, &twin);
        let mark = canary();
        let outcome = lab.jail().rule("allow: .*").through(through).command(line(&mark)).run();
        check_leak(&lab, &PLAIN, &mark, false, &outcome);
    }
}

// Proves: S02, S03, P11.
#[test]
fn sockets_from_an_accomplice() {
    let lab = lab();
    let (path, name) = (lab.fresh_path("accomplice.sock"), canary());
    let script = lab.file("accomplice.py", ACCOMPLICE);
    let accomplice = lab
        .unjailed()
        .command([PYTHON, script.to_str().unwrap(), path.to_str().unwrap(), &name])
        .start()
        .unwrap();
    assert!(
        eventually(Duration::from_secs(10), || accomplice.stdout().ends_with('\n')),
        "{accomplice:?}"
    );

    let (pid, held) = (accomplice.pid().to_string(), accomplice.stdout().trim().to_owned());
    ran(check_with(&lab, "passed_descriptor", &[path.to_str().unwrap()], &PLAIN));
    ran(check_with(&lab, "passed_descriptor", &[&format!("@{name}")], &PLAIN));
    ran(check_with(&lab, "stolen_descriptor", &[&pid, &held], &PLAIN));
    ran(check_with(&lab, "other_namespace", &[&pid], &PLAIN));
}

// Proves: P10.
#[test]
fn nested_namespaces() {
    let lab = lab();
    let probe = lab.file("escape.py", ESCAPE);
    let mark = canary();
    let line = [PYTHON, probe.to_str().unwrap(), "nested_namespaces", &mark];
    let outcome = lab.jail().as_user().rule("allow: .*").command(line).run();
    check_leak(&lab, &PLAIN, &mark, false, &outcome);
    ran(vec![outcome]);
}

/// What the kernel answers: in the jail it must be one of `wanted`, outside it must be something else.
fn check_answers(names: &[&str], wanted: &[&str]) {
    let lab = lab();
    let probe = lab.file("answers.py", ANSWERS);
    let mut line = vec![PYTHON, probe.to_str().unwrap()];
    line.extend(names);
    let answers = |run: JailBuilder<'_>| {
        let outcome = run.command(&line).run().expect_code(0);
        assert_eq!(outcome.stdout.lines().count(), names.len(), "{outcome:#?}");
        outcome.stdout
    };
    let outside = answers(lab.unjailed());
    for jail in [lab.jail(), lab.jail().as_user()] {
        let inside = answers(jail.rule("deny: .*"));
        for (inside, outside) in inside.lines().zip(outside.lines()) {
            let (name, answer) = inside.split_once('=').unwrap();
            assert!(
                wanted.contains(&answer),
                "{name} answers {answer} in the jail, not one of {wanted:?}"
            );
            if outside == inside {
                // No proof, then: this kernel refuses it to everybody.
                eprintln!("no positive twin for {outside}");
            }
        }
    }
}

// Proves: S09, S10, S11, S27, S28, S29, S33.
#[test]
fn families_and_protocols_that_are_not_there() {
    check_answers(&["tcp", "tcp6", "udp", "udp6", "unix", "netlink_route"], &["done"]);
    let refused = ["EPERM", "EACCES", "EAFNOSUPPORT", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT"];
    check_answers(
        &[
            "sctp",
            "sctp_seqpacket",
            "dccp",
            "udplite",
            "udplite6",
            "l2tp",
            "icmp",
            "icmp6",
        ],
        &refused,
    );
    check_answers(
        &[
            "raw",
            "raw6",
            "packet",
            "packet_dgram",
            "vsock",
            "smc",
            "xdp",
            "can",
            "bluetooth",
        ],
        &refused,
    );
    check_answers(&["rds", "rxrpc", "tipc", "key"], &refused);
    let netlink = [
        "netlink_diag",
        "netlink_netfilter",
        "netlink_generic",
        "netlink_uevent",
        "netlink_audit",
    ];
    check_answers(&netlink, &refused);
}

// Proves: S24, S31, P11, P14, P22.
#[test]
fn calls_that_are_not_there() {
    check_answers(&["io_uring_setup", "io_uring_enter", "io_uring_register"], &["ENOSYS"]);
    check_answers(&["add_key", "request_key", "keyctl"], &["ENOSYS", "EPERM"]);
    check_answers(&["setns", "pidfd_getfd", "bpf"], &["EPERM", "ENOSYS"]);
    check_answers(&["tiocsti", "tiocsti_with_high_bits", "tioclinux"], &["EPERM"]);
}

/// The numbers of other architectures' calls mean other calls: none of them is looked up in the filter's table.
// Proves: S32.
#[test]
fn calls_by_other_doors() {
    let lab = lab();
    let probe = lab.file("doors.py", DOORS);
    for (door, refusals) in [("i386", &[][..]), ("x32", &["ENOSYS"])] {
        let line = [PYTHON, probe.to_str().unwrap(), door];
        let twin = lab.unjailed().command(line).run();
        if twin.stdout != "done\n" {
            eprintln!("no positive twin for {door}: this kernel has no such door: {twin:#?}");
        }
        for jail in [lab.jail(), lab.jail().as_user()] {
            let run = jail.command(line).run();
            // Killed for it, or told that there is no such call.
            let killed = run.code() == Some(128 + nix::sys::signal::Signal::SIGSYS as i32) && run.stdout.is_empty();
            assert!(killed || refusals.contains(&run.stdout.trim()), "{door}: {run:#?}");
        }
    }
}
