//! The pods, policies and table of deploy/kubernetes, put on the host by its own script, and run through containerd's CRI socket: what a
//! cluster would run, without a cluster.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use httpjail_lab::{WORLD_V4, canary};

use super::Containerd;
use crate::engines::host::POLICIES;
use crate::engines::rows::Rows;
use crate::run::root;

const DEPLOY: &str = "deploy/kubernetes";
/// A method and a URL, and whether that request arrives.
type Asked = (&'static str, &'static str, bool);
/// What each pod asks for.
const ASKED: [(&str, [Asked; 3]); 2] = [
    (
        "reader",
        [
            ("GET", "https://docs.python.org/MARK", true),
            ("POST", "https://docs.python.org/MARK", false),
            ("GET", "https://github.com/example/MARK", false),
        ],
    ),
    (
        "builder",
        [
            ("POST", "https://github.com/example/MARK/git-upload-pack", true),
            ("POST", "https://github.com/example/MARK/git-receive-pack", false),
            ("GET", "https://docs.python.org/MARK", false),
        ],
    ),
];

/// Some rows.
pub(super) fn trials<'host>(engine: &Containerd<'host>, rows: &mut Rows<'host>) -> Result<()> {
    let host = engine.host;
    for name in ["docs.python.org", "github.com"] {
        host.lab().resolve(name, &[WORLD_V4.into()]);
    }
    let maps = host.lab().dir().join("maps");
    let base = root().join(DEPLOY).join("base");
    // The very files; their servers are the lab's, whose authority no system trusts.
    let script = format!(
        "set -e; umask 22; mkdir -p {maps}/policies {maps}/node; cp {base}/policies/*.yaml {maps}/policies
         for policy in {maps}/policies/*.yaml; do echo 'upstream-ca: {authority}' >> $policy; done
         cp {base}/runtime.yaml {maps}/node; cp /usr/local/bin/httpjail {maps}/httpjail
         cp /etc/httpjail/runtime.yaml {maps}/table
         HTTPJAIL_OWN={maps}/httpjail HTTPJAIL_MAPS={maps} sh {base}/install.sh once; ls {POLICIES}/web.yaml {POLICIES}/git.yaml",
        maps = maps.display(),
        base = base.display(),
        authority = host.lab().upstream_ca().display(),
    );
    let outcome = host.command(&["sh", "-c", &script]).run();
    ensure!(outcome.code() == Some(0), "install.sh: {}", outcome.stderr);
    for (name, asked) in ASKED {
        let manifest = base.with_file_name("agents").join(format!("{name}.yaml"));
        let manifest = fs::read_to_string(manifest).context("read the manifest")?;
        let value = |key: &str| {
            let line = manifest
                .lines()
                .find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "));
            line.with_context(|| format!("{key} in the manifest of {name}"))
        };
        let annotation = format!("httpjail.policy={}", value("httpjail.policy")?);
        // The class's handler has its name.
        let pod = engine.pod(name, value("namespace")?, value("runtimeClassName")?, &[&annotation])?;
        for (method, url, arrives) in asked {
            let mark = canary();
            let url = url.replace("MARK", &mark);
            let run = engine.exec(
                &pod.containers[0],
                &["curl", "-sS", "-X", method, "-d", "", "-o", "/dev/null", &url],
            );
            let what = format!("deploy/kubernetes, {name}: {method} {}", url.replace(&mark, "..."));
            match arrives {
                true => rows.arrives(&what, &mark, run),
                false => rows.silent(&what, &mark, run),
            }
        }
        engine.remove(&pod)?;
    }
    let back = format!(
        "cp {}/table /etc/httpjail/runtime.yaml; rm {POLICIES}/web.yaml {POLICIES}/git.yaml",
        maps.display()
    );
    let outcome = host.command(&["sh", "-c", &back]).run();
    ensure!(outcome.code() == Some(0), "put the table back: {}", outcome.stderr);
    Ok(())
}
