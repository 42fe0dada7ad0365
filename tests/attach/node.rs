//! `httpjail node`: many cgroups, each held by a process of its own, and parents in which everything else is closed.

use super::*;

/// A node, with root's directory for it.
struct Node<'lab> {
    lab: &'lab Lab,
    run: Running,
    directory: PathBuf,
}

/// Root's directory, with two policies that allow one host each.
fn directory(lab: &Lab) -> PathBuf {
    let directory = lab.fresh_path("root").join("httpjail");
    fs::create_dir_all(directory.join("policies")).unwrap();
    for host in ["ok", "evil"] {
        policy(
            lab,
            &directory,
            host,
            &format!("rules:\n- {{action: allow, host: {host}.test}}\n"),
        );
    }
    directory
}

fn policy(lab: &Lab, directory: &Path, name: &str, rules: &str) {
    let text = format!("version: 1\nupstream-ca: {}\n{rules}", lab.upstream_ca().display());
    fs::write(directory.join(format!("policies/{name}.yaml")), text).unwrap();
}

fn start<'lab>(lab: &'lab Lab, directory: &Path, file: &str, more: &[&str]) -> Node<'lab> {
    fs::write(directory.join("node.yaml"), file).unwrap();
    let mut line: Vec<OsString> = vec![lab.binary().into(), "node".into(), "--dir".into(), directory.into()];
    line.extend(more.iter().map(OsString::from));
    Node {
        lab,
        run: lab.unjailed().command(line).start().unwrap(),
        directory: directory.to_owned(),
    }
}

impl Node<'_> {
    /// Waits until it has said that so many times.
    #[track_caller]
    fn says(&self, what: &str, times: usize) {
        let said = eventually(LIMIT, || self.run.stderr().matches(what).count() >= times);
        assert!(said, "{what}: {}", self.run.stderr());
    }

    fn reload(&self, file: &str) {
        fs::write(self.directory.join("node.yaml"), file).unwrap();
        self.run.signal(Signal::SIGHUP);
    }

    #[track_caller]
    fn end(self) -> String {
        self.run.signal(Signal::SIGTERM);
        let outcome = self.run.wait().unwrap().expect_code(0);
        // Nothing is left of it.
        assert_eq!(traces(self.lab), Vec::<String>::new(), "{}", outcome.stderr);
        outcome.stderr
    }
}

/// How the tests' cgroup is named from the root of the tree on.
fn within(cgroup: &Cgroup) -> String {
    cgroup.0.file_name().unwrap().to_str().unwrap().to_owned()
}

fn below(cgroup: &Cgroup, name: &str) -> Cgroup {
    let path = cgroup.0.join(name);
    fs::create_dir(&path).unwrap();
    Cgroup(path)
}

/// The processes of httpjail that hold a cgroup.
fn holders(lab: &Lab, cgroup: &Cgroup) -> Vec<i32> {
    let is_httpjail = |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == lab.binary());
    processes_with(cgroup.0.to_str().unwrap())
        .into_iter()
        .filter(is_httpjail)
        .collect()
}

/// Nothing gets out, by any way that leads out when it is held, and not a first segment of a connection.
#[track_caller]
fn is_closed(lab: &Lab, told: &mut Told) {
    let before = lab.wire().packets_to(6, 9999);
    let mark = canary();
    told.ask(&format!("socket.create_connection({FAR}, 0.2).sendall(b'{mark}')"));
    told.ask(&format!("socket.create_connection({FAR_V6}, 0.2).sendall(b'{mark}')"));
    told.ask("curl('--max-time', '0.2', 'http://ok.test/')");
    told.ask(&format!(
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'{mark}', {FAR})"
    ));
    told.ask(&format!(
        "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'{mark}', {FAR_V6})"
    ));
    assert!(!lab.wire().saw(&mark));
    assert_eq!(lab.wire().packets_to(6, 9999), before);
}

/// What the node serves at a path.
fn served(lab: &Lab, path: &str) -> String {
    let url = format!("http://127.0.0.1:9464{path}");
    let line = ["curl", "-sS", "--max-time", "20", "-w", "%{http_code}", &url];
    lab.unjailed().command(line).run().stdout
}

/// Each of two jails has its policy, and what has none sends nothing; a cgroup that was born closed is held when it has one.
#[test]
fn what_is_born_below_a_closed_parent_is_closed_until_it_has_a_policy() {
    let lab = lab();
    let parent = Cgroup::new();
    let (name, directory) = (within(&parent), directory(&lab));
    let first = format!(
        "metrics: 127.0.0.1:9464\nclosed: {name}\njails:\n- {{name: a, cgroup: {name}/a-*, policy: ok}}\n- {{name: b, cgroup: {name}/b, policy: evil}}\n"
    );
    let node = start(&lab, &directory, &first, &[]);
    node.says("holds what", 1);
    let cgroups = ["a-1", "b", "c"].map(|name| below(&parent, name));
    let mut told = [&cgroups[0], &cgroups[1], &cgroups[2]].map(|cgroup| Told::start(&lab, &cgroup.0));
    node.says("is held", 2);
    for (index, [ok, evil]) in [["200", "403"], ["403", "200"]].into_iter().enumerate() {
        assert_eq!(told[index].ask("curl('http://ok.test/')"), ok, "{index}");
        assert_eq!(told[index].ask("curl('http://evil.test/')"), evil, "{index}");
        assert!(!gets_out(&lab, &mut told[index]));
    }
    is_closed(&lab, &mut told[2]);
    assert_eq!(
        (lab.requests_for("ok.test").len(), lab.requests_for("evil.test").len()),
        (1, 1)
    );

    let metrics = served(&lab, "/metrics");
    for expected in [
        "httpjail_node_jails{state=\"held\"} 2\n",
        "httpjail_node_jails{state=\"waiting\"} 0\n",
        "httpjail_node_reload_failures_total 0\n",
        // What the jails have counted, too.
        "name=\"a.1\"",
        "name=\"b\"",
    ] {
        assert!(metrics.contains(expected), "{expected}: {metrics}");
    }
    assert_eq!(served(&lab, "/healthz"), "ok\n200");
    assert!(served(&lab, "/etc/passwd").ends_with("404"));
    let read = |pid: i32, file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let nodes = processes_with(directory.to_str().unwrap()).into_iter();
    let nodes = nodes
        .filter(|pid| read(*pid, "cmdline").contains("\0node\0"))
        .map(|pid| read(pid, "status"));
    let (root, others): (Vec<String>, Vec<String>) = nodes.partition(|status| status.contains("Uid:	0	"));
    assert_eq!((root.len(), others.len()), (1, 1), "the node, and who serves");
    assert!(others[0].contains("CapPrm:	0000000000000000") && others[0].contains("CapBnd:	0000000000000000"));

    // A file that is wrong changes nothing, and neither does one that would close what is not the node's.
    node.reload("jails: [{name: a}]\n");
    node.says("what was in force before stays so", 1);
    assert!(served(&lab, "/metrics").contains("httpjail_node_reload_failures_total 1\n"));
    node.reload(&format!("{first}- {{name: c, cgroup: {name}/c, policy: ok}}\n"));
    node.says("is held", 3);
    assert_eq!(told[2].ask("curl('http://ok.test/')"), "200");
    assert_eq!(told[2].ask("curl('http://evil.test/')"), "403");
    // One that is gone from the file is let go of by its attachment, and closed by the parent.
    node.reload(&first);
    node.says("is held no more", 1);
    assert!(served(&lab, "/metrics").contains("httpjail_node_jails{state=\"held\"} 2\n"));
    is_closed(&lab, &mut told[2]);
    assert_eq!(told[0].ask("curl('http://ok.test/')"), "200");

    let said = node.end();
    assert!(said.contains("lets go of everything"), "{said}");
    for told in &mut told {
        assert!(gets_out(&lab, told));
    }
}

/// What a node holds outlives it, and the next one finds it again: connections go on. What dies is closed, and started again.
#[test]
fn killed_in_any_order_it_is_held_or_closed() {
    let lab = lab();
    let parent = Cgroup::new();
    let (name, directory) = (within(&parent), directory(&lab));
    let file = format!("closed: {name}\njails: [{{name: a, cgroup: {name}/*, policy: ok}}]\n");
    let node = start(&lab, &directory, &file, &[]);
    let cgroup = below(&parent, "a");
    let mut told = Told::start(&lab, &cgroup.0);
    node.says("is held", 1);
    let get = "(kept.sendall(b'GET / HTTP/1.1\\r\\nHost: ok.test\\r\\n\\r\\n'), kept.recv(12))[1]";
    told.ask("kept = socket.create_connection(('ok.test', 80))");
    assert_eq!(told.ask(get), "b'HTTP/1.1 200'");
    told.ask("kept.recv(65536)");
    let holding = holders(&lab, &cgroup);

    node.run.signal(Signal::SIGKILL);
    node.run.wait().unwrap();
    // What is born without a node is closed.
    let orphan = below(&parent, "b");
    let mut born = Told::start(&lab, &orphan.0);
    is_closed(&lab, &mut born);
    let node = start(&lab, &directory, &file, &[]);
    node.says("has found 1 processes", 1);
    node.says("is held", 1);
    assert_eq!(born.ask("curl('http://ok.test/')"), "200");
    assert_eq!(told.ask(get), "b'HTTP/1.1 200'", "the same connection");
    assert_eq!(holders(&lab, &cgroup), holding);

    // An attachment that is killed is started again, in the hands of the new node.
    let kill_all = |cgroup: &Cgroup| {
        for pid in holders(&lab, cgroup) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    };
    kill_all(&cgroup);
    node.says("its process has ended", 1);
    node.says("is held", 2);
    assert_eq!(told.ask("curl('http://ok.test/')"), "200");
    assert_eq!(told.ask("curl('http://evil.test/')"), "403");

    // All of it.
    node.run.signal(Signal::SIGKILL);
    node.run.wait().unwrap();
    kill_all(&cgroup);
    kill_all(&orphan);
    is_closed(&lab, &mut told);
    is_closed(&lab, &mut born);
    lab.jail().command(["true"]).run().expect_code(0);
    is_closed(&lab, &mut told);
    let node = start(&lab, &directory, &file, &["--keep"]);
    node.says("is held", 2);
    assert_eq!(told.ask("curl('http://ok.test/')"), "200");

    // A node that is told to keep what it holds keeps it, until it is opened by hand.
    node.run.signal(Signal::SIGTERM);
    node.run
        .wait()
        .unwrap()
        .expect_code(0)
        .expect_stderr_has("everything stays as it is");
    assert_eq!(told.ask("curl('http://ok.test/')"), "200");
    assert_eq!(told.ask("curl('http://evil.test/')"), "403");
    let line: [OsString; 3] = [lab.binary().into(), "detach".into(), "--all".into()];
    lab.unjailed().command(line).run().expect_code(0);
    assert!(eventually(LIMIT, || gets_out(&lab, &mut told)));
    assert!(gets_out(&lab, &mut born));
    assert_eq!(traces(&lab), Vec::<String>::new());
}

/// A policy that cannot be used leaves its cgroup closed, also where no parent is, until it is mended.
#[test]
fn a_bad_policy_leaves_it_closed() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let (name, directory) = (within(&cgroup), directory(&lab));
    policy(&lab, &directory, "ok", "rules: 1\n");
    let mut told = Told::start(&lab, &cgroup.0);
    assert!(gets_out(&lab, &mut told));
    let file = format!("jails: [{{name: a, cgroup: {name}, policy: ok}}]\n");
    let node = start(&lab, &directory, &file, &[]);
    node.says("is not held, and stays closed", 1);
    is_closed(&lab, &mut told);
    // Nor is it opened by hand, while the node has it.
    let line: [OsString; 4] = [
        lab.binary().into(),
        "detach".into(),
        "--cgroup".into(),
        cgroup.0.clone().into(),
    ];
    lab.unjailed()
        .command(line)
        .run()
        .expect_code(125)
        .expect_stderr_has("in the hands of httpjail node");
    is_closed(&lab, &mut told);
    policy(&lab, &directory, "ok", "rules: [{action: allow, host: ok.test}]\n");
    node.run.signal(Signal::SIGHUP);
    node.says("is held", 1);
    assert_eq!(told.ask("curl('http://ok.test/')"), "200");
    assert_eq!(told.ask("curl('http://evil.test/')"), "403");
    // A second node is refused.
    let file = file.as_str();
    let second = start(&lab, &directory, file, &[]);
    second
        .run
        .wait()
        .unwrap()
        .expect_code(125)
        .expect_stderr_has("another httpjail node runs");
    node.reload("jails: []\n");
    node.says("is held no more", 1);
    assert!(gets_out(&lab, &mut told));
    node.end();
}

/// What is not the node's is never closed with a parent.
#[test]
fn a_parent_with_others_in_it_is_not_closed() {
    let lab = lab();
    let parent = Cgroup::new();
    let (name, directory) = (within(&parent), directory(&lab));
    let other = below(&parent, "other");
    let mut told = Told::start(&lab, &other.0);
    let file = |closed: &str, cgroup: &str| {
        format!("closed: {closed}\njails: [{{name: a, cgroup: {name}/{cgroup}, policy: ok}}]\n")
    };
    for (closed, cgroup, why) in [
        (
            name.as_str(),
            "a-*",
            "/other is a cgroup, which no jail of the node file holds",
        ),
        (
            name.as_str(),
            "other/*",
            "/other has processes, which no jail of the node file holds",
        ),
        ("system.slice", "a", "the host's own"),
        ("kubepods.slice/pods", "a", "whose network is set up from inside"),
    ] {
        for more in [&[][..], &["--check"]] {
            let node = start(&lab, &directory, &file(closed, cgroup), more);
            let outcome = node
                .run
                .wait()
                .unwrap()
                .expect_code(if more.is_empty() { 125 } else { 1 });
            outcome.expect_stderr_has(why);
        }
    }
    assert!(gets_out(&lab, &mut told));
    let checked = start(&lab, &directory, &file(&name, "*"), &["--check"])
        .run
        .wait()
        .unwrap()
        .expect_code(0);
    assert!(checked.stdout.contains(&format!("{name}/other")), "{}", checked.stdout);
    assert!(gets_out(&lab, &mut told));
    assert_eq!(traces(&lab), Vec::<String>::new());
}
