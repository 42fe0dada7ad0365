//! What programs do by habit goes on in a jail: start where their caller is, bring a sandbox or a jail of their own, renew
//! the trust store.

use std::fs;
use std::path::Path;

use httpjail_lab::{JailBuilder, Lab, USER, Way};

use crate::support::{Expect as _, lab};

/// Whose home is the jail's: whoever starts it.
fn home(lab: &Lab) -> String {
    let user = if Way::of_this_process() == Way::Rootless {
        USER
    } else {
        "root"
    };
    lab.home(user).display().to_string()
}

/// Starts it in a folder that this script, of root's, has gone to.
fn from<'lab>(jail: JailBuilder<'lab>, script: &str) -> JailBuilder<'lab> {
    let script = format!("{script} && exec \"$@\"");
    jail.through(["sh", "-c", &script, "sh"])
}

#[test]
fn a_command_starts_where_its_caller_is() {
    let lab = lab();
    let folder = lab.fresh_path("folder");
    let (name, path) = (folder.display().to_string(), "readlink /proc/self/cwd");
    let gone = format!("mkdir {name} && cd {name} && rmdir {name}");
    let outcome = from(lab.jail(), &gone).shell("pwd; echo $PWD").run().expect_code(0);
    let (home, warning) = (
        home(&lab),
        "warning: the current folder is no longer there; the command starts in ",
    );
    assert_eq!(outcome.stdout, format!("{home}\n{home}\n"), "{outcome:#?}");
    assert_eq!(outcome.stderr.trim(), format!("{warning}{home}"), "{outcome:#?}");
    let homeless = from(lab.jail(), &gone)
        .env("HOME", "/nowhere")
        .option("--ephemeral-ca")
        .shell("pwd");
    homeless.run().expect_code(0).expect_stdout("/");

    // Of the caller's own, which nobody may enter any more.
    let owner = if Way::of_this_process() == Way::Rootless {
        USER
    } else {
        "root"
    };
    let shut = format!("mkdir {name} && chown {owner}: {name} && cd {name} && chmod 0 {name}");
    let outcome = from(lab.jail(), &shut)
        .shell(path)
        .run()
        .expect_code(0)
        .expect_stdout(&name);
    assert_eq!(outcome.stderr, "", "{outcome:#?}");
    fs::remove_dir(&folder).unwrap();

    // Root's own, in which another is to run.
    let roots = format!("mkdir -m 700 {name} && cd {name}");
    let jail = from(lab.jail(), &roots);
    if Way::of_this_process() == Way::Rootless {
        let outcome = jail.shell("pwd").run().expect_code(0).expect_stdout(&home);
        assert_eq!(outcome.stderr.matches("warning: ").count(), 1, "{outcome:#?}");
        outcome.expect_stderr_has(&format!("warning: cannot enter {name}: EACCES"));
    } else {
        let outcome = jail.option("--user").option(USER).shell(path).run().expect_code(0);
        let outcome = outcome.expect_stdout(&name);
        assert_eq!(outcome.stderr, "", "{outcome:#?}");
        let within = lab.unjailed().as_user().shell(&format!("ls {name}")).run();
        assert_ne!(within.code(), Some(0), "{within:#?}");
    }
}

#[test]
fn nothing_is_learnt_into_a_folder_that_is_gone() {
    let lab = lab();
    let folder = lab.fresh_path("folder");
    let gone = format!("mkdir {0} && cd {0} && rmdir {0}", folder.display());
    let started = lab.fresh_path("started");
    let learn = from(lab.jail().subcommand("learn"), &gone).shell(&format!("touch {}", started.display()));
    let outcome = learn
        .run()
        .expect_code(2)
        .expect_stderr_has("error: cannot write httpjail.yaml: ");
    assert!(!started.exists(), "{outcome:#?}");
    assert!(!Path::new(&folder).exists());
}

#[test]
fn a_jail_in_a_jail_says_that_it_is_in_one() {
    let lab = lab();
    let within = |line: &str| {
        let line = format!("{} {line}", lab.binary().display());
        lab.jail().rule("allow: .*").shell(&line)
    };
    let message = "error: this is inside a jail of httpjail, in which there can be no other\n\
                   hint: what runs here is held already; httpjail --weak judges it by more rules\n";
    for options in ["-r 'allow: .*'", "--backend netns", "--backend ebpf", "learn"] {
        let outcome = within(&format!("{options} -- true")).run().expect_code(125);
        assert_eq!(
            outcome
                .stderr
                .split_once("error: ")
                .map(|(_, text)| format!("error: {text}"))
                .as_deref(),
            Some(message)
        );
    }
    let told = within("doctor").run().expect_code(1);
    assert!(
        told.stdout.starts_with("this is inside a jail of httpjail"),
        "{told:#?}"
    );
    assert!(
        !lab.unjailed()
            .command([lab.binary().as_os_str(), "doctor".as_ref()])
            .run()
            .stdout
            .contains("inside a jail")
    );
}

#[test]
fn weak_mode_in_a_jail_adds_rules() {
    let lab = lab();
    let policy = lab.file(
        "inner.yaml",
        "rules:\n  - {action: allow, host: ok.test}\n  - {action: allow, host: evil.test}\n",
    );
    let ask = |url: &str| {
        let line = format!(
            "{} --ephemeral-ca --weak -c {} -- curl -sS -o /dev/null -w '%{{http_code}}' {url}",
            lab.binary().display(),
            policy.display()
        );
        lab.jail()
            .rule(r"allow: ^https?://(ok|forbidden)\.test/")
            .shell(&line)
            .run()
    };
    let outcome = ask("https://ok.test/bytes/5").expect_code(0).expect_stdout("200");
    outcome.expect_stderr_has("hint: this is inside a jail of httpjail, which holds it");
    ask("http://ok.test/bytes/5").expect_code(0).expect_stdout("200");
    // The one outside goes on to judge.
    ask("https://evil.test/").expect_code(0).expect_stdout("403");
    // And so does the one inside.
    ask("https://forbidden.test/").expect_code(0).expect_stdout("403");
    assert_eq!(lab.requests_for("ok.test").len(), 2);
    assert!(lab.requests_for("evil.test").is_empty());
}
