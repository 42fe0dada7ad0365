//! The devices by which a container could leave: disks, memory, and what speaks to other machines.

use serde_json::{Value, json};

use super::refused::Refused;

/// Character devices that no container has: number, name.
const FORBIDDEN: &[(i64, i64, &str)] = &[
    (1, 1, "/dev/mem"),
    (1, 2, "/dev/kmem"),
    (1, 4, "/dev/port"),
    (10, 200, "/dev/net/tun"),
    (10, 223, "/dev/uinput"),
    (10, 238, "/dev/vhost-net"),
    (10, 241, "/dev/vhost-vsock"),
];

/// Looks at the devices that are made, and at those that may be opened.
///
/// # Errors
/// The first by which it could leave.
pub(crate) fn check(config: &Value) -> Result<(), Refused> {
    let list = |pointer: &str| config.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    for rule in list("/linux/resources/devices") {
        let access = rule.get("access").and_then(Value::as_str).unwrap_or("rwm");
        let opens = access.contains(['r', 'w']);
        if rule.get("allow").and_then(Value::as_bool) == Some(true) && opens {
            forbidden(rule, "a device")?;
        }
    }
    for device in list("/linux/devices") {
        let path = device.get("path").and_then(Value::as_str).unwrap_or("?");
        forbidden(device, path)?;
    }
    Ok(())
}

/// Denies what no rule allows: without such a rule some runtimes leave a container the devices of its parent.
pub(crate) fn deny_others(config: &mut Value) {
    let Some(linux) = config.get_mut("linux").and_then(Value::as_object_mut) else {
        return;
    };
    let resources = linux.entry("resources").or_insert_with(|| json!({}));
    let rules = resources
        .get("devices")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let denies_all = |rule: &Value| {
        rule.get("allow").and_then(Value::as_bool) == Some(false)
            && ["type", "major", "minor"].iter().all(|key| {
                rule.get(*key)
                    .is_none_or(|value| value.is_null() || *value == json!("a"))
            })
    };
    if resources.is_object() && !rules.iter().any(denies_all) {
        let mut whole = vec![json!({"allow": false, "access": "rwm"})];
        whole.extend(rules);
        resources["devices"] = whole.into();
    }
}

fn forbidden(device: &Value, path: &str) -> Result<(), Refused> {
    let kind = device.get("type").and_then(Value::as_str).unwrap_or("a");
    // -1 is any number, too (the OCI runtime specification, "Allowed Device list").
    let number = |name: &str| device.get(name).and_then(Value::as_i64).filter(|number| *number >= 0);
    let (major, minor) = (number("major"), number("minor"));
    match (kind, major) {
        ("p", _) => Ok(()),
        ("c" | "u", Some(major)) => {
            let fits = |(a, b, _): &&(i64, i64, &str)| *a == major && minor.is_none_or(|minor| minor == *b);
            match FORBIDDEN.iter().find(fits) {
                Some((_, _, name)) => Err(Refused::new(format!(
                    "{name} cannot be given to a container: by it, it gets around what holds it"
                ))),
                None => Ok(()),
            }
        }
        ("b", _) => Err(Refused::new(format!(
            "{path} is a disk, or all of them: who writes to a disk of the host changes the host"
        ))
        .hint("mount the directory that is needed instead")),
        _ => Err(Refused::new(
            "a container that may open every device cannot be held: it could write to the host's disks",
        )
        .hint("leave `--privileged` away, and name the devices that are needed with `--device`")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_engines_allow_by_default_passes() {
        let config = json!({"linux": {
            "devices": [{"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229}],
            "resources": {"devices": [
                {"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "access": "m"},
                {"allow": true, "type": "b", "access": "m"},
                {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
                {"allow": true, "type": "c", "major": 136, "access": "rwm"},
            ]},
        }});
        assert_eq!(check(&config), Ok(()));
    }

    #[test]
    fn what_no_rule_allows_is_denied() {
        let device = json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"});
        let denied = json!({"allow": false, "access": "rwm"});
        for (rules, expected) in [
            (json!({}), json!({"devices": [denied]})),
            (json!({"devices": [device]}), json!({"devices": [denied, device]})),
            (
                json!({"devices": [denied, device]}),
                json!({"devices": [denied, device]}),
            ),
        ] {
            let mut config = json!({"linux": {"resources": rules}});
            deny_others(&mut config);
            assert_eq!(config["linux"]["resources"], expected);
        }
    }

    #[test]
    fn what_leads_out_does_not() {
        for rule in [
            json!({"allow": true, "access": "rwm"}),
            json!({"allow": true, "type": "a", "access": "rwm"}),
            json!({"allow": true, "type": "c", "access": "rwm"}),
            json!({"allow": true, "type": "c", "major": -1, "access": "rw"}),
            json!({"allow": true, "type": "c", "major": 1, "access": "r"}),
            json!({"allow": true, "type": "b", "major": 8, "minor": 0, "access": "r"}),
            json!({"allow": true, "type": "c", "major": 10, "minor": 238}),
        ] {
            let config = json!({"linux": {"resources": {"devices": [rule]}}});
            assert!(check(&config).is_err(), "{config}");
        }
        let disk = json!({"linux": {"devices": [{"type": "b", "path": "/dev/sda", "major": 8, "minor": 0}]}});
        assert!(check(&disk).expect_err("a disk").message.contains("/dev/sda"));
    }
}
