//! The lab: a small internet on one machine, for httpjail's tests and its demo.
//!
//! Two network namespaces and a cable between them, no other interface in either: `jailside`, where httpjail is started
//! and from where its proxy dials, and `world`, which plays every other address there is. Nothing can leave the machine,
//! even when the jail under test fails. The servers in `world` log what reaches them, and a packet socket records every
//! frame on the cable, so that a test can ask what really happened instead of believing the child.
//!
//! A lab belongs to its process, has no name on the host, and is made anew by each test in a few tens of milliseconds.

mod authority;
mod dns;
mod host;
mod jail;
mod log;
mod origin;
mod raw;
mod space;
mod wire;
mod world;

pub use dns::Question;
pub use host::{EXTRA_GROUP, USER, USER_ID};
pub use jail::{JailBuilder, Outcome, Running, Way};
pub use log::Log;
pub use origin::Seen;
pub use raw::{RAW_HTTP, RAW_HTTPS, RawRequest};
pub use space::Space;
pub use wire::{Frame, Wire};
pub use world::{Contact, Heard};

use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use world::World;

/// The jailed side's end of the cable.
pub const JAILSIDE_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The world's first address: the name server, and what names under `.test` resolve to.
pub const WORLD_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// The same in IPv6.
pub const WORLD_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 2);
/// The server that `evil.test` resolves to.
pub const FORBIDDEN_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 3);
/// The same in IPv6.
pub const FORBIDDEN_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 3);

/// A small internet, and the host that is connected to it.
pub struct Lab {
    // Dropped in this order: the servers stop, then the namespaces go, then the files.
    world: World,
    wire: Wire,
    jailside: Space,
    world_space: Arc<Space>,
    dir: TempDir,
    binary: PathBuf,
    files: AtomicU32,
}

impl Lab {
    /// Raises a lab around the httpjail executable at `binary`. Needs root.
    pub fn start(binary: &Path) -> Result<Lab> {
        let binary = fs::canonicalize(binary).with_context(|| format!("find {}", binary.display()))?;
        let dir = tempfile::Builder::new()
            .prefix("httpjail-lab-")
            .tempdir()
            .context("make the lab's directory")?;
        // Who starts jails without being root must be able to write logs there.
        let mode = if Way::of_this_process() == Way::Rootless {
            0o1777
        } else {
            0o755
        };
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).context("open the lab's directory")?;

        let world = Arc::new(Space::network().context("make the world")?);
        let jailside = Space::network_and_mounts().context("make the jailed side (the lab needs root)")?;
        world.run(space::skip_address_detection)?;
        jailside.run(|| {
            host::set_up(dir.path())?;
            space::skip_address_detection()?;
            // Index 10, since both ends being index 2 makes the kernel take the cable for a slow device and report it
            // ready up to a second late (linkwatch_urgent_event in net/core/link_watch.c).
            space::ip_batch(&format!(
                "link set lo up
                 link add j0 index 10 type veth peer name w0 netns {}
                 addr add {JAILSIDE_V4}/24 dev j0
                 addr add 2001:db8:99::1/64 dev j0 nodad
                 link set j0 up
                 route add 0.0.0.0/0 via {WORLD_V4}
                 route add ::/0 via {WORLD_V6}",
                world.net_path()
            ))?;
            // Closed by default in a new namespace, which would make every ping test pass for nothing.
            fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").context("let anybody ping")
        })?;
        world.run(world::set_up_network)?;
        let wire = Wire::listen(&world, &jailside)?;
        let world_space = Arc::clone(&world);
        let world = World::start(world, dir.path().join("git"))?;
        fs::write(dir.path().join("upstream-ca.pem"), &world.authority_pem).context("write the upstream authority")?;
        Ok(Lab {
            world,
            wire,
            jailside,
            world_space,
            dir,
            binary,
            files: AtomicU32::new(0),
        })
    }

    /// A jail to be started in `jailside`, logging as JSON, with the world's authority as an upstream root.
    pub fn jail(&self) -> JailBuilder<'_> {
        JailBuilder::jailed(self)
    }

    /// A command to be started in `jailside` without a jail: the positive twin of what a jail must stop.
    pub fn unjailed(&self) -> JailBuilder<'_> {
        JailBuilder::unjailed(self)
    }

    /// What crossed the cable.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// What the world's servers heard.
    pub fn heard(&self) -> &Heard {
        &self.world.heard
    }

    /// The requests for `host` that reached a web server.
    pub fn requests_for(&self, host: &str) -> Vec<Seen> {
        self.heard().requests.filter(|seen| seen.host == host)
    }

    /// Makes `name` resolve to `addresses` from now on.
    pub fn resolve(&self, name: &str, addresses: &[IpAddr]) {
        self.world
            .zone
            .lock()
            .expect("the zone's lock")
            .insert(name.to_owned(), addresses.to_vec());
    }

    /// Runs `work` in `jailside`'s namespaces, on a thread of its own.
    pub fn on_jailside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.jailside.run(work)
    }

    /// Runs `work` in the world's namespace, on a thread of its own: what another machine could do.
    pub fn on_world<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.world_space.run(work)
    }

    /// The lab's directory: readable by all, gone with the lab.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The home directory of `root` or of [`USER`].
    pub fn home(&self, user: &str) -> PathBuf {
        host::home_of(self.dir(), user)
    }

    /// Writes a file that everybody can read and execute, and tells its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.fresh_path(name);
        fs::write(&path, content).expect("write a file of the lab");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("open a file of the lab");
        path
    }

    /// A path in the lab's directory that nothing has used yet.
    pub fn fresh_path(&self, name: &str) -> PathBuf {
        self.dir()
            .join(format!("{}-{name}", self.files.fetch_add(1, Ordering::Relaxed)))
    }

    /// The httpjail executable under test.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The PEM file with the world's authority.
    pub fn upstream_ca(&self) -> PathBuf {
        self.dir().join("upstream-ca.pem")
    }

    /// A certificate for `name` from the world's authority, for a server that is none of the lab's: the chain's file and
    /// the key's.
    pub fn certificate(&self, name: &str) -> Result<(PathBuf, PathBuf)> {
        let (chain, key) = self.world.origin.authority.files(name)?;
        Ok((self.file("chain.pem", chain), self.file("key.pem", key)))
    }

    /// Makes a git repository that the web servers offer below `/git/NAME.git`, with one commit of one file.
    pub fn git_repository(&self, name: &str) -> Result<()> {
        let (work, bare) = (
            self.fresh_path("git-work"),
            self.dir().join("git").join(format!("{name}.git")),
        );
        let script = r#"set -eu
            git init -q -b main "$1"; cd "$1"; echo content > file; git add file
            git -c user.name=lab -c user.email=lab@lab.test commit -q -m first
            git clone -q --bare "$1" "$2"; git -C "$2" update-server-info"#;
        let done = std::process::Command::new("sh")
            .args(["-c", script, "sh"])
            .args([&work, &bare])
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .context("start git")?;
        anyhow::ensure!(done.status.success(), "git: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }
}

impl Drop for Lab {
    /// Ends what a broken jail may have left running: every process started here has the lab's directory in its
    /// environment.
    fn drop(&mut self) {
        let mark = self.dir.path().as_os_str().as_encoded_bytes().to_vec();
        for pid in processes(|pid| proc_file_contains(pid, "environ", &mark)) {
            // It may have ended by itself since.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// Twenty random letters: what a test looks for where it must, or must not, be.
pub fn canary() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut bits =
        u128::from(RandomState::new().hash_one(count)) << 64 | u128::from(RandomState::new().hash_one(count));
    (0..20)
        .map(|_| {
            let letter = b'a' + u8::try_from(bits % 26).unwrap_or(0);
            bits /= 26;
            char::from(letter)
        })
        .collect()
}

/// The processes with `mark` in their command line: a jailed command is found by a canary among its arguments, also
/// when it has been orphaned.
pub fn processes_with(mark: &str) -> Vec<i32> {
    processes(|pid| proc_file_contains(pid, "cmdline", mark.as_bytes()))
}

/// How much longer than usual things may take: HTTPJAIL_TEST_PATIENCE's value, for machines that are emulated.
pub fn patience() -> u32 {
    let named = std::env::var("HTTPJAIL_TEST_PATIENCE").ok();
    named.and_then(|value| value.parse().ok()).unwrap_or(1).max(1)
}

/// Polls `condition` until it holds; whether it did within `limit`, or as many times that as [`patience`] says.
pub fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit * patience();
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn processes(test: impl Fn(i32) -> bool) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).ok();
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| Some(*pid) != own && test(*pid))
        .collect()
}

fn proc_file_contains(pid: i32, file: &str, mark: &[u8]) -> bool {
    fs::read(format!("/proc/{pid}/{file}")).is_ok_and(|bytes| memchr::memmem::find(&bytes, mark).is_some())
}
