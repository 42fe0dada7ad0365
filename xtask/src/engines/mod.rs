//! `cargo xtask engines [NAME..]`: real container engines, with httpjail as their runtime and attached from outside, in the lab.
//!
//! By hand and before releases, not in CI: the engines and an unmodified Debian to run take minutes to install. Each engine runs
//! on a host of its own, which is namespaces in the lab: its own network, processes, mounts and `/etc`. No row believes a
//! container: the lab's origin and its wire say what arrived.

mod cli;
mod host;
mod install;
mod pods;
mod rows;
mod trials;

use std::io::{IsTerminal as _, Read as _};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use httpjail_lab::Lab;

use crate::run::httpjail;
use clap::ValueEnum as _;
use cli::Engine;
pub(crate) use cli::Kind;
use host::Host;
use pods::Containerd;

/// Runs the trials with the engines of these names; with all if none is given. `hold` raises one and waits, for trials by hand.
pub(crate) fn run(kinds: &[Kind], hold: bool) -> Result<()> {
    let image = install::all().context("install what the engines need")?;
    let binary = httpjail()?;
    let mut faults = 0;
    for kind in Kind::value_variants() {
        if !kinds.is_empty() && !kinds.contains(kind) {
            continue;
        }
        let name = kind.name();
        let begun = Instant::now();
        let lab = Lab::start(&binary)?;
        let host = Host::raise(&lab)?;
        let table = if *kind == Kind::Containerd {
            let engine = Containerd::start(&host, &image).with_context(|| format!("start {name}"))?;
            if hold {
                return wait(&host, &engine.words());
            }
            engine.trials()
        } else {
            let engine = Engine::start(*kind, &host).with_context(|| format!("start {name}"))?;
            engine.import(&image).context("import the image")?;
            if hold {
                return wait(&host, engine.words());
            }
            trials::run(&engine)
        };
        let table = table.with_context(|| format!("trials with {name}"))?;
        println!("{table}{name}: {} s\n", begun.elapsed().as_secs());
        faults += table.faults();
    }
    if faults > 0 {
        bail!("{faults} rows are not as they must be");
    }
    Ok(())
}

/// Says how to get in, and waits until the standard input ends.
fn wait(host: &Host<'_>, engine: &[String]) -> Result<()> {
    println!("a shell there:  {} bash", host.entrance().join(" "));
    println!("the engine:     {}", engine.join(" "));
    println!("the image:      {} (containerd: {})", cli::IMAGE, pods::IMAGE);
    println!(
        "the world:      https://ok.test, https://evil.test; its authority: {}",
        host.lab().upstream_ca().display()
    );
    println!(
        "it ends with the standard input{}",
        if std::io::stdin().is_terminal() { " (^D)" } else { "" }
    );
    std::io::stdin().read_to_end(&mut Vec::new()).context("wait")?;
    Ok(())
}
