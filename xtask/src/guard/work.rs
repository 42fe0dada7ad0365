//! The work that is counted. Two runs do a different amount of it, and what they differ by is its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::callgrind::{self, Counts, callgrind};
use super::client::{Client, Protocol};
use super::origin::Origin;
use super::proxy::Proxy;
use super::space::space;
use crate::run::quietly;

/// What is done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    /// What benches/fixed.rs does under this name.
    Rules(&'static str),
    /// A connection with TLS to a name that has a leaf.
    Handshake,
    /// A leaf for a new name.
    Mint,
    /// A request and its answer.
    Request(Protocol),
}

pub(super) const ALL: [(&str, Work); 7] = [
    // The longest first.
    ("mint", Work::Mint),
    ("h2 request", Work::Request(Protocol::H2)),
    ("h1 TLS request", Work::Request(Protocol::Tls)),
    ("h1 plain request", Work::Request(Protocol::Plain)),
    ("TLS handshake", Work::Handshake),
    ("target", Work::Rules("target")),
    ("judge", Work::Rules("judge")),
];

/// What one unit of work takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figures {
    pub(super) instructions: f64,
    pub(super) allocations: f64,
}

/// The executables that do the work.
pub(super) struct Programs {
    pub(super) httpjail: PathBuf,
    pub(super) fixed: Option<PathBuf>,
}

impl Programs {
    pub(super) fn can_do(&self, work: Work) -> bool {
        self.fixed.is_some() || !matches!(work, Work::Rules(_))
    }
}

/// Counts one unit of `work`. Leaves callgrind's file of the larger run at `kept`.
pub(super) fn count(programs: &Programs, work: Work, kept: &Path) -> Result<Figures> {
    match work {
        Work::Rules(name) => difference([1_000, 11_000], |count| {
            let fixed = programs.fixed.as_ref().context("benches/fixed.rs was not built")?;
            quietly(callgrind(fixed, kept).args([name, &count.to_string()]))?;
            callgrind::read(kept)
        }),
        Work::Handshake => handshakes(&programs.httpjail, false, kept),
        Work::Mint => {
            let (known, new) = (
                handshakes(&programs.httpjail, false, kept)?,
                handshakes(&programs.httpjail, true, kept)?,
            );
            Ok(Figures {
                instructions: new.instructions - known.instructions,
                allocations: new.allocations - known.allocations,
            })
        }
        Work::Request(protocol) => space()?.run(|| {
            let origin = Origin::start()?;
            let port = match protocol {
                Protocol::Plain => origin.plain.port(),
                Protocol::Tls | Protocol::H2 => origin.tls.port(),
            };
            let serve = |client: &Client, count| client.request(protocol, port, count);
            difference([100, 600], |count| {
                served(&programs.httpjail, &origin, kept, |client| serve(client, count))
            })
        }),
    }
}

fn handshakes(httpjail: &Path, new: bool, kept: &Path) -> Result<Figures> {
    space()?.run(|| {
        let origin = Origin::start()?;
        let shake = |count| served(httpjail, &origin, kept, |client| client.shake_hands(new, count));
        difference([20, 120], shake)
    })
}

/// Counts a whole run of a proxy that serves what `load` asks for.
fn served(httpjail: &Path, origin: &Origin, kept: &Path, load: impl FnOnce(&Client) -> Result<()>) -> Result<Counts> {
    let home = tempfile::tempdir().context("make a directory")?;
    let trusted = home.path().join("origin.pem");
    fs::write(&trusted, &origin.certificate).context("write the origin's certificate")?;
    let mut proxy = Proxy::start(httpjail, home.path(), &trusted, kept)?;
    load(&proxy.client()?)?;
    proxy.end()?;
    callgrind::read(kept)
}

/// What one unit takes, if `run` takes so much for so many.
fn difference([few, many]: [u64; 2], mut run: impl FnMut(u64) -> Result<Counts>) -> Result<Figures> {
    let (less, more) = (run(few)?, run(many)?);
    let each = |less: u64, more: u64| (more as f64 - less as f64) / (many - few) as f64;
    Ok(Figures {
        instructions: each(less.instructions, more.instructions),
        allocations: each(less.allocations, more.allocations),
    })
}
