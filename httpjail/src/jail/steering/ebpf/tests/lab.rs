//! The jail in little.

use crate::jail::steering::cgroup::Cgroup;
use crate::jail::steering::ebpf::{Events, Flows, Links, Programs};
use crate::net::{ClientAddr, OriginalDstSource};
use crate::sys::bpf::netns_cookie;
use httpjail_common::{Event, JailConfig, Ports};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;

/// The jail's own addresses besides localhost: `getaddrinfo(AI_ADDRCONFIG)` wants one that is not loopback.
const OWN_V4: &str = "198.18.0.1";
const OWN_V6: &str = "2001:2::1";

pub(super) struct Lab {
    pub(super) programs: Programs,
    pub(super) links: Option<Links>,
    pub(super) cgroup: Cgroup,
    pub(super) config: JailConfig,
    pub(super) events: Events,
    pub(super) flows: Arc<Flows>,
}

/// Runs `test` on a thread of its own, in a fresh network namespace; prints a skip where that cannot be.
pub(super) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    if let Err(error) = crate::jail::steering::cgroup::mount_point() {
        eprintln!("skipped: {error}");
        return;
    }
    let thread = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace");
        for arguments in [
            "link set lo up",
            &format!("address add {OWN_V4}/32 dev lo"),
            &format!("address add {OWN_V6}/128 dev lo nodad"),
        ] {
            let status = Command::new("ip").args(arguments.split(' ')).status().expect("ip");
            assert!(status.success(), "ip {arguments}");
        }
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

impl Lab {
    /// A jail with everything in place; call it in [`in_namespace`].
    pub(super) fn armed() -> Lab {
        let mut lab = Lab::unarmed();
        lab.config.armed = 1;
        lab.configure();
        lab
    }

    /// The same before it is armed.
    pub(super) fn unarmed() -> Lab {
        let mut lab = Lab::unattached();
        lab.attach();
        lab
    }

    pub(super) fn attach(&mut self) {
        self.links = Some(self.programs.attach(self.cgroup.as_fd()).unwrap());
    }

    /// The same before anything is attached: the cgroup is open.
    pub(super) fn unattached() -> Lab {
        Lab::around(Programs::load(&Programs::object().unwrap(), true).unwrap())
    }

    /// The same with these programs.
    pub(super) fn around(programs: Programs) -> Lab {
        let cgroup = Cgroup::create().unwrap();

        let proxy_v4 = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = proxy_v4.local_addr().unwrap().port();
        let proxy_v6 = TcpListener::bind(("::1", port)).unwrap();
        let resolver_tcp_v4 = TcpListener::bind("127.0.0.1:0").unwrap();
        let resolver_tcp = resolver_tcp_v4.local_addr().unwrap().port();
        let resolver_tcp_v6 = TcpListener::bind(("::1", resolver_tcp)).unwrap();
        let udp_v4 = UdpSocket::bind("127.0.0.1:0").unwrap();
        let resolver_udp = udp_v4.local_addr().unwrap().port();
        let udp_v6 = UdpSocket::bind(("::1", resolver_udp)).unwrap();
        for listener in [&proxy_v4, &proxy_v6] {
            let queue: i32 = 4096;
            socket2::SockRef::from(listener).listen(queue).unwrap();
            // Server side of TCP fast open, so that data really comes with the SYN.
            std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "1027").unwrap_or(());
        }

        let flows = Arc::new(programs.flows(netns_cookie(proxy_v4.as_fd()).unwrap()).unwrap());
        serve(proxy_v4, "proxy", &flows);
        serve(proxy_v6, "proxy", &flows);
        serve(resolver_tcp_v4, "resolver", &flows);
        serve(resolver_tcp_v6, "resolver", &flows);
        answer(udp_v4);
        answer(udp_v6);

        let ports = Ports {
            proxy: port,
            resolver_udp,
            resolver_tcp,
            reserved: 0,
        };
        let config = JailConfig {
            jail: cgroup.id(),
            own_v4: OWN_V4.parse::<IpAddr>().unwrap().into(),
            own_v6: OWN_V6.parse::<IpAddr>().unwrap().into(),
            armed: 0,
            ifindex: 1,
            publish_mark: 0,
            dns_open: 0,
            host_loopback: 1,
            own_mark: 0,
            inbound: 0,
            reserved: 0,
            v4: ports,
            v6: ports,
        };
        let events = programs.events().unwrap();
        Lab {
            programs,
            links: None,
            cgroup,
            config,
            events,
            flows,
        }
    }

    pub(super) fn configure(&self) {
        self.programs.configure(self.cgroup.id(), &self.config).unwrap();
    }

    /// Runs a Python program inside the jail.
    pub(super) fn python(&self, program: &str) -> Output {
        self.command(program).output().unwrap()
    }

    /// Starts a Python program inside the jail, to be talked with over its stdin and stdout.
    pub(super) fn start(&self, program: &str) -> Talker {
        Talker::start(self.command(program))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
            .arg(self.cgroup.procs());
        command.args(["python3", "-c", &format!("{PRELUDE}\n{program}")]);
        command
    }

    /// Evaluates each expression inside the jail and compares what it says with what is expected. `PROXY` and `RESOLVER` stand
    /// for httpjail's own ports. An expression that raises an `OSError` says the error's name.
    pub(super) fn check(&self, cases: &[(&str, &str)]) {
        let mut program = format!(
            "PROXY, RESOLVER = {}, {}\n",
            self.config.v4.proxy, self.config.v4.resolver_udp
        );
        for (expression, _) in cases {
            program.push_str(&format!("case(lambda: {expression})\n"));
        }
        let output = self.python(&program);
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}{errors}");
        let said: Vec<&str> = said.lines().collect();
        let table = |answers: Vec<&str>| -> String {
            cases
                .iter()
                .zip(answers)
                .map(|((expression, _), answer)| format!("{expression} => {answer}\n"))
                .collect()
        };
        assert_eq!(
            table(said),
            table(cases.iter().map(|(_, expected)| *expected).collect()),
            "{errors}"
        );
    }

    /// Takes every event that is there, and counts them by what `describe` says.
    pub(super) fn events(&mut self, describe: impl Fn(&Event) -> String) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for event in self.events.by_ref() {
            assert_eq!(event.jail, self.config.jail, "{event:?}");
            *counts.entry(describe(&event)).or_default() += 1;
        }
        counts
    }
}

/// A Python program that does something for each line it is told, and says a line for each.
pub(super) struct Talker {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Talker {
    /// Outside the jail, in a fresh network namespace.
    pub(super) fn elsewhere(program: &str) -> Talker {
        let mut command = Command::new("unshare");
        command.args(["-n", "python3", "-c", &format!("{PRELUDE}\n{program}")]);
        Talker::start(command)
    }

    fn start(mut command: Command) -> Talker {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (
            child.stdin.take().unwrap(),
            BufReader::new(child.stdout.take().unwrap()),
        );
        Talker { child, stdin, stdout }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its next line.
    pub(super) fn hear(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// What it answers to an expression.
    pub(super) fn ask(&mut self, expression: &str) -> String {
        writeln!(self.stdin, "{expression}").unwrap();
        self.hear()
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers each connection with the flow it took, and closes it; a connection without a flow is only closed.
fn serve(listener: TcpListener, who: &'static str, flows: &Arc<Flows>) {
    let flows = Arc::clone(flows);
    std::thread::spawn(move || {
        while let Ok((mut stream, client)) = listener.accept() {
            if let Some(flow) = flows.take(ClientAddr(client), socket2::SockRef::from(&stream)) {
                let Some(crate::net::Opener::Process(process)) = flow.opener else {
                    panic!("the programs know the process");
                };
                let _ = writeln!(stream, "{who} {} {} {}", flow.original.0, process.comm, process.pid);
                // Closing with the client's byte unread would reset the connection before it has our answer.
                let _ = stream.read(&mut [0; 16]);
            }
        }
    });
}

/// Sends each datagram back.
fn answer(socket: UdpSocket) {
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((len, client)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..len], client);
        }
    });
}

const PRELUDE: &str = include_str!("prelude.py");
