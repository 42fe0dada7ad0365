//! A network of its own, which nothing leaves.

use anyhow::Result;
use httpjail_lab::Space;

use crate::run::{command, quietly};

/// Makes one, with a loopback interface alone.
pub(super) fn space() -> Result<Space> {
    let space = Space::network()?;
    space.run(|| quietly(&mut command("ip", ["link", "set", "lo", "up"])).map(drop))?;
    Ok(space)
}
