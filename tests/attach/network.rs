//! `httpjail attach`: the way to servers leaves by the network of the processes, with its name servers and its egress rules.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use httpjail_lab::{JAILSIDE_V4, Lab, WORLD_V4};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Attached, Cgroup, Told, attach_with};
use crate::support::{Expect as _, lab};

/// The container's end of its cable.
const CONTAINER_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const NFT: &str = "/usr/sbin/nft";
/// Its server, as docker's embedded one: loopback of the container's namespace.
const RESOLVER: &str = "127.0.0.11:53";

/// A policy in which the service names are pinned, and nothing is waited for.
const POLICY: &str = "rules:
- {action: allow, host: db}
- {action: allow, host: lo}
- {action: allow, host: me}
limits: {connect-timeout: 0.5, resolve-timeout: 3}
";

/// A container by hand: a process with network and mounts of its own, and a cable to the host, which passes on what it sends.
struct Container {
    told: Told,
    pid: Pid,
}

impl Container {
    fn start(lab: &Lab, cgroup: &Cgroup, resolv_conf: &str) -> Container {
        let conf = lab.file("resolv.conf", resolv_conf);
        let script = format!(
            "exec unshare -n -m sh -c 'ip link set lo up; mount --bind {} /etc/resolv.conf; exec \"$@\"' sh \"$@\"",
            conf.display()
        );
        let mut told = Told::start_with(lab, &cgroup.0, &script);
        let pid: i32 = told.ask("__import__('os').getpid()").parse().unwrap();
        let host = format!(
            "link add c0 type veth peer name eth0 netns {pid}
             addr add 10.77.0.1/24 dev c0
             link set c0 up"
        );
        lab.on_jailside(|| {
            ip(&host);
            Ok(fs::write("/proc/sys/net/ipv4/ip_forward", "1")?)
        })
        .unwrap();
        let world = format!("route add 10.77.0.0/24 via {JAILSIDE_V4}");
        lab.on_world(|| {
            ip(&world);
            Ok(())
        })
        .unwrap();
        let container = Container {
            told,
            pid: Pid::from_raw(pid),
        };
        container.within(|| {
            ip(&format!(
                "addr add {CONTAINER_V4}/24 dev eth0
                 link set eth0 up
                 route add default via 10.77.0.1"
            ));
        });
        container
    }

    /// Does `work` in the container's network, but outside of its cgroup.
    fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = fs::File::open(format!("/proc/{}/ns/net", self.pid)).unwrap();
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            there.join().unwrap()
        })
    }

    fn nft(&self, line: &str) {
        self.within(|| {
            let done = Command::new(NFT).args(line.split(' ')).output().unwrap();
            assert!(done.status.success(), "{line}: {done:?}");
        });
    }
}

fn ip(lines: &str) {
    for line in lines.lines() {
        let done = Command::new("ip").args(line.split_whitespace()).output().unwrap();
        assert!(done.status.success(), "{line}: {done:?}");
    }
}

/// A name server at `socket` that knows a service and names for the container itself, and counts the questions.
struct NameServer {
    asked: Arc<AtomicUsize>,
    _stop: mpsc::Sender<()>,
}

impl NameServer {
    fn start(socket: UdpSocket) -> NameServer {
        let asked = Arc::new(AtomicUsize::new(0));
        let (stop, stopped) = mpsc::channel::<()>();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let count = Arc::clone(&asked);
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                let Ok((length, client)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                count.fetch_add(1, Ordering::SeqCst);
                // The answer's loss would show.
                let _ = socket.send_to(&answer(&buffer[..length]), client);
            }
        });
        NameServer { asked, _stop: stop }
    }
}

/// To the names that it knows, an A record; to anything else, NXDOMAIN.
fn answer(question: &[u8]) -> Vec<u8> {
    let asked = &question[12..];
    let found = [
        (b"db", WORLD_V4),
        (b"lo", Ipv4Addr::new(127, 0, 0, 11)),
        (b"me", CONTAINER_V4),
    ]
    .into_iter()
    .find(|(name, _)| asked.starts_with(&[&b"\x02"[..], &name[..], b"\0\0\x01\0\x01"].concat()));
    let known = found.is_some();
    let end = question[12..].iter().position(|byte| *byte == 0).unwrap() + 12 + 5;
    let head = [
        &question[..2],
        if known { &[0x81, 0x80] } else { &[0x81, 0x83] },
        &[0, 1, 0, u8::from(known), 0, 0, 0, 0],
    ];
    let mut answer = [&head.concat()[..], &question[12..end]].concat();
    if let Some((_, address)) = found {
        answer.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04");
        answer.extend_from_slice(&address.octets());
    }
    answer
}

/// Who asked the world's server for `host`.
fn peers(lab: &Lab, host: &str) -> Vec<IpAddr> {
    lab.requests_for(host).iter().map(|seen| seen.peer.ip()).collect()
}

/// Whether the host itself, and nobody else, asked it.
fn by_the_host(lab: &Lab, host: &str) -> bool {
    let host: Vec<IpAddr> = peers(lab, host);
    let own: [IpAddr; 2] = [
        JAILSIDE_V4.into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 1).into(),
    ];
    !host.is_empty() && host.iter().all(|peer| own.contains(peer))
}

/// The process that makes the proxy's sockets: the child of httpjail in the container's network.
fn maker(attached: &Attached, container: &Container) -> Option<Pid> {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let ours = namespace(container.pid.as_raw());
    let parent = attached.run.pid();
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    let mut children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    children.find(|pid| namespace(*pid) == ours).map(Pid::from_raw)
}

// Proves on attach: H20, H25.
#[test]
fn an_egress_rule_and_a_service_name_of_the_network_hold() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let mut container = Container::start(&lab, &cgroup, "nameserver 127.0.0.11\noptions ndots:0\n");
    let servers = NameServer::start(container.within(|| UdpSocket::bind(RESOLVER).unwrap()));
    let policy = lab.file("policy.yaml", POLICY);
    let policy = policy.to_str().unwrap();

    // By this host's network, as a run does: the name is not known there.
    let attached = Attached::start_with(&lab, &cgroup.0, &["--config", policy, "--upstream-network", "host"]);
    assert_eq!(container.told.ask("curl('http://db/')"), "502");
    assert_eq!(container.told.ask("curl('http://ok.test/')"), "200");
    assert!(by_the_host(&lab, "ok.test"));
    attached.end();

    let attached = Attached::start_with(&lab, &cgroup.0, &["--config", policy]);
    container.nft("add table ip rules");
    container.nft("add chain ip rules out { type filter hook output priority 0 ; }");
    container.nft(&format!("add rule ip rules out ip daddr {WORLD_V4} tcp dport 80 drop"));
    let before = lab.wire().packets_to(6, 80);
    let refused = container.told.ask("curl('http://db/')");
    assert!(["502", "504"].contains(&refused.as_str()), "{refused}");
    assert_eq!(lab.wire().packets_to(6, 80), before, "the rule held");
    assert_eq!(peers(&lab, "db"), Vec::<IpAddr>::new());
    // Who is refused by a rule of the policy asks nobody.
    let asked = servers.asked.load(Ordering::SeqCst);
    assert!(asked > 0, "the container's server was asked");
    assert_eq!(container.told.ask("curl('http://evil.test/')"), "403");
    assert_eq!(servers.asked.load(Ordering::SeqCst), asked);

    container.nft("delete table ip rules");
    assert_eq!(container.told.ask("curl('http://db/')"), "200");
    assert_eq!(peers(&lab, "db"), [IpAddr::from(CONTAINER_V4)]);
    // Its loopback is a resolver and no destination, and neither is its own address.
    for own in ["lo", "me"] {
        assert_eq!(container.told.ask(&format!("curl('http://{own}/')")), "403", "{own}");
    }
    attached.end();
}

// Proves on attach: P15.
#[test]
fn what_makes_the_sockets_has_one_right_and_its_end_closes() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let mut container = Container::start(&lab, &cgroup, "nameserver 198.51.100.2\n");
    let attached = Attached::start(&lab, &cgroup.0);
    assert_eq!(container.told.ask("curl('http://ok.test/')"), "200");
    assert_eq!(peers(&lab, "ok.test"), [IpAddr::from(CONTAINER_V4)]);
    let maker = maker(&attached, &container).expect("a process in the container's network");
    let status = fs::read_to_string(format!("/proc/{maker}/status")).unwrap();
    // CAP_NET_ADMIN marks what may pass the devices, which are closed here.
    for (set, rights) in [
        ("CapPrm", "1000"),
        ("CapEff", "1000"),
        ("CapBnd", "1000"),
        ("CapInh", "0"),
        ("CapAmb", "0"),
    ] {
        assert!(status.contains(&format!("{set}:\t{rights:0>16}\n")), "{status}");
    }
    let members = fs::read_to_string(cgroup.0.join("cgroup.procs")).unwrap();
    assert!(!members.lines().any(|pid| pid == maker.to_string()), "{members}");

    kill(maker, Signal::SIGKILL).unwrap();
    let said = attached.run.wait().unwrap().expect_code(125).stderr;
    assert!(
        said.contains("makes the proxy's sockets ended") && said.contains("stays closed"),
        "{said}"
    );
    assert_eq!(container.told.ask("curl('http://ok.test/')"), "000");
    assert_eq!(peers(&lab, "ok.test").len(), 1, "none since");
}

#[test]
fn where_no_network_of_their_own_leads_out() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let alone = "exec unshare -n sh -c 'ip link set lo up; exec \"$@\"' sh \"$@\"";
    let mut told = Told::start_with(&lab, &cgroup.0, alone);
    let demand = ["--upstream-network", "container"].map(Path::new);
    let refused = attach_with(&lab, &cgroup.0, &lab.fresh_path("refused.json"), &demand);
    let refused = refused.wait().unwrap().expect_code(125);
    refused.expect_stderr_has("no network of their own that leads out");
    let attached = Attached::start(&lab, &cgroup.0);
    assert_eq!(told.ask("curl('http://ok.test/')"), "200");
    assert!(by_the_host(&lab, "ok.test"));
    attached.end();
}

#[test]
fn a_resolv_conf_that_is_no_file_ends_the_start() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let container = Container::start(&lab, &cgroup, "");
    let pipe = lab.fresh_path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mounted = Command::new("nsenter")
        .args(["-m", "-t", &container.pid.to_string(), "mount", "--bind"])
        .args([pipe.as_os_str(), "/etc/resolv.conf".as_ref()])
        .status();
    assert!(mounted.unwrap().success());
    let refused = attach_with(&lab, &cgroup.0, &lab.fresh_path("refused.json"), &[]);
    let refused = refused.wait().unwrap().expect_code(125);
    refused
        .expect_stderr_has("resolv.conf")
        .expect_stderr_has("it is not a file");
}
