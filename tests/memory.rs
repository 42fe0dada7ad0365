//! What a jail can make its proxy hold: a bound, however many connections it opens and whatever it does not read; and who
//! asks honestly meanwhile is served.

use std::fs;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use httpjail_lab::{Lab, Running, eventually};
use serde_json::Value;

use crate::support::{PYTHON, lab, repeats};

const HOARD: &str = include_str!("support/probes/hoard.py");
/// What the README promises, in KiB. What the proxy takes without any connection is within it.
const BOUND: u64 = 1 << 20;
const LIMIT: Duration = Duration::from_secs(300);

/// A server of the world at port 8010 that accepts and reads nothing.
struct Silent(Arc<AtomicBool>);

impl Silent {
    fn at(lab: &Lab, name: &str) -> Silent {
        let address: IpAddr = "198.51.100.2".parse().unwrap();
        lab.resolve(name, &[address]);
        let listener = lab
            .on_world(|| {
                let listener = TcpListener::bind((address, 8010))?;
                listener.set_nonblocking(true)?;
                Ok(listener)
            })
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => held.push(stream),
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Silent(stop)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The most that a process of httpjail's has had, in KiB: the proxy's, which is a child of the one that was started.
fn most(jail: &Running) -> u64 {
    let pid = jail.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let all = children.split_whitespace().filter_map(|child| {
        let status = fs::read_to_string(format!("/proc/{child}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    all.max().unwrap_or(0)
}

/// A jail that hoards so: the proxy stays within the bound, and ten honest requests are served.
#[track_caller]
fn check(how: &str, count: usize, host: &str, port: u16) {
    let most = hoard(how, count, host, port, "");
    assert!(most < BOUND, "{how} {count}: {} MiB", most / 1024);
}

fn hoard(how: &str, count: usize, host: &str, port: u16, limits: &str) -> u64 {
    let lab = lab();
    // A busy machine is not what is tried here.
    let patience = "connect-timeout: 120, resolve-timeout: 120, tls-timeout: 120, handshake-timeout: 120";
    let policy = lab.file("limits.yaml", format!("limits: {{{patience}{limits}}}\n"));
    let _silent = Silent::at(&lab, "silent.test");
    let script = lab.file("hoard.py", HOARD);
    let (reader, line) = std::io::pipe().unwrap();
    let count = count.to_string();
    let jail = lab
        .jail()
        .rule(r"allow: ^https?://(ok\.test|silent\.test:8010)/")
        .option("--quiet")
        .option("--config")
        .option(&policy)
        .stdin_from(reader)
        .limit(LIMIT)
        .command([PYTHON, script.to_str().unwrap(), how, &count, host, &port.to_string()])
        .start()
        .unwrap();
    let said = eventually(LIMIT, || jail.stdout().ends_with('\n'));
    assert!(said, "{}{}", jail.stdout(), jail.stderr());
    let most = most(&jail);
    let said: Value = serde_json::from_str(&jail.stdout()).unwrap();
    eprintln!("{how} {count}: {} MiB at most, {said}", most / 1024);
    drop(line);
    jail.wait().unwrap();
    assert!(most > 0, "no proxy to look at");
    let served = vec![Value::from("HTTP/1.1 200 xxxxx"); 10];
    assert_eq!(said["asked"], Value::from(served), "{how} {count}: {said}");
    most
}

// Proves: D08.
#[test]
fn uploads_that_no_server_reads() {
    check("uploads", repeats("HTTPJAIL_TEST_HOARDERS", 400), "silent.test", 8010);
}

// Proves: D08.
#[test]
fn answers_that_no_client_reads() {
    check("downloads", repeats("HTTPJAIL_TEST_HOARDERS", 200), "ok.test", 443);
}

// Proves: D08.
#[test]
fn heads_that_do_not_end() {
    check("heads", repeats("HTTPJAIL_TEST_HOARDERS", 3000), "ok.test", 80);
}

/// The bound holds by itself, where what each connection may do would exceed it: those that stand still end.
// Proves: D08.
#[test]
fn a_bound_of_ones_own() {
    let bound = 64 << 10;
    let limits = format!(", memory-bytes: {}", bound * 1024);
    for (how, count, host, port) in [("uploads", 200, "silent.test", 8010), ("heads", 1500, "ok.test", 80)] {
        let (without, with) = (
            hoard(how, count, host, port, ""),
            hoard(how, count, host, port, &limits),
        );
        // The process takes some without any connection, and the allocator a part beyond what is used.
        let allowed = bound * 4 / 3 + (40 << 10);
        assert!(
            with < allowed && allowed < without,
            "{how}: {with} KiB, and {without} without"
        );
    }
}
