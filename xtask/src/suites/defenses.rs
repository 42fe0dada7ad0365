//! `cargo xtask suites defenses [NAME..]`: each defense is taken out in turn, and the tests must notice.
//!
//! A copy of the last commit is built without the defense, and the tests that speak of it are run: which of them turn red is
//! printed. A defense without a red test is either not tested or not needed. Several stand behind one another on purpose, so what is
//! red is seldom all that the defense is for. Nothing in httpjail itself can switch a defense off: the edits are here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::run::{cargo, command, quietly, root};

/// A defense, how to take it out, and who should notice.
struct Defense {
    name: &'static str,
    /// File, text in it, and what takes its place.
    edits: &'static [(&'static str, &'static str, &'static str)],
    /// Topics of the integration tests, and modules of the unit tests.
    topics: &'static [&'static str],
}

const CHILD: &str = "httpjail/src/jail/process/command.rs";
const KEPT: &str = "httpjail/src/jail/sandbox/mounts/kept.rs";
const LINKS: &str = "httpjail/src/jail/steering/ebpf/links.rs";
const MOUNTS: &str = "httpjail/src/jail/sandbox/mounts.rs";
const RIGHTS: &str = "httpjail/src/jail/sandbox/rights.rs";
const STDIO: &str = "httpjail/src/jail/sandbox/stdio.rs";
const SANDBOX: &str = "httpjail/src/jail/process/namespaces.rs";
const ATTACHED: &str = "for (hook, program) in programs {";

const DEFENSES: [Defense; 10] = [
    Defense {
        name: "egress",
        edits: &[(
            LINKS,
            ATTACHED,
            "for (hook, program) in programs.iter().filter(|(hook, _)| hook.name != \"egress\") {",
        )],
        topics: &["attach", "escapes", "jail::steering::ebpf"],
    },
    Defense {
        name: "ingress",
        edits: &[(
            LINKS,
            ATTACHED,
            "for (hook, program) in programs.iter().filter(|(hook, _)| hook.name != \"ingress\") {",
        )],
        topics: &["attach", "jail::steering::ebpf"],
    },
    Defense {
        name: "seccomp",
        edits: &[(CHILD, "filter.install()?;", "let _ = filter;")],
        topics: &["escapes", "identity", "terminal"],
    },
    Defense {
        name: "sockets",
        edits: &[(MOUNTS, "cover_socket(socket)?;", "let _ = socket;")],
        topics: &["identity", "regression", "escapes"],
    },
    Defense {
        name: "hidden",
        edits: &[(KEPT, "cover_directory(directory, owner)?;", "let _ = directory;")],
        topics: &["identity", "regression", "surroundings"],
    },
    Defense {
        name: "devices",
        edits: &[
            (
                MOUNTS,
                "let held = devices::arrange(view.own_terminals, &mut notes)?;",
                "let held = Vec::new();",
            ),
            (MOUNTS, "        devices::close()?;\n", ""),
        ],
        topics: &["devices", "terminals", "terminal"],
    },
    Defense {
        name: "descriptors",
        // At the start, and once more in init.
        edits: &[
            (STDIO, "    fds::close_from(3, &pipes)?;\n", ""),
            (
                SANDBOX,
                "fds::close_from(3, &keep)",
                "{ let _ = keep; io::Result::Ok(()) }",
            ),
        ],
        topics: &["escapes", "identity"],
    },
    Defense {
        name: "capabilities",
        edits: &[
            (
                RIGHTS,
                "    drop_bounding(&keeps)?;\n    if identity",
                "    if identity",
            ),
            (RIGHTS, "    limit_to(&keeps)?;\n", "    let _ = keeps;\n"),
        ],
        topics: &["escapes", "identity"],
    },
    Defense {
        name: "user_namespace",
        edits: &[(
            SANDBOX,
            "Self::clone(plan, cgroup, Ids::All)",
            "Self::clone(plan, cgroup, Ids::Host)",
        )],
        topics: &["escapes", "identity", "regression"],
    },
    Defense {
        name: "read_only_tree",
        edits: &[
            (MOUNTS, "    notes.extend(cgroups::arrange(view.owner.0 == 0)?);\n", ""),
            (MOUNTS, "    kernel::read_only_sys()?;\n", ""),
        ],
        topics: &["cgroups", "identity"],
    },
];

/// Takes out those of these names; all if none is given.
pub(super) fn run(names: &[String]) -> Result<()> {
    for name in names {
        let known: Vec<&str> = DEFENSES.iter().map(|defense| defense.name).collect();
        ensure!(
            known.contains(&name.as_str()),
            "no defense is called {name} (there are: {})",
            known.join(", ")
        );
    }
    let wanted = |defense: &&Defense| names.is_empty() || names.iter().any(|name| name == defense.name);
    let tree = Tree::new()?;
    let mut unnoticed = Vec::new();
    for defense in DEFENSES.iter().filter(wanted) {
        let before = tree.red(defense.topics)?;
        let originals = tree.without(defense)?;
        let red = tree.red(defense.topics);
        for (path, text) in originals {
            fs::write(&path, text).with_context(|| format!("restore {}", path.display()))?;
        }
        let red: Vec<String> = red?.difference(&before).cloned().collect();
        println!(
            "{} -> {}",
            defense.name,
            if red.is_empty() {
                "nothing".into()
            } else {
                red.join(", ")
            }
        );
        if red.is_empty() {
            unnoticed.push(defense.name);
        }
    }
    if !unnoticed.is_empty() {
        bail!("no test noticed that these were gone: {}", unnoticed.join(", "));
    }
    Ok(())
}

/// A copy of the last commit, gone when this is dropped; what was built of it stays.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Result<Tree> {
        let path = root().join("target/defenses/tree");
        let tree = Tree(path);
        tree.remove();
        let line = ["worktree", "add", "--quiet", "--detach"].map(Path::new);
        let line = line.into_iter().chain([tree.0.as_path(), Path::new("HEAD")]);
        quietly(&mut command("git", line))?;
        Ok(tree)
    }

    fn remove(&self) {
        // There may be none.
        let line = ["worktree", "remove", "--force"].map(Path::new);
        let _ = quietly(&mut command("git", line.into_iter().chain([self.0.as_path()])));
    }

    /// Takes the defense out; returns the files as they were.
    fn without(&self, defense: &Defense) -> Result<Vec<(PathBuf, String)>> {
        let mut originals = Vec::new();
        for (file, there, instead) in defense.edits {
            let path = self.0.join(file);
            let text = fs::read_to_string(&path).with_context(|| format!("read {file}"))?;
            ensure!(
                text.contains(there),
                "{}: {file} has no `{there}` any more: the defense has moved",
                defense.name
            );
            fs::write(&path, text.replace(there, instead)).with_context(|| format!("write {file}"))?;
            originals.push((path, text));
        }
        // The first of two edits of a file has it as it was: that one is written last.
        originals.reverse();
        Ok(originals)
    }

    /// The tests of these topics that fail.
    fn red(&self, topics: &[&str]) -> Result<BTreeSet<String>> {
        let filter: Vec<String> = topics.iter().map(|topic| format!("test(/^{topic}::/)")).collect();
        let mut tests = cargo([
            "nextest",
            "run",
            "--package",
            "httpjail",
            "--no-fail-fast",
            "-E",
            &filter.join(" | "),
        ]);
        tests
            .current_dir(&self.0)
            .env("CARGO_TARGET_DIR", root().join("target/defenses/build"));
        tests.env("CARGO_TERM_COLOR", "never");
        let output = tests.output().context("start cargo nextest")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(said.contains("Summary ["), "the tests did not run:\n{said}");
        Ok(said.lines().filter_map(failed).collect())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The name of a test that this line of nextest's says has failed.
fn failed(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let bad = ["FAIL", "TIMEOUT", "ABORT", "SIGABRT", "SIGKILL", "SIGSEGV"];
    (words.len() > 3 && bad.contains(&words[0]) && words[1].starts_with('[')).then(|| words[words.len() - 1].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_defence_is_where_it_is_taken_out() {
        for defense in DEFENSES {
            for (file, there, _) in defense.edits {
                let text = fs::read_to_string(root().join(file)).unwrap();
                assert!(text.contains(there), "{}: {file} has no `{there}`", defense.name);
            }
        }
    }

    #[test]
    fn failures_are_read() {
        let said = "        FAIL [   1.234s] ( 3/10) httpjail::it escapes::tcp";
        assert_eq!(failed(said).as_deref(), Some("escapes::tcp"));
        assert_eq!(failed("        PASS [   0.1s] httpjail::it escapes::udp"), None);
        assert_eq!(failed("FAIL"), None);
    }
}
