//! The manifests of deploy/kubernetes hold together: each names what is there, the policies are some, httpjail takes the arguments, and
//! what the DaemonSet puts on a node is only ever whole. (Against the published schemas they are checked by hand: docs/kubernetes.md.)

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize as _;
use serde_json::Value;

use crate::examples;
use crate::support::binary;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes")
}

/// The documents of a file.
fn documents(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let documents = serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap());
    documents.collect()
}

/// The files of a kustomization, which lists each file that is there.
fn resources(name: &str) -> Vec<Value> {
    let folder = root().join(name);
    let kustomization = &documents(&folder.join("kustomization.yaml"))[0];
    let listed = |value: &Value| -> Vec<String> {
        let items = value.as_array().cloned().unwrap_or_default();
        items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let resources = listed(&kustomization["resources"]);
    let mut named: BTreeSet<String> = resources.iter().cloned().collect();
    for generator in kustomization["configMapGenerator"].as_array().into_iter().flatten() {
        named.extend(listed(&generator["files"]));
    }
    for patch in kustomization["patches"].as_array().into_iter().flatten() {
        named.extend(patch["path"].as_str().map(str::to_owned));
    }
    for name in &named {
        assert!(folder.join(name).exists(), "{name}");
    }
    let there = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for name in there.filter(|name| name.ends_with(".yaml") && name != "kustomization.yaml") {
        assert!(named.contains(&name), "{folder:?} does not list {name}");
    }
    let own = resources.iter().filter(|name| name.ends_with(".yaml"));
    own.flat_map(|name| documents(&folder.join(name))).collect()
}

/// The only object of a kind.
#[track_caller]
fn one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<&Value> = objects.iter().filter(|object| object["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

fn texts(value: &Value) -> BTreeSet<String> {
    let items = value.as_array().into_iter().flatten();
    items.map(|item| item.as_str().unwrap().to_owned()).collect()
}

/// Which policies root's table lets a namespace name.
fn permitted(folder: &str, namespace: &str) -> BTreeSet<String> {
    let table = &documents(&root().join(folder).join("runtime.yaml"))[0];
    assert_eq!(table["version"], 1);
    let rows = table["pods"].as_array().unwrap().iter();
    let of_namespace = rows.filter(|row| row["namespace"] == namespace);
    of_namespace.flat_map(|row| texts(&row["policies"])).collect()
}

#[test]
fn the_policies_keep_their_promises() {
    let folder = root().join("base/policies");
    let found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    found.iter().for_each(|policy| examples::check(policy));
}

#[test]
fn each_name_is_there() {
    let base = resources("base");
    let named = |kind: &str| -> BTreeSet<&str> {
        let of_kind = base.iter().filter(|object| object["kind"] == kind);
        of_kind
            .map(|object| object["metadata"]["name"].as_str().unwrap())
            .collect()
    };
    let pod = &one(&base, "DaemonSet")["spec"]["template"]["spec"];
    assert!(named("ServiceAccount").contains(pod["serviceAccountName"].as_str().unwrap()));
    let volumes: BTreeMap<&str, &Value> = pod["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|volume| (volume["name"].as_str().unwrap(), volume))
        .collect();
    let kustomization = &documents(&root().join("base/kustomization.yaml"))[0];
    let generated: BTreeSet<&str> = kustomization["configMapGenerator"]
        .as_array()
        .unwrap()
        .iter()
        .map(|map| map["name"].as_str().unwrap())
        .collect();
    for map in volumes
        .values()
        .filter_map(|volume| volume["configMap"]["name"].as_str())
    {
        assert!(generated.contains(map), "{map}");
    }
    let containers = ["initContainers", "containers"]
        .map(|key| pod[key].as_array().unwrap().clone())
        .concat();
    for mount in containers
        .iter()
        .flat_map(|container| container["volumeMounts"].as_array().unwrap())
    {
        assert!(volumes.contains_key(mount["name"].as_str().unwrap()), "{mount}");
    }
    let binding = one(&base, "ValidatingAdmissionPolicyBinding");
    assert!(named("ValidatingAdmissionPolicy").contains(binding["spec"]["policyName"].as_str().unwrap()));
    assert!(named("ConfigMap").contains(binding["spec"]["paramRef"]["name"].as_str().unwrap()));
    let required = &binding["spec"]["matchResources"]["namespaceSelector"]["matchLabels"];

    let agents = resources("agents");
    let namespace = one(&agents, "Namespace");
    assert_eq!(
        &namespace["metadata"]["labels"]["httpjail.io/required"],
        &required["httpjail.io/required"]
    );
    let namespace = namespace["metadata"]["name"].as_str().unwrap();
    let class = one(&base, "RuntimeClass");
    let accounts = base.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
    let table = permitted("base", namespace);
    let policies = root().join("base/policies");
    for (account, names) in accounts["data"].as_object().unwrap() {
        assert!(account.starts_with(&format!("{namespace}.")), "{account}");
        for name in names.as_str().unwrap().split(',') {
            assert!(
                table.contains(name) && policies.join(format!("{name}.yaml")).exists(),
                "{name}"
            );
        }
    }
    let pods: Vec<&Value> = agents.iter().filter(|object| object["kind"] == "Pod").collect();
    assert_eq!(pods.len(), 2);
    let mut named = BTreeSet::new();
    for pod in pods {
        assert_eq!(pod["spec"]["runtimeClassName"], class["metadata"]["name"]);
        assert_eq!(pod["metadata"]["namespace"], namespace);
        let policy = pod["metadata"]["annotations"]["httpjail.policy"].as_str().unwrap();
        let account = pod["spec"]["serviceAccountName"].as_str().unwrap();
        let may = accounts["data"][format!("{namespace}.{account}")].as_str().unwrap();
        assert!(may.split(',').any(|name| name == policy), "{account} {policy}");
        named.insert(policy);
    }
    assert_eq!(named.len(), 2, "different policies");
    assert!(permitted("signed", namespace).is_superset(&table));
}

/// What is written into containerd's configuration is what the RuntimeClass means.
#[test]
fn the_handler_is_the_runtime_that_is_installed() {
    let outcome = Command::new(binary())
        .args(["runtime", "install", "containerd", "--print"])
        .output()
        .unwrap();
    let printed = String::from_utf8(outcome.stdout).unwrap();
    let handler = one(&resources("base"), "RuntimeClass")["handler"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        printed.contains(&format!(".containerd.runtimes.{handler}]")),
        "{printed}"
    );
    assert!(printed.contains("pod_annotations = [\"httpjail.*\"]"), "{printed}");
}

#[test]
fn httpjail_takes_the_arguments() {
    let patch = &documents(&root().join("signed/fetch.yaml"))[0];
    let container = &patch["spec"]["template"]["spec"]["containers"][0];
    let arguments: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new(binary());
        command.args(&arguments).args(more).output().unwrap()
    };
    // The key is not there: everything else is understood.
    let outcome = run(&["--once"]);
    let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert!(
        said.starts_with("error: cannot read the key /keys/policy.pub"),
        "{said}"
    );
    assert_eq!(run(&["--onze"]).status.code(), Some(2));
}

/// No right that is not said why, no token, no privilege.
#[test]
fn it_has_the_least_rights() {
    let base = resources("base");
    let patch = documents(&root().join("signed/fetch.yaml"));
    for kind in ["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"] {
        assert!(base.iter().all(|object| object["kind"] != kind), "{kind}");
    }
    let pod = &one(&base, "DaemonSet")["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(one(&base, "ServiceAccount")["automountServiceAccountToken"], false);
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        assert_eq!(pod[key], Value::Null, "{key}");
    }
    let paths = pod["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|volume| volume["hostPath"]["path"].as_str());
    let paths: Vec<&str> = paths.collect();
    assert_eq!(paths, ["/usr/local/bin", "/etc/httpjail", "/etc/containerd"]);
    let fetching = &patch[0]["spec"]["template"]["spec"]["containers"];
    for container in [&pod["initContainers"], &pod["containers"], fetching]
        .into_iter()
        .flat_map(|list| list.as_array().unwrap())
    {
        let security = &container["securityContext"];
        assert_eq!(security["capabilities"]["drop"][0], "ALL", "{container}");
        assert_eq!(security["allowPrivilegeEscalation"], false, "{container}");
        assert_eq!(security["readOnlyRootFilesystem"], true, "{container}");
        assert_eq!(security["privileged"], Value::Null, "{container}");
        assert_eq!(
            security["capabilities"]["add"].is_null(),
            container["name"] != "fetch",
            "{container}"
        );
    }
}

/// A node's directories, and the ConfigMaps that are mounted.
struct Node(tempfile::TempDir);

impl Node {
    fn new() -> Node {
        let node = Node(tempfile::tempdir().unwrap());
        for folder in ["maps/policies", "maps/node", "node"] {
            fs::create_dir_all(node.at(folder)).unwrap();
        }
        for (from, to) in [
            ("policies/web.yaml", "policies/web.yaml"),
            ("policies/git.yaml", "policies/git.yaml"),
            ("runtime.yaml", "node/runtime.yaml"),
        ] {
            node.publish(to, &fs::read_to_string(root().join("base").join(from)).unwrap());
        }
        node
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn publish(&self, path: &str, text: &str) {
        fs::write(self.at("maps").join(path), text).unwrap();
    }

    fn policy(&self, name: &str) -> String {
        fs::read_to_string(self.at(&format!("node/etc/httpjail/policies/{name}.yaml"))).unwrap()
    }

    fn install(&self, what: &str) -> Output {
        let mut command = Command::new("sh");
        command
            .arg(root().join("base/install.sh"))
            .arg(what)
            .env("HTTPJAIL_OWN", binary());
        command
            .env("HTTPJAIL_MAPS", self.at("maps"))
            .env("HTTPJAIL_NODE", self.at("node"));
        command.output().unwrap()
    }
}

#[test]
fn a_policy_that_is_none_gets_to_no_node() {
    let node = Node::new();
    let outcome = node.install("once");
    assert!(outcome.status.success(), "{outcome:?}");
    assert_eq!(
        fs::read(node.at("node/usr/local/bin/httpjail")).unwrap(),
        fs::read(binary()).unwrap()
    );
    let (web, git) = (node.policy("web"), node.policy("git"));
    assert_eq!(web, fs::read_to_string(root().join("base/policies/web.yaml")).unwrap());

    // It cannot be read; it does what its own tests deny.
    for bad in [
        "rulez: []\n".to_owned(),
        web.replace("host: docs.python.org", "host: other.test"),
    ] {
        node.publish("policies/web.yaml", &bad);
        for what in ["policies", "once"] {
            let outcome = node.install(what);
            assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
            assert!(
                String::from_utf8_lossy(&outcome.stderr).contains("web.yaml is not taken"),
                "{outcome:?}"
            );
            assert_eq!((node.policy("web"), node.policy("git")), (web.clone(), git.clone()));
        }
    }
    let good = format!("{web}# 2\n");
    node.publish("policies/web.yaml", &good);
    assert!(node.install("policies").status.success());
    assert_eq!(node.policy("web"), good);

    // One that is gone denies everything; one that was there before stays as it is.
    let own = node.at("node/etc/httpjail/policies/own.yaml");
    fs::write(&own, &web).unwrap();
    fs::remove_file(node.at("maps/policies/git.yaml")).unwrap();
    assert!(node.install("policies").status.success());
    assert_eq!(node.policy("git"), "version: 1\nrules: []\n");
    assert_eq!((node.policy("web"), node.policy("own")), (good, web));
    node.publish("policies/git.yaml", &git);
    assert!(node.install("policies").status.success());
    assert_eq!(node.policy("git"), git);
}
