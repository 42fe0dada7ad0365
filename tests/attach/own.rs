//! What a user started in namespaces of his own, and attaches to without root: as rootless engines start containers.

use super::*;

/// In a network without routes, "unreachable" alone; where it is closed or steered, another error or none.
const UNHELD: &str = "socket.create_connection(('198.51.100.2', 9999), 5)";

/// A program in the user's own namespaces, with these capabilities at most.
fn start(lab: &Lab, bounds: &str) -> (Told, i32) {
    let (reader, line) = std::io::pipe().unwrap();
    let program = lab.file("told.py", TOLD);
    let program = program.to_str().unwrap();
    let words = [
        "unshare",
        "-Urnpf",
        "--kill-child",
        "setpriv",
        "--inh-caps=-all",
        bounds,
        PYTHON,
        program,
    ];
    let run = lab
        .unjailed()
        .as_user()
        .stdin_from(reader)
        .command(words)
        .start()
        .unwrap();
    let mut told = Told { run, line, said: 0 };
    assert_eq!(told.hear("start"), "ready");
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace("self");
    let mut inside = processes_with(program)
        .into_iter()
        .filter(|pid| namespace(&pid.to_string()).is_some_and(|found| Some(found) != own));
    let pid = inside.next().expect("a process in namespaces of its own");
    (told, pid)
}

fn attach(lab: &Lab, pid: i32) -> Running {
    let log = lab.home("labuser").join("attach.json");
    attach_to(
        lab.unjailed().as_user(),
        lab,
        ["--pid".into(), pid.to_string().into()],
        &log,
        &[],
    )
}

fn holds(run: &Running) {
    assert!(
        eventually(LIMIT, || run.stderr().contains("attached to")),
        "{}",
        run.stderr()
    );
}

#[test]
fn a_user_holds_what_is_in_his_own_namespaces() {
    let lab = lab();
    let (mut told, pid) = start(&lab, "--bounding-set=-all");
    let local = "l = socket.create_server(('127.0.0.1', 8181)); socket.create_connection(l.getsockname()).close()";
    assert_eq!(told.ask(UNHELD), "OSError");
    let attached = attach(&lab, pid);
    holds(&attached);
    assert_eq!(told.ask("curl('http://ok.test/')"), "200");
    assert_eq!(told.ask("curl('-k', 'https://ok.test/')"), "200");
    assert_eq!(told.ask("curl('-k', 'https://evil.test/')"), "403");
    assert_eq!(told.ask(local), "done");
    let mark = canary();
    let datagram = format!("socket.socket(type=socket.SOCK_DGRAM).sendto(b'{mark}', {FAR})");
    assert_eq!(told.ask(&datagram), "PermissionError");
    assert!(!gets_out(&lab, &mut told) && !lab.wire().saw(&mark));
    // Two do not hold it.
    let second = attach(&lab, pid).wait().unwrap();
    assert!(second.stderr.contains("another httpjail is attached"), "{second:#?}");
    assert_eq!(told.ask("curl('http://ok.test/')"), "200");

    attached.signal(Signal::SIGKILL);
    attached.wait().unwrap();
    assert_ne!(told.ask("curl('http://ok.test/')"), "200");
    let again = attach(&lab, pid);
    holds(&again);
    assert_eq!(told.ask("curl('http://ok.test/')"), "200");
    again.signal(Signal::SIGTERM);
    again.wait().unwrap().expect_code(0);
    assert_eq!(told.ask(UNHELD), "OSError");
    let killed = attach(&lab, pid);
    holds(&killed);
    killed.signal(Signal::SIGKILL);
    killed.wait().unwrap();
    assert_ne!(told.ask(UNHELD), "OSError");
    let line = [
        lab.binary().as_os_str().to_owned(),
        "detach".into(),
        "--pid".into(),
        pid.to_string().into(),
    ];
    lab.unjailed().as_user().command(line).run().expect_code(0);
    assert_eq!(told.ask(UNHELD), "OSError");
    assert_eq!(lab.requests_for("evil.test").len(), 0);
}

#[test]
fn who_could_undo_the_hold_is_refused_to_a_user_and_left_as_he_was() {
    let lab = lab();
    let (mut told, pid) = start(&lab, "--bounding-set=+all");
    let refused = attach(&lab, pid).wait().unwrap().expect_code(125);
    assert!(refused.stderr.contains("CAP_NET_ADMIN"), "{refused:#?}");
    assert_eq!(told.ask(UNHELD), "OSError");
}
