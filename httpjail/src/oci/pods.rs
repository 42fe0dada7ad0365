//! Pods: what an engine that speaks CRI says of a container's place in one, and which cgroups are those of a pod.
//!
//! The containers of a pod share a network, so they are held together: at the cgroup of the pod, from its sandbox on.

use serde_json::Value;

/// What containerd says of a container (`pkg/cri/annotations`), whatever the pod says.
const KIND: &str = "io.kubernetes.cri.container-type";
const SANDBOX: &str = "io.kubernetes.cri.sandbox-id";
/// How many hexadecimal digits a pod's UID has, in Kubernetes.
const UID_DIGITS: usize = 32;

/// What a container is in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// The first, which has the pod's namespaces.
    Sandbox,
    /// One that joins the sandbox of this id.
    Member(String),
}

/// Returns what the container is; `None` if it is in no pod, or annotations are not believed.
pub(crate) fn part(config: &Value, believed: bool) -> Option<Part> {
    let annotations = config.get("annotations").filter(|_| believed)?;
    let sandbox = annotations.get(SANDBOX)?.as_str()?;
    match annotations.get(KIND)?.as_str()? {
        "sandbox" => Some(Part::Sandbox),
        "container" => Some(Part::Member(sandbox.to_owned())),
        _ => None,
    }
}

/// Whether a cgroup of this name is that of one pod, as the kubelet makes it: `podUID`, and with systemd's driver
/// `kubepods-burstable-podUID.slice`, where the UID has `_` in the place of `-`. All other cgroups may hold others, too.
pub(crate) fn is_pods(cgroup: &str) -> bool {
    let last = match cgroup.strip_suffix(".slice") {
        Some(unit) => unit.rsplit('-').next().unwrap_or_default(),
        None => cgroup,
    };
    let Some(uid) = last.strip_prefix("pod") else {
        return false;
    };
    let is_hex = |c: char| c.is_ascii_hexdigit() && !c.is_ascii_uppercase();
    let digits = uid.chars().filter(|c| is_hex(*c)).count();
    digits == UID_DIGITS && uid.chars().all(|c| is_hex(c) || ['-', '_'].contains(&c))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_engine_tells_who_is_in_a_pod() {
        let of = |kind: &str| json!({"annotations": {KIND: kind, SANDBOX: "s1"}});
        assert_eq!(part(&of("sandbox"), true), Some(Part::Sandbox));
        assert_eq!(part(&of("container"), true), Some(Part::Member("s1".to_owned())));
        assert_eq!(part(&of("sandbox"), false), None, "an image could have said so");
        assert_eq!(part(&of("other"), true), None);
        assert_eq!(part(&json!({"annotations": {KIND: "container"}}), true), None);
        assert_eq!(part(&json!({}), true), None);
    }

    #[test]
    fn a_pods_cgroup_has_its_uid() {
        for name in [
            "pod01234567-89ab-cdef-0123-456789abcdef",
            "pod0123456789abcdef0123456789abcdef",
            "kubepods-besteffort-pod01234567_89ab_cdef_0123_456789abcdef.slice",
            "kubepods-pod0123456789abcdef0123456789abcdef.slice",
        ] {
            assert!(is_pods(name), "{name}");
        }
        for name in [
            "kubepods",
            "kubepods.slice",
            "kubepods-burstable.slice",
            "k8s.io",
            "pod",
            "pods",
            "podman",
            "pod0123",
            "podABCDEF01-89ab-cdef-0123-456789abcdef",
            "pod01234567-89ab-cdef-0123-456789abcdef.scope",
            "kubepods-pod01234567-89ab-cdef-0123-456789abcdef.slice",
            "cri-0123456789abcdef0123456789abcdef.slice",
        ] {
            assert!(!is_pods(name), "{name}");
        }
    }
}
