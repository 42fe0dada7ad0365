//! What a container has that a service has not: a network and files of its own, and the rights that engines give.

use super::*;

/// In a network namespace of its own, which `eth0` leads out of; `c0` is the host's end.
const WITH_A_DEVICE: &str = "sleep 600 & P=$!; exec unshare -n sh -c 'ip link add eth0 type veth peer name c0 netns '$P'; kill '$P'; \
                             ip addr add 10.99.0.2/24 dev eth0; ip link set eth0 up; ip link set lo up; ip route add default via \
                             10.99.0.1; exec \"$@\"' sh \"$@\"";
const ALONE: &str = "exec unshare -n sh -c 'ip link set lo up; exec \"$@\"' sh \"$@\"";
/// With a bundle of its own, empty, in a file system that cannot be written to.
const WITH_FILES: &str = "exec unshare -m sh -c 'mount --make-rprivate /; mount -t tmpfs t /etc/ssl; mkdir /etc/ssl/certs; : > \
                          /etc/ssl/certs/ca-certificates.crt; mount -o remount,ro /etc/ssl; unset CURL_CA_BUNDLE; exec \"$@\"' sh \
                          \"$@\"";
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

fn pid_of(told: &mut Told) -> String {
    told.ask("import os");
    told.ask("os.getpid()")
}

/// Another program in the same network namespace, in that cgroup.
fn beside(lab: &Lab, cgroup: &Path, pid: &str) -> Told {
    Told::start_with(lab, cgroup, &format!("exec nsenter -t {pid} -n \"$@\""))
}

fn end_all(attached: Attached, lab: &Lab, cgroup: &Cgroup) {
    let name = cgroup.0.file_name().unwrap().to_str().unwrap();
    let is_httpjail = |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == lab.binary());
    for pid in processes_with(name).into_iter().filter(is_httpjail) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    attached.run.wait().unwrap();
}

/// docker lets any user of a container bind low ports. When the proxy is killed, a socket that was made and marked before
/// takes its port: nobody is led there.
// Proves on attach: P21.
#[test]
fn every_low_port_is_taken() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let mut told = Told::start_with(&lab, &cgroup.0, ALONE);
    let pid = pid_of(&mut told);
    let mut other = beside(&lab, &cgroup.0, &pid);
    told.ask("held = [socket.socket() for _ in range(600, 1024)]");
    told.ask("[held[i].bind(('127.0.0.1', 600 + i)) for i in range(424)]");
    told.ask("old = socket.socket(); old.setsockopt(1, 36, 0x68746a6c)");
    let attached = Attached::start(&lab, &cgroup.0);
    assert_eq!(other.ask("curl('http://ok.test/')"), "200");
    assert_eq!(other.ask("curl('http://evil.test/')"), "403");
    let listening = "[int(l.split()[1][-4:], 16) for l in open('/proc/net/tcp') if ' 0A ' in l]";
    let ports: Vec<u16> = serde_json::from_str(&told.ask(listening)).unwrap();
    assert!(ports.len() == 2 && ports.iter().all(|port| *port > 1023), "{ports:?}");

    end_all(attached, &lab, &cgroup);
    told.ask("import time");
    for (port, socket) in ports.iter().zip(["old", "new"]) {
        told.ask("new = socket.socket(); new.setsockopt(1, 36, 0x68746a6c)");
        told.ask(&format!("{socket}.bind(('127.0.0.1', {port}))"));
        assert_eq!(told.ask(&format!("{socket}.listen()")), "None");
        told.ask(&format!("{socket}.setblocking(False)"));
        let open = |to: &str| format!("socket.create_connection({to}, timeout=1)");
        for to in [FAR, "('198.51.100.2', 53)", &format!("('127.0.0.1', {port})")] {
            let opened = other.ask(&open(to));
            assert!(!opened.starts_with("<socket"), "{socket} {to}: {opened}");
        }
        assert_eq!(told.ask(&format!("{socket}.accept()")), "BlockingIOError", "{socket}");
    }
    detach(&lab, &cgroup.0);
    assert_eq!(traces(&lab), Vec::<String>::new());
}

/// A frame to the world's UDP server, by way of the host's end of the cable (RFC 791 section 3.1, RFC 768).
fn frame(mark: &str) -> String {
    let length = |rest: usize| u16::try_from(rest + mark.len()).unwrap().to_be_bytes();
    let mut ip = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 99, 0, 2, 198, 51, 100, 2];
    ip[2..4].copy_from_slice(&length(28));
    let words = ip
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum = words.sum::<u32>();
    ip[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    let ethernet = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let udp = [&[0x30, 0x39, 0x27, 0x0f][..], &length(8), &[0, 0]].concat();
    let bytes = [&ethernet[..], &ip, &udp, mark.as_bytes()].concat();
    format!("b'{}'", bytes.escape_ascii())
}

/// Whether a frame of the program's own making gets to the world.
fn writes_frames(lab: &Lab, told: &mut Told, device: &str, bypass: bool) -> bool {
    told.ask("p = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)");
    told.ask(&format!("p.bind(('{device}', 0))"));
    if bypass {
        // PACKET_QDISC_BYPASS
        assert_eq!(told.ask("p.setsockopt(263, 20, 1)"), "None");
    }
    let mark = canary();
    told.ask(&format!("p.send({})", frame(&mark)));
    lab.wire().saw(&mark)
}

fn sends(lab: &Lab, told: &mut Told) -> bool {
    let mark = canary();
    told.ask(&format!(
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'{mark}', {FAR})"
    ));
    lab.wire().saw(&mark)
}

fn join(lab: &Lab, device: &str, address: &str) {
    let script = format!(
        "ip link set {device} address 02:00:00:00:00:01; ip addr add {address} dev {device}; ip link set {device} up; echo 1 > \
         /proc/sys/net/ipv4/ip_forward"
    );
    lab.unjailed().shell(&script).run().expect_code(0);
}

/// docker gives CAP_NET_RAW, by which a program writes frames itself, below all that a cgroup's programs see.
// Proves on attach: S11.
#[test]
fn frames_of_its_own_do_not_leave() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let mut told = Told::start_with(&lab, &cgroup.0, WITH_A_DEVICE);
    let pid = pid_of(&mut told);
    join(&lab, "c0", "10.99.0.1/24");
    // Who is not in the cgroup, and shares its network.
    let mut stranger = beside(&lab, cgroup.0.parent().unwrap(), &pid);
    let closed = |told: &mut Told, stranger: &mut Told| {
        for bypass in [false, true] {
            assert!(
                !writes_frames(&lab, told, "eth0", bypass),
                "from inside, bypass: {bypass}"
            );
            assert!(
                !writes_frames(&lab, stranger, "eth0", bypass),
                "from a stranger, bypass: {bypass}"
            );
        }
        assert!(!sends(&lab, told) && !sends(&lab, stranger));
    };
    let open = |told: &mut Told, stranger: &mut Told| {
        for bypass in [false, true] {
            assert!(writes_frames(&lab, told, "eth0", bypass), "bypass: {bypass}");
        }
        assert!(sends(&lab, told) && sends(&lab, stranger));
    };
    open(&mut told, &mut stranger);

    // This network leads to no server.
    let attached = Attached::start_with(&lab, &cgroup.0, &["--upstream-network", "host"]);
    closed(&mut told, &mut stranger);
    assert_eq!(told.ask("curl('http://ok.test/')"), "200");
    assert_eq!(told.ask("curl('http://evil.test/')"), "403");
    // What the engine connects later is closed, too.
    let later = format!("ip link add c1 type veth peer name eth1 netns {pid}; nsenter -t {pid} -n ip link set eth1 up");
    lab.unjailed().shell(&later).run().expect_code(0);
    join(&lab, "c1", "10.99.1.1/24");
    assert!(eventually(LIMIT, || !writes_frames(&lab, &mut told, "eth1", false)));

    end_all(attached, &lab, &cgroup);
    closed(&mut told, &mut stranger);
    // One that takes over, and its end.
    let second = Attached::start(&lab, &cgroup.0);
    closed(&mut told, &mut stranger);
    let said = second.end();
    assert!(said.contains("are in the same network namespace but not in"), "{said}");
    open(&mut told, &mut stranger);
    assert!(writes_frames(&lab, &mut told, "eth1", false));
    assert_eq!(traces(&lab), Vec::<String>::new());
}

/// A container that could take away what holds it is refused by its name, and one on the host's network that may write frames.
#[test]
fn a_container_that_cannot_be_held_is_refused() {
    let lab = lab();
    let named = |kind: &str| {
        Cgroup::named(&format!(
            "docker-{:0>64}.scope",
            format!("{kind}{:x}", std::process::id())
        ))
    };
    let bounded = |rights: &str| format!("exec setpriv --bounding-set {rights} \"$@\"");
    let ordinary = "-all,+chown,+dac_override,+setuid,+setgid,+net_bind_service";
    for (kind, network, rights, held) in [
        ("a1", ALONE, "-all,+net_raw,+setuid", true),
        ("a2", ALONE, "-all,+net_admin", false),
        ("a3", "exec \"$@\"", "-all,+net_raw,+setuid", false),
        ("a4", "exec \"$@\"", ordinary, true),
    ] {
        let cgroup = named(kind);
        let id = cgroup
            .0
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_start_matches("docker-")
            .to_owned();
        let inner = bounded(rights).replace("exec ", "").replace(" \"$@\"", "");
        let script = network.replace("exec \"$@\"", &format!("exec {inner} \"$@\""));
        let mut told = Told::start_with(&lab, &cgroup.0, &script);
        let place = [OsString::from("--container"), OsString::from(&id)];
        let run = attach_to(lab.unjailed(), &lab, place, &lab.fresh_path("attach.json"), &[]);
        if held {
            assert!(
                eventually(LIMIT, || run.stderr().contains("attached to")),
                "{kind}: {}",
                run.stderr()
            );
            run.signal(Signal::SIGTERM);
            run.wait().unwrap().expect_code(0);
        } else {
            let refused = run.wait().unwrap().expect_code(125);
            let refused = refused.expect_stderr_has("or may get it");
            refused.expect_stderr_has("hint: start the container without --privileged");
        }
        if network.starts_with("exec \"$@\"") {
            assert!(gets_out(&lab, &mut told), "{kind}");
        }
    }
    assert_eq!(traces(&lab), Vec::<String>::new());
}

/// The authority is in the container's bundle as long as it is held, for programs that start then; not on the host.
// Proves on attach: K03.
#[test]
fn its_files_trust_the_authority_while_it_is_held() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let mut told = Told::start_with(&lab, &cgroup.0, WITH_FILES);
    let roots = |told: &mut Told| told.ask(&format!("open('{BUNDLE}').read().count('BEGIN CERTIFICATE')"));
    let mounts = |told: &mut Told| told.ask("open('/proc/self/mountinfo').read().count('trust-')");
    assert_ne!(told.ask("curl('https://ok.test/')"), "200");
    let attached = Attached::start(&lab, &cgroup.0);
    assert!(
        eventually(LIMIT, || attached.run.stderr().contains(BUNDLE)),
        "{}",
        attached.run.stderr()
    );
    assert_eq!((roots(&mut told), mounts(&mut told)), ("1".into(), "1".into()));
    assert_eq!(told.ask("curl('https://ok.test/')"), "200");
    assert_eq!(told.ask("curl('https://evil.test/')"), "403");
    assert_eq!(
        told.ask(&format!("open('{BUNDLE}', 'w')")),
        "OSError",
        "a read-only file system"
    );
    let authority = fs::read_to_string(lab.home("root").join(".config/httpjail/ca.crt")).unwrap();
    let outside = lab
        .unjailed()
        .shell(&format!("cat {BUNDLE} 2>&1; cat /proc/self/mountinfo"))
        .run();
    let line = authority.lines().nth(3).unwrap();
    assert!(
        !outside.stdout.contains(line) && !outside.stdout.contains("trust-"),
        "{outside:#?}"
    );
    attached.end();
    assert_eq!((roots(&mut told), mounts(&mut told)), ("0".into(), "0".into()));

    // Killed, it leaves that as it leaves the cgroup: until it is taken over, or opened.
    let first = Attached::start(&lab, &cgroup.0);
    end_all(first, &lab, &cgroup);
    assert_eq!((roots(&mut told), mounts(&mut told)), ("1".into(), "1".into()));
    let second = Attached::start(&lab, &cgroup.0);
    assert_eq!((roots(&mut told), mounts(&mut told)), ("1".into(), "1".into()));
    end_all(second, &lab, &cgroup);
    detach(&lab, &cgroup.0);
    assert_eq!((roots(&mut told), mounts(&mut told)), ("0".into(), "0".into()));
    assert_eq!(traces(&lab), Vec::<String>::new());
}
