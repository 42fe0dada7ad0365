//! What engines read: the text by which each knows the runtime, made of what was there before, and unmade.
//!
//! Docker has one JSON file for everything, in which our runtimes stand beside others. containerd has one TOML file, to which a block
//! between two marks is added: a drop-in would replace all that the file says of the plugin. Podman reads a file of our own.

use serde_json::{Value, json};

use super::config::HOOK;
use super::refused::Refused;

/// The name of the runtime, alone for everything denied, and before `-NAME` for a policy.
const RUNTIME: &str = "httpjail";
const BEGIN: &str = "# httpjail: begin (httpjail runtime uninstall containerd)";
const END: &str = "# httpjail: end";
/// Stands before the block where the file had no line end at its end, so that it has none again when the block goes.
const JOINED: &str = "\n# httpjail: the line above had no end\n";
/// Where the container sees the authority, if nothing but a device tells of it.
pub(crate) const DEVICE_CA: &str = "/dev/httpjail-ca.crt";

/// Names the runtime of a policy.
fn named(policy: &str) -> String {
    format!("{RUNTIME}-{policy}")
}

/// Returns docker's `daemon.json` with the runtimes.
///
/// # Errors
/// When what is there is no JSON object.
pub(crate) fn docker(before: Option<&str>, program: &str, policies: &[String]) -> Result<String, Refused> {
    let mut whole = docker_object(before)?;
    let mut runtimes = whole
        .get("runtimes")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    runtimes.insert(RUNTIME.into(), json!({"path": program}));
    for policy in policies {
        let entry = json!({"path": program, "runtimeArgs": ["--httpjail-policy", policy]});
        runtimes.insert(named(policy), entry);
    }
    whole["runtimes"] = runtimes.into();
    pretty(&whole)
}

/// Returns docker's `daemon.json` without our runtimes; `None` if nothing is left.
///
/// # Errors
/// When what is there is no JSON object.
pub(crate) fn docker_without(now: &str) -> Result<Option<String>, Refused> {
    let mut whole = docker_object(Some(now))?;
    let is_ours = |entry: &Value| {
        let path = entry.get("path").and_then(Value::as_str).unwrap_or_default();
        path.rsplit('/')
            .next()
            .is_some_and(|name| name.starts_with("httpjail-runc"))
    };
    if let Some(object) = whole.as_object_mut() {
        if let Some(runtimes) = object.get_mut("runtimes").and_then(Value::as_object_mut) {
            runtimes.retain(|_, entry| !is_ours(entry));
            if runtimes.is_empty() {
                object.remove("runtimes");
            }
        }
        let is_default = |name: &str| name == RUNTIME || name.starts_with(&format!("{RUNTIME}-"));
        if object
            .get("default-runtime")
            .and_then(Value::as_str)
            .is_some_and(is_default)
        {
            object.remove("default-runtime");
        }
        if object.is_empty() {
            return Ok(None);
        }
    }
    pretty(&whole).map(Some)
}

fn docker_object(text: Option<&str>) -> Result<Value, Refused> {
    let text = text.map(str::trim).filter(|text| !text.is_empty()).unwrap_or("{}");
    let value: Value = serde_json::from_str(text).map_err(|error| Refused::new(error.to_string()))?;
    let fits = value.is_object() && value.get("runtimes").is_none_or(Value::is_object);
    match fits {
        true => Ok(value),
        false => Err(Refused::new("expected a JSON object whose `runtimes` is an object")),
    }
}

fn pretty(value: &Value) -> Result<String, Refused> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Refused::new(error.to_string()))?;
    Ok(format!("{text}\n"))
}

/// Returns podman's `containers.conf.d/httpjail.conf`.
pub(crate) fn podman(program: &str, policies: &[String]) -> String {
    let own = format!("{RUNTIME} = [\"{program}\"]\n");
    let others = policies
        .iter()
        .map(|policy| format!("{} = [\"{program}@{policy}\"]\n", toml_key(&named(policy))));
    format!("[engine.runtimes]\n{own}{}", others.collect::<String>())
}

/// Returns an entry of podman's and CRI-O's `hooks.d`: containers with the annotation `httpjail.hook=true` are held, and denied everything.
///
/// # Errors
/// None in practice.
pub(crate) fn hooks_d(program: &str) -> Result<String, Refused> {
    pretty(&json!({
        "version": "1.0.0",
        "hook": hook(program, None),
        "when": {"annotations": {"^httpjail\\.hook$": "^true$"}},
        "stages": ["createRuntime"],
    }))
}

/// Returns a CDI specification: a device for each policy, and `deny`.
///
/// # Errors
/// None in practice.
pub(crate) fn cdi(
    program: &str,
    policies: &[String],
    authority: &str,
    variables: &[(&'static str, String)],
) -> Result<String, Refused> {
    let device = |name: &str, policy: Option<&str>| {
        let mut hook = hook(program, policy);
        hook["hookName"] = json!("createRuntime");
        json!({"name": name, "containerEdits": {"hooks": [hook]}})
    };
    let devices = [device("deny", None)].into_iter();
    let devices: Vec<Value> = devices
        .chain(policies.iter().map(|policy| device(policy, Some(policy))))
        .collect();
    let env: Vec<String> = variables
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pretty(&json!({
        "cdiVersion": "0.5.0",
        "kind": "httpjail.local/policy",
        "devices": devices,
        "containerEdits": {
            "env": env,
            "mounts": [{"hostPath": authority, "containerPath": DEVICE_CA, "options": ["bind", "ro", "nosuid", "nodev", "noexec"]}],
        },
    }))
}

fn hook(program: &str, policy: Option<&str>) -> Value {
    let mut words = vec!["httpjail".to_owned()];
    words.extend(HOOK.map(str::to_owned));
    words.extend(policy.map(|policy| format!("--policy={policy}")));
    json!({"path": program, "args": words, "timeout": 60})
}

/// Returns containerd's `config.toml` with the block of the runtime.
///
/// # Errors
/// When the file has another version than 2 or 3.
pub(crate) fn containerd(before: Option<&str>, program: &str) -> Result<String, Refused> {
    let before = before.map(containerd_without).unwrap_or_default();
    let version = before.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "version").then(|| value.trim().to_owned())
    });
    let is_new = before.trim().is_empty();
    let plugin = match version.as_deref() {
        None if is_new => "plugins.\"io.containerd.grpc.v1.cri\"",
        Some("2") => "plugins.\"io.containerd.grpc.v1.cri\"",
        Some("3") => "plugins.'io.containerd.cri.v1.runtime'",
        _ => {
            return Err(Refused::new("expected `version = 2` or `version = 3`")
                .hint("write a newer file first: containerd config migrate"));
        }
    };
    let runtimes = format!("{plugin}.containerd.runtimes");
    let table = format!("{runtimes}.{RUNTIME}");
    // Where a file names a runtime, containerd has no longer that which it has by default and starts everything else with.
    let plain = if before.contains(".containerd.runtimes") {
        String::new()
    } else {
        format!("[{runtimes}.runc]\n  runtime_type = \"io.containerd.runc.v2\"\n")
    };
    let line = if is_new || before.ends_with('\n') { "" } else { JOINED };
    let version = if is_new { "version = 2\n" } else { "" };
    Ok(format!(
        "{before}{line}{BEGIN}\n{version}{plain}[{table}]\n  runtime_type = \"io.containerd.runc.v2\"\n  pod_annotations = [\"httpjail.*\"]\n\
         [{table}.options]\n  BinaryName = \"{program}-cri\"\n{END}\n"
    ))
}

/// Returns containerd's `config.toml` without the block.
pub(crate) fn containerd_without(now: &str) -> String {
    let Some((before, rest)) = now.split_once(BEGIN) else {
        return now.to_owned();
    };
    let before = before.strip_suffix(JOINED).unwrap_or(before);
    let after = rest
        .split_once(END)
        .map(|(_, after)| after.strip_prefix('\n').unwrap_or(after));
    format!("{before}{}", after.unwrap_or_default())
}

/// A key of TOML is bare if it has letters, digits, `-` and `_` alone; a policy may have a dot.
fn toml_key(name: &str) -> String {
    format!("\"{name}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &str = "/usr/local/bin/httpjail-runc";

    fn policies() -> Vec<String> {
        vec!["web".to_owned()]
    }

    #[test]
    fn dockers_file_keeps_what_it_has() {
        let before = r#"{"runtimes": {"nvidia": {"path": "nvidia-runtime"}}, "log-driver": "journald"}"#;
        let with = docker(Some(before), PROGRAM, &policies()).expect("merged");
        let value: Value = serde_json::from_str(&with).expect("JSON");
        assert_eq!(value["log-driver"], "journald");
        assert_eq!(value["runtimes"]["nvidia"], json!({"path": "nvidia-runtime"}));
        assert_eq!(value["runtimes"]["httpjail"], json!({"path": PROGRAM}));
        assert_eq!(
            value["runtimes"]["httpjail-web"]["runtimeArgs"],
            json!(["--httpjail-policy", "web"])
        );
        assert_eq!(docker(Some(&with), PROGRAM, &policies()).expect("again"), with);
        let without = docker_without(&with).expect("unmade").expect("something is left");
        let left: Value = serde_json::from_str(&without).expect("JSON");
        assert_eq!(left, serde_json::from_str::<Value>(before).expect("JSON"));
        let alone = docker(None, PROGRAM, &policies()).expect("new");
        assert_eq!(docker_without(&alone), Ok(None));
        for wrong in ["[]", "{", r#"{"runtimes": []}"#] {
            assert!(docker(Some(wrong), PROGRAM, &[]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn containerds_file_is_as_before_when_the_block_goes() {
        for before in [
            "version = 2\n[plugins]\n  [plugins.x]\n    a = 1\n",
            "version = 3\n",
            "version = 2",
        ] {
            let with = containerd(Some(before), PROGRAM).expect("added");
            assert!(with.starts_with(before) && with.contains("httpjail-runc-cri"), "{with}");
            assert_eq!(containerd(Some(&with), PROGRAM).expect("again"), with);
            assert_eq!(containerd_without(&with), before);
        }
        let named = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n";
        for before in ["version = 2\n", named, "version = 3\n"] {
            let with = containerd(Some(before), PROGRAM).expect("added");
            assert_eq!(with.matches(".runtimes.runc]").count(), 1, "{with}");
        }
        let new = containerd(None, PROGRAM).expect("new");
        assert!(
            new.contains("version = 2\n") && containerd_without(&new).is_empty(),
            "{new}"
        );
        assert!(containerd(Some("[plugins]\n"), PROGRAM).is_err());
    }

    #[test]
    fn the_others_name_the_program_and_the_hook() {
        let text = podman(PROGRAM, &policies());
        assert_eq!(
            text,
            "[engine.runtimes]\nhttpjail = [\"/usr/local/bin/httpjail-runc\"]\n\"httpjail-web\" = [\"/usr/local/bin/httpjail-runc@web\"]\n"
        );
        let variables = [("SSL_CERT_FILE", DEVICE_CA.to_owned())];
        let spec: Value = serde_json::from_str(
            &cdi("/bin/httpjail", &policies(), "/etc/httpjail/ca.crt", &variables).expect("a spec"),
        )
        .expect("JSON");
        assert_eq!(spec["devices"][1]["name"], "web");
        let hook = &spec["devices"][1]["containerEdits"]["hooks"][0];
        assert_eq!(hook["args"], json!(["httpjail", "runtime", "hook", "--policy=web"]));
        let entry: Value = serde_json::from_str(&hooks_d("/bin/httpjail").expect("an entry")).expect("JSON");
        assert_eq!(entry["hook"]["args"], json!(["httpjail", "runtime", "hook"]));
    }
}
