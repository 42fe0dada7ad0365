//! The namespaces that a container must have of its own, so that nothing outside of it can be used in its place.

use serde_json::Value;

use super::refused::Refused;

/// What must be known of the host.
pub(crate) trait Host {
    /// Whether the file is the network namespace of the host, or of who called.
    ///
    /// # Errors
    /// When it cannot be read.
    fn is_hosts_network(&self, path: &str) -> Result<bool, String>;
    /// Whether the file is the PID namespace of a container that is held under the same policy.
    fn is_held(&self, path: &str) -> bool;
}

/// Whether others are in the container's PID namespace.
///
/// # Errors
/// When a namespace is the host's, or that of a container that is not held.
pub(crate) fn check(config: &Value, host: &dyn Host) -> Result<bool, Refused> {
    let listed = config.pointer("/linux/namespaces").and_then(Value::as_array);
    let find = |kind: &str| {
        let mut listed = listed.into_iter().flatten();
        let found = listed.find(|entry| entry.get("type").and_then(Value::as_str) == Some(kind));
        found.map(|entry| {
            entry
                .get("path")
                .and_then(Value::as_str)
                .filter(|path| !path.is_empty())
        })
    };
    let host_network = || {
        Refused::new(
            "the host's network cannot be held: the container would reach abstract Unix sockets and ports of the host's programs",
        )
        .hint("use the network `bridge`, `none` or `container:NAME`")
    };
    match find("network") {
        None => return Err(host_network()),
        Some(None) => {}
        Some(Some(path)) => {
            let hosts = host
                .is_hosts_network(path)
                .map_err(|error| Refused::new(format!("cannot tell whose network namespace {path} is: {error}")))?;
            if hosts {
                return Err(host_network());
            }
        }
    }
    if find("mount").is_none() {
        return Err(Refused::new(
            "the host's mounts cannot be held: the container would change the host's files",
        ));
    }
    match find("pid") {
        None => Err(Refused::new(
            "the host's processes cannot be held: one of the same user would send in the container's place",
        )
        .hint("leave `--pid host` away")),
        Some(None) => Ok(false),
        Some(Some(path)) if host.is_held(path) => Ok(true),
        Some(Some(path)) => Err(Refused::new(format!(
            "the PID namespace {path} is not that of a container that httpjail holds under the same policy: its processes would send \
             in the container's place"
        ))
        .hint("start the other container with the same runtime, or leave `--pid` away")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Tale;

    impl Host for Tale {
        fn is_hosts_network(&self, path: &str) -> Result<bool, String> {
            match path {
                "/gone" => Err("no such file".into()),
                path => Ok(path == "/host"),
            }
        }

        fn is_held(&self, path: &str) -> bool {
            path == "/held"
        }
    }

    fn config(namespaces: Value) -> Value {
        json!({"linux": {"namespaces": namespaces}})
    }

    #[test]
    fn own_and_held_namespaces_pass() {
        let own = config(json!([{"type": "network"}, {"type": "mount"}, {"type": "pid"}]));
        assert_eq!(check(&own, &Tale), Ok(false));
        let joined =
            config(json!([{"type": "network", "path": "/other"}, {"type": "mount"}, {"type": "pid", "path": "/held"}]));
        assert_eq!(check(&joined, &Tale), Ok(true));
    }

    #[test]
    fn the_hosts_do_not() {
        for (namespaces, said) in [
            (json!([{"type": "mount"}, {"type": "pid"}]), "host's network"),
            (
                json!([{"type": "network", "path": "/host"}, {"type": "mount"}, {"type": "pid"}]),
                "host's network",
            ),
            (
                json!([{"type": "network", "path": "/gone"}, {"type": "mount"}, {"type": "pid"}]),
                "cannot tell",
            ),
            (json!([{"type": "network"}, {"type": "mount"}]), "host's processes"),
            (json!([{"type": "network"}, {"type": "pid"}]), "host's mounts"),
            (
                json!([{"type": "network"}, {"type": "mount"}, {"type": "pid", "path": "/x"}]),
                "not that of a container",
            ),
        ] {
            let refused = check(&config(namespaces.clone()), &Tale).expect_err("refused");
            assert!(refused.message.contains(said), "{namespaces}: {refused}");
        }
        assert!(check(&json!({}), &Tale).is_err(), "none at all");
    }
}
