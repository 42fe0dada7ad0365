//! One boot: QEMU, a limit, and what came out by the guest's serial ports.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::folder;
use super::kernels::Kernel;
use crate::run::command;

/// How long a guest may take to start its first program, and for each line of its plan. The guest's own limit, in
/// `xtask/vm/run`, is shorter, so that a test that hangs costs its topic alone.
const START: Duration = Duration::from_secs(480);
const EACH: Duration = Duration::from_secs(1260);
/// What the guest says when its programs run, and when the plan is done.
const STARTED: &str = "VM-STARTED";
const DONE: &str = "VM-DONE";

/// What a boot gave.
pub(crate) struct Results {
    /// What the guest's programs printed.
    pub(crate) told: String,
    /// Lines of the kernel's log that speak of a fault of the kernel.
    pub(crate) faults: Vec<String>,
    /// Whether the plan was done to its end.
    pub(crate) done: bool,
}

/// Boots, waits, and reads; once more if the machine stops before its first program, as QEMU's translation does at times.
pub(crate) fn boot(kernel: &Kernel, name: &str, system: &Path, tests: &Path, lines: usize) -> Result<Results> {
    let results = folder().join("results");
    fs::create_dir_all(&results).context("make a folder for the results")?;
    let [console, told, log] =
        ["console", "told", "dmesg"].map(|end| results.join(format!("{}-{name}.{end}", kernel.name)));
    for _ in 0..2 {
        for file in [&console, &told, &log] {
            fs::write(file, "").context("empty the results")?;
        }
        let mut machine = Machine::start(kernel, system, tests, &[&console, &told, &log])?;
        if !machine.until(&told, STARTED, START)? {
            continue;
        }
        let done = machine.until(&told, DONE, EACH * u32::try_from(lines)?)?;
        if done {
            // It ends by itself; what it has said is here already.
            machine.ended(Duration::from_secs(60))?;
        }
        return Ok(Results {
            told: read(&told)?,
            faults: faults(&(read(&log)? + &read(&console)?)),
            done,
        });
    }
    bail!("the kernel {} did not start: see {}", kernel.release, console.display())
}

/// A running QEMU, killed when dropped.
struct Machine(Child);

impl Machine {
    fn start(kernel: &Kernel, system: &Path, tests: &Path, ports: &[&Path]) -> Result<Machine> {
        let accelerator = if has_kvm() { "kvm" } else { "tcg,thread=multi" };
        // It ends with us, also where we are killed.
        let mut qemu = command("setpriv", ["--pdeathsig", "KILL", "--", "qemu-system-x86_64"]);
        qemu.args(["-accel", accelerator, "-cpu", "max", "-smp", "2", "-m", "2048"]);
        // No network card, no monitor, no screen: nothing but disks whose changes are thrown away, and serial ports.
        qemu.args(["-nodefaults", "-nic", "none", "-display", "none", "-no-reboot"]);
        qemu.arg("-kernel")
            .arg(kernel.image())
            .arg("-initrd")
            .arg(kernel.initramfs());
        for disk in [system, tests] {
            let drive = format!("file={},format=raw,if=virtio,snapshot=on", disk.display());
            qemu.args(["-drive", &drive]);
        }
        for port in ports {
            qemu.arg("-serial").arg(format!("file:{}", port.display()));
        }
        qemu.args([
            "-append",
            // On a busy machine the timer of a translated guest comes too late for the kernel's check of it, which then panics.
            "console=ttyS0 panic=-1 loglevel=5 mitigations=off tsc=unstable net.ifnames=0 cryptomgr.notests \
             no_timer_check",
        ]);
        qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        Ok(Machine(qemu.spawn().context("start qemu-system-x86_64")?))
    }

    /// Waits until the guest has said `word`; whether it did before the limit, and before the machine ended.
    fn until(&mut self, told: &Path, word: &str, limit: Duration) -> Result<bool> {
        let began = Instant::now();
        loop {
            let ended = self.0.try_wait().context("look at the machine")?.is_some();
            if read(told)?.contains(word) {
                return Ok(true);
            }
            if ended || began.elapsed() > limit {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn ended(&mut self, limit: Duration) -> Result<()> {
        let began = Instant::now();
        while self.0.try_wait().context("look at the machine")?.is_none() && began.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Ended already, or ended here; reaped either way.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether the processor runs guests, and we may ask it to. A hypervisor without such a processor below it may offer the
/// device too, and then runs none but its own kernels.
fn has_kvm() -> bool {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = processor
        .lines()
        .find(|line| line.starts_with("flags"))
        .unwrap_or_default();
    let able = flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm");
    able && fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok()
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
}

fn faults(log: &str) -> Vec<String> {
    let words = [
        "BUG:",
        "WARNING:",
        "Oops",
        "general protection",
        "Kernel panic",
        "hung_task",
        "blocked for more than",
    ];
    let bad = |line: &&str| words.iter().any(|word| line.contains(word));
    let mut found: Vec<String> = log.lines().filter(bad).map(Into::into).collect();
    found.dedup();
    found
}
