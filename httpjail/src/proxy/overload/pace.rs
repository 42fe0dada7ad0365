//! Stretches short time limits on a busy machine.
//!
//! What takes a program one second on an idle machine takes as many seconds as there are programs that want the same
//! processor. A limit of a few seconds would cut off clients that only wait for their turn. So such time is counted
//! slower where the machine is busy, up to [`SLOWEST`] times.

use crate::sync::lock;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A limit is stretched so many times at most.
const SLOWEST: f64 = 8.0;

/// The machine is looked at again after this long.
const FRESH: Duration = Duration::from_millis(250);

/// The number of pieces in which a wait is counted.
const PIECES: u32 = 10;

/// A time limit that is stretched on a busy machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paced {
    left: Duration,
    piece: Duration,
}

impl Paced {
    /// Returns a limit that lasts for `limit` on an idle machine.
    pub(crate) fn new(limit: Duration) -> Paced {
        let piece = (limit / PIECES).max(Duration::from_millis(1));
        Paced { left: limit, piece }
    }

    /// Waits for a piece of it, and returns whether that was the last.
    pub(crate) async fn step(&mut self) -> bool {
        tokio::time::sleep(self.piece).await;
        self.left = self.left.saturating_sub(self.piece.div_f64(slowness()));
        self.left.is_zero()
    }

    /// Waits for all of it.
    pub(crate) async fn pass(mut self) {
        while !self.step().await {}
    }
}

/// How many programs want each processor: 1 on an idle machine.
fn slowness() -> f64 {
    static LATEST: Mutex<Option<(Instant, f64)>> = Mutex::new(None);
    let mut latest = lock(&LATEST);
    match *latest {
        Some((seen, slowness)) if seen.elapsed() < FRESH => slowness,
        _ => {
            let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let load = std::fs::read_to_string("/proc/loadavg").ok();
            let slowness = load.and_then(|load| demand(&load)).unwrap_or(1.0) / processors as f64;
            let slowness = slowness.clamp(1.0, SLOWEST);
            *latest = Some((Instant::now(), slowness));
            slowness
        }
    }
}

/// How many programs run or want to, by proc_loadavg(5): those of this moment, or the last minute's mean where that is
/// more, for it knows of those that wait for a disk.
fn demand(loadavg: &str) -> Option<f64> {
    let mut words = loadavg.split_ascii_whitespace();
    let minute: f64 = words.next()?.parse().ok()?;
    let running: f64 = words.nth(2)?.split_once('/')?.0.parse().ok()?;
    Some(minute.max(running)).filter(|demand| demand.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_its_load() {
        assert_eq!(demand("0.20 0.18 0.12 1/80 11206\n"), Some(1.0));
        assert_eq!(demand("0.20 0.18 0.12 84/512 11206\n"), Some(84.0));
        assert_eq!(demand("28.31 9.18 0.12 3/512 11206\n"), Some(28.31));
        for strange in ["", "x", "1.0", "1.0 1.0 1.0 many", "nan 1 1 1/1", "inf 1 1 1/1"] {
            assert_eq!(demand(strange).filter(|demand| *demand > 1.0), None, "{strange}");
        }
        let now = slowness();
        assert!((1.0..=SLOWEST).contains(&now), "{now}");
    }
}
