//! Makes the proxy's bounds of the defaults and of what the policy file sets.

use std::time::Duration;

#[cfg(unix)]
use nix::sys::resource::{Resource, getrlimit};

use crate::config::file;
use crate::proxy::Limits;

/// Returns the defaults, overridden by the file's limits, and lowered to what RLIMIT_NOFILE permits.
pub(crate) fn effective(file: &file::Limits) -> Limits {
    let limits = merge(file);
    #[cfg(unix)]
    if let Ok((descriptors, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        return limits.within(descriptors);
    }
    limits
}

fn merge(file: &file::Limits) -> Limits {
    let mut limits = Limits::default();
    for (bound, set) in [
        (&mut limits.connections, file.connections),
        (&mut limits.requests, file.requests),
        (&mut limits.upstreams, file.upstreams),
        (&mut limits.memory, file.memory_bytes),
        (&mut limits.fields, file.header_fields),
        (&mut limits.head, file.header_bytes),
        (&mut limits.idle_per_host, file.idle_per_host),
        (&mut limits.idle_hosts, file.idle_hosts),
    ] {
        *bound = set.and_then(|set| usize::try_from(set).ok()).unwrap_or(*bound);
    }
    let times: [(&mut Duration, Option<Duration>); 11] = [
        (&mut limits.silence, file.silence_timeout),
        (&mut limits.arrival, file.arrival_timeout),
        (&mut limits.header, file.header_timeout),
        (&mut limits.handshake, file.handshake_timeout),
        (&mut limits.stall, file.stall_timeout),
        (&mut limits.resolve, file.resolve_timeout),
        (&mut limits.connect, file.connect_timeout),
        (&mut limits.tls, file.tls_timeout),
        (&mut limits.response, file.response_timeout),
        (&mut limits.idle, file.idle_timeout),
        (&mut limits.grace, file.grace),
    ];
    for (bound, set) in times {
        *bound = set.unwrap_or(*bound);
    }
    limits.streams = file.streams.unwrap_or(limits.streams);
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_the_file() {
        assert_eq!(merge(&file::Limits::default()), Limits::default());
        let file = file::parse(
            "r.yaml",
            "limits: {connections: 5, streams: 6, header-bytes: 9000, tls-timeout: 0.5}\n",
        );
        let expected = Limits {
            connections: 5,
            streams: 6,
            head: 9000,
            tls: Duration::from_millis(500),
            ..Limits::default()
        };
        assert_eq!(merge(&file.expect("a file").limits), expected);
    }
}
