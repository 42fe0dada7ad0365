//! Every block of the README runs as written, in a lab that has its names. What cannot run stands in the table, with the
//! reason; a line that is in no row of it, or a row that is of no line, is a failure.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use httpjail_lab::{Lab, WORLD_V4};

use crate::support::{Expect as _, lab};

/// What becomes of a line.
enum How {
    /// It runs, and ends with this status.
    Runs(i32),
    /// It is a policy file's, with those around it.
    Policy,
    /// It is JSON.
    Json,
    /// What httpjail says, of a run by this line.
    SaidBy(&'static str),
    /// It cannot run here.
    Not(&'static str),
}
use How::{Json, Not, Policy, Runs, SaidBy};

/// By how the line begins.
const LINES: [(&str, How); 43] = [
    ("httpjail -r \"allow-get: ^https://api", Runs(0)),
    ("cargo install", Not("it builds for minutes: cargo xtask package does")),
    ("httpjail -r \"allow: ^https://example", Runs(0)),
    ("httpjail --log-only", Runs(0)),
    ("httpjail learn -- npm install", Runs(0)),
    ("-r \"action", Not("the form of a rule")),
    ("httpjail -r \"allow: ^https://github", Runs(0)),
    ("httpjail -r \"allow-get: ^https://registry", Runs(0)),
    ("httpjail -r \"deny: telemetry\"", Runs(0)),
    ("httpjail --config rules.yaml", Runs(0)),
    ("httpjail check -c rules.yaml  ", Runs(0)),
    ("httpjail check -c rules.yaml POST", Runs(1)),
    ("httpjail check -c rules.yaml --replay", Runs(0)),
    ("httpjail schema", Runs(0)),
    ("httpjail: denied", SaidBy(DENIED)),
    ("hint: to allow it", SaidBy(DENIED)),
    ("httpjail learn -- npm ci", Runs(0)),
    ("httpjail --locked", Runs(0)),
    ("httpjail learn --update", Runs(0)),
    ("httpjail learn -o - ", Runs(0)),
    (
        "httpjail -r 'allow: ^http://10",
        Not("nobody is at that address: tests/verdicts.rs"),
    ),
    ("httpjail -r 'allow: ^http://localhost", Runs(0)),
    ("httpjail report", Runs(0)),
    ("httpjail completions", Runs(0)),
    ("httpjail man", Runs(0)),
    ("httpjail --interactive", Not("it wants a terminal: tests/approve.rs")),
    ("httpjail --approve-with", Runs(0)),
    ("{\"version\":1", Json),
    (" \"program\"", Json),
    ("{\"verdict\"", Json),
    ("sudo httpjail attach", Not("there is no such service: tests/attach.rs")),
    ("sudo httpjail detach", Not("there is no such service: tests/attach.rs")),
    (
        "sudo httpjail runtime install",
        Not("it writes to the host's /etc: tests/runtime.rs"),
    ),
    (
        "docker run",
        Not("there is no such engine: tests/runtime.rs calls the runtime as one"),
    ),
    ("tls:", Policy),
    ("  passthrough:", Policy),
    ("    - pinned", Policy),
    ("    - '*.bank", Policy),
    ("httpjail --weak", Runs(0)),
    ("httpjail pool", Not("it runs until it is ended: tests/pool.rs")),
    ("httpjail --pool", Not("there is no pool: tests/pool.rs")),
    ("httpjail serve", Not("it runs until it is ended: tests/weak.rs")),
    ("cargo xtask", Not("for those who work on httpjail")),
];

const DENIED: &str =
    "httpjail -r 'allow: ^https://nowhere\\.example/' -- curl -s 'https://example.com/zen?secret' > /dev/null";

/// Those that are indented by four blanks, and those in fences.
fn blocks(readme: &str) -> (Vec<Vec<&str>>, Vec<String>) {
    let (mut shell, mut yaml): (Vec<Vec<&str>>, Vec<String>) = (Vec::new(), Vec::new());
    let (mut fenced, mut open) = (false, false);
    for line in readme.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
            if fenced {
                assert_eq!(line, "```yaml");
                yaml.push(String::new());
            }
        } else if fenced {
            yaml.last_mut().unwrap().extend([line, "\n"]);
        } else if let Some(line) = line.strip_prefix("    ") {
            if !open {
                shell.push(Vec::new());
            }
            open = true;
            shell.last_mut().unwrap().push(line);
            continue;
        }
        open = false;
    }
    (shell, yaml)
}

fn how(line: &str) -> &'static How {
    let row = LINES.iter().find(|(start, _)| line.starts_with(start));
    &row.unwrap_or_else(|| panic!("no row for this line of the README: {line}"))
        .1
}

/// A project as the README's reader has it: his programs, which ask for something, and his files.
fn project(lab: &Lab, policies: &[String], policy: usize) -> std::path::PathBuf {
    let folder = lab.fresh_path("project");
    let bin = folder.join("bin");
    fs::create_dir_all(folder.join("team")).unwrap();
    fs::create_dir(&bin).unwrap();
    symlink(lab.binary(), bin.join("httpjail")).unwrap();
    let program = |path: &Path, text: &str| {
        fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    for name in ["bin/agent", "bin/npm", "bin/git", "application"] {
        let ask = "exec curl -sS -o /dev/null https://api.github.com/zen https://example.com/";
        program(&folder.join(name), ask);
    }
    program(
        &folder.join("decide"),
        "cat > /dev/null; echo '{\"verdict\":\"allow\"}'",
    );
    fs::write(folder.join("rules.yaml"), &policies[policy]).unwrap();
    fs::write(folder.join("new.yaml"), &policies[0]).unwrap();
    let group = "groups:\n  packages:\n    - {action: allow, host: registry.example.com}\n";
    fs::write(folder.join("team/groups.yaml"), group).unwrap();
    folder
}

#[test]
fn every_block_runs_as_written() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let (shell, yaml) = blocks(&readme);
    for (start, _) in &LINES {
        let used = shell.iter().flatten().any(|line| line.starts_with(start));
        assert!(used, "no line of the README begins like this: {start}");
    }
    let lab = lab();
    for name in ["api.github.com", "github.com", "example.com", "registry.example.com"] {
        lab.resolve(name, &[WORLD_V4.into()]);
    }
    lab.on_jailside(|| {
        let none = nix::mount::MsFlags::empty();
        Ok(nix::mount::mount(
            Some("none"),
            "/var/log",
            Some("tmpfs"),
            none,
            None::<&str>,
        )?)
    })
    .unwrap();
    let run = |folder: &Path, line: &str| {
        let line = format!("cd {} && PATH=$PWD/bin:$PATH && {line}", folder.display());
        let run = lab.unjailed().env("SSL_CERT_FILE", lab.upstream_ca());
        run.shell(&line).run()
    };
    for block in &shell {
        // The first policy file is shown after the line that names it, the second before those that do.
        let first = block.iter().any(|line| line.contains("--config"));
        let folder = project(&lab, &yaml, usize::from(!first));
        let log = "httpjail -q --log requests.jsonl --log-format json -r 'allow: .*' -- curl -sS https://example.com/";
        if block.iter().any(|line| line.contains("requests.jsonl")) {
            run(&folder, log).expect_code(0);
        }
        for line in block {
            match how(line) {
                Runs(status) => {
                    run(&folder, line).expect_code(*status);
                }
                SaidBy(by) => {
                    let said = run(&folder, by).expect_code(0).stderr;
                    // Whose number is another each time.
                    let number = |text: &str| text.split('[').next().unwrap_or_default().to_owned();
                    assert!(
                        said.lines().any(|said| number(said) == number(line)),
                        "{line} in {said}"
                    );
                }
                Not(reason) => eprintln!("not run: {line}: {reason}"),
                Policy | Json => {}
            }
        }
        let whole = || block.join("\n") + "\n";
        if matches!(how(block[0]), Policy) {
            fs::write(folder.join("whole.yaml"), whole() + "rules: []\n").unwrap();
            run(&folder, "httpjail check -c whole.yaml https://example.com/").expect_code(1);
        }
        if matches!(how(block[0]), Json) {
            let values = serde_json::Deserializer::from_str(&whole())
                .into_iter::<serde_json::Value>()
                .count();
            assert_eq!(values, 2, "{}", whole());
        }
    }
    // And those in fences by themselves.
    assert_eq!(yaml.len(), 2);
    for policy in 0..yaml.len() {
        let folder = project(&lab, &yaml, policy);
        run(
            &folder,
            "httpjail check -c rules.yaml GET https://git.example.com/project.git/info/refs",
        )
        .expect_code(i32::from(policy == 0));
    }
}
