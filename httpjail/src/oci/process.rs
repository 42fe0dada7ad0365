//! The environment of a process: what makes its clients trust the authority, and no proxy of anybody else's.

use serde_json::{Value, json};

/// Sets `variables` in a process's description, and removes those that are named in `dropped`.
pub(crate) fn set_environment(process: &mut Value, variables: &[(String, String)], dropped: &[&str]) {
    let own = process
        .get("env")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let stays = |entry: &Value| {
        let name = entry
            .as_str()
            .and_then(|entry| entry.split('=').next())
            .unwrap_or_default();
        !dropped.contains(&name) && variables.iter().all(|(set, _)| set != name)
    };
    let mut env: Vec<Value> = own.into_iter().filter(stays).collect();
    env.extend(variables.iter().map(|(name, value)| json!(format!("{name}={value}"))));
    process["env"] = env.into();
}

/// Returns the value of a variable.
pub(crate) fn variable(process: &Value, name: &str) -> Option<String> {
    let entries = process.get("env").and_then(Value::as_array)?.iter();
    let mut values = entries.filter_map(|entry| entry.as_str()?.strip_prefix(name)?.strip_prefix('='));
    values.next_back().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_replace_the_images_and_foreign_proxies_go() {
        let mut process = json!({"env": ["PATH=/bin", "SSL_CERT_FILE=/theirs", "https_proxy=http://x", "A=b=c"]});
        assert_eq!(variable(&process, "SSL_CERT_FILE").as_deref(), Some("/theirs"));
        assert_eq!(variable(&process, "A").as_deref(), Some("b=c"));
        set_environment(
            &mut process,
            &[("SSL_CERT_FILE".into(), "/ours".into())],
            &["https_proxy"],
        );
        assert_eq!(process["env"], json!(["PATH=/bin", "A=b=c", "SSL_CERT_FILE=/ours"]));
        let mut without = json!({});
        set_environment(&mut without, &[("A".into(), "b".into())], &[]);
        assert_eq!(without["env"], json!(["A=b"]));
    }
}
