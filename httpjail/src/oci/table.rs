//! Root's table, `runtime.yaml`: which runtime is called, and who may name which policy.
//!
//! A policy is named by root (an option where the runtime is named), or by an annotation of a pod. Podman before version 5 copies the
//! annotations of an image to its containers, so annotations are believed only where the engine is one that speaks CRI. That one tells
//! the pod's namespace itself, whatever the pod says.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::refused::Refused;

/// What a pod names its policy by.
pub(crate) const ANNOTATION: &str = "httpjail.policy";
/// What containerd says of a pod (`pkg/cri/annotations`).
const NAMESPACE: &str = "io.kubernetes.cri.sandbox-namespace";
/// No name is longer.
const NAME_BYTES: usize = 64;

/// The table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Table {
    /// The version of the format: 1.
    version: Option<u32>,
    /// The runtime to call: runc or crun.
    pub runtime: Option<PathBuf>,
    /// The policy of a container for which none is named, or none that it may name.
    default: Option<String>,
    /// Which pods may name which policies.
    pods: Vec<Pods>,
}

/// The pods of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pods {
    /// The namespace; `*` is any.
    namespace: String,
    /// What they may name.
    policies: Vec<String>,
}

/// The policy of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Its name; `None` denies everything.
    pub policy: Option<String>,
    /// What was asked for and not given.
    pub told: Option<String>,
}

impl Table {
    /// Reads the text of a table.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &[u8]) -> Result<Table, String> {
        let table: Table = serde_yaml::from_slice(text).map_err(|error| error.to_string())?;
        if table.version != Some(1) {
            return Err("expected `version: 1`".to_owned());
        }
        let listed = table.pods.iter().flat_map(|pods| &pods.policies);
        for name in listed.chain(&table.default) {
            check_name(name).map_err(|refused| refused.message)?;
        }
        Ok(table)
    }

    /// Chooses the policy. `own`: what root said where the runtime is named. `believed`: whether no image can set annotations.
    ///
    /// # Errors
    /// When root named what cannot be a policy.
    pub(crate) fn choose(&self, own: Option<&str>, config: &Value, believed: bool) -> Result<Choice, Refused> {
        if let Some(own) = own {
            check_name(own)?;
            return Ok(Choice {
                policy: Some(own.to_owned()),
                told: None,
            });
        }
        let annotation = |name: &str| {
            let annotations = config.get("annotations")?.as_object()?;
            annotations.get(name)?.as_str()
        };
        let fallback = |told: Option<String>| Choice {
            policy: self.default.clone(),
            told,
        };
        let Some(named) = annotation(ANNOTATION) else {
            return Ok(fallback(None));
        };
        if !believed {
            return Ok(fallback(Some(format!(
                "the annotation {ANNOTATION}={named} is ignored: with this engine an image could have set it"
            ))));
        }
        let namespace = annotation(NAMESPACE).unwrap_or_default();
        let fits = |pods: &&Pods| !namespace.is_empty() && (pods.namespace == "*" || pods.namespace == namespace);
        let mut permitted = self.pods.iter().filter(fits).flat_map(|pods| &pods.policies);
        if permitted.any(|name| name == named) {
            return Ok(Choice {
                policy: Some(named.to_owned()),
                told: None,
            });
        }
        Ok(fallback(Some(format!(
            "pods of the namespace `{namespace}` may not name the policy `{named}`"
        ))))
    }
}

/// A name is never a path.
///
/// # Errors
/// When it could be one.
pub(crate) fn check_name(name: &str) -> Result<(), Refused> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    if !name.is_empty() && name.len() <= NAME_BYTES && !name.starts_with('.') && name.chars().all(is_plain) {
        return Ok(());
    }
    Err(Refused::new(format!(
        "invalid name of a policy `{}`: expected letters, digits, `-`, `_` and `.`",
        name.escape_debug()
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &[u8] = b"version: 1\nruntime: /usr/bin/crun\ndefault: strict\npods:\n- {namespace: agents, policies: [web, git]}\n- {namespace: '*', policies: [git]}\n";

    fn pod(namespace: &str, policy: &str) -> Value {
        json!({"annotations": {ANNOTATION: policy, NAMESPACE: namespace}})
    }

    fn named(policy: Option<&str>) -> Option<String> {
        policy.map(str::to_owned)
    }

    #[test]
    fn root_chooses_and_pods_choose_what_they_may() {
        let table = Table::parse(TEXT).expect("a table");
        let choose = |own, config: &Value, believed| table.choose(own, config, believed).expect("chosen");
        assert_eq!(choose(Some("web"), &pod("x", "git"), true).policy, named(Some("web")));
        assert_eq!(choose(None, &pod("agents", "web"), true).policy, named(Some("web")));
        assert_eq!(choose(None, &pod("other", "git"), true).policy, named(Some("git")));
        // Not permitted, not known, not believed, none named, no namespace.
        for (config, believed, told) in [
            (pod("other", "web"), true, true),
            (pod("agents", "../web"), true, true),
            (pod("agents", "web"), false, true),
            (json!({}), true, false),
            (pod("", "git"), true, true),
            (json!({"annotations": {ANNOTATION: "git"}}), true, true),
        ] {
            let choice = choose(None, &config, believed);
            assert_eq!(
                (choice.policy, choice.told.is_some()),
                (named(Some("strict")), told),
                "{config}"
            );
        }
        let nothing = Table::default().choose(None, &json!({}), true).expect("chosen");
        assert_eq!(nothing.policy, None, "everything is denied");
    }

    #[test]
    fn nothing_else_in_the_bundle_chooses() {
        let table = Table::parse(TEXT).expect("a table");
        let config = json!({
            "process": {"env": ["HTTPJAIL_POLICY=web", "httpjail.policy=web"]},
            "annotations": {"org.opencontainers.image.title": "httpjail.policy=web", "httpjail": "web"},
            "labels": {ANNOTATION: "web"},
        });
        assert_eq!(
            table.choose(None, &config, true).expect("chosen").policy,
            named(Some("strict"))
        );
    }

    #[test]
    fn a_name_is_no_path_and_a_table_has_its_version() {
        for name in ["", ".", "..", "a/b", "../a", ".hidden", "a b", "a\0", &"a".repeat(65)] {
            assert!(check_name(name).is_err(), "{name:?}");
            assert!(
                Table::default().choose(Some(name), &json!({}), true).is_err(),
                "{name:?}"
            );
        }
        assert!(check_name("agents-2.web_x").is_ok());
        for text in [
            "default: a\n",
            "version: 2\n",
            "version: 1\npolicy: a\n",
            "version: 1\ndefault: ../a\n",
            "- a\n",
        ] {
            assert!(Table::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
