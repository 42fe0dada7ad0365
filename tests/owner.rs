//! What httpjail runs, reads or writes for its owner while the jail lives is not the command's to change; and no key of his is its
//! to read.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use httpjail_lab::{JailBuilder, Lab, Outcome, USER, USER_ID, Way};

use crate::support::{Expect as _, PYTHON, curl_status, lab};

/// A folder of the user's, below their home.
fn folder(lab: &Lab, name: &str) -> PathBuf {
    let path = lab.home(USER).join(name);
    fs::create_dir_all(&path).unwrap();
    chown(&path, Some(USER_ID), Some(USER_ID)).unwrap();
    path
}

/// A file of the user's.
fn file(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    chown(path, Some(USER_ID), Some(USER_ID)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What a program that ran in place of the one that decides leaves behind. The jail cannot write there.
fn marker(lab: &Lab) -> PathBuf {
    let path = lab.fresh_path("marker");
    file(&path, "", 0o600);
    path
}

const NO: &str = "#!/bin/sh\necho '{\"verdict\":\"deny\"}'\n";

/// All that a command may think of to have `proj/decide` be something else.
const ATTACK: &str = r#"cd "$1"
printf '#!/bin/sh\n%s\n' "$2" > evil; chmod 755 evil; cp evil evil2; cp evil evil3
echo "$2" >> proj/decide
cat evil > proj/decide
chmod 777 proj/decide && cat evil > proj/decide
ln proj/decide proj/other && cat evil > proj/other
ln proj/decide other && cat evil > other
mv evil2 proj/decide
rm -f proj/decide && cp evil proj/decide
for folder in proj ../labuser; do mv $folder gone-$$ && mkdir $folder && cp evil $folder/decide; done
unshare -Urm sh -c 'umount proj/decide; mount --bind proj other; cat evil > other/decide; mount -o remount,rw,bind proj/decide; cat evil > proj/decide' 
unshare -Urm sh -c 'mkdir -p view; mount --bind . view; cat evil > view/proj/decide; mount --rbind . view; cat evil > view/proj/decide'
"#;

/// Has the command attack the program that decides, then ask for something.
fn attacked(lab: &Lab, run: JailBuilder<'_>, marker: &Path) -> Outcome {
    let evil = format!("echo ran >> {}; echo '{{\"verdict\":\"allow\"}}'", marker.display());
    let script = lab.file("attack.sh", ATTACK.to_owned() + "shift 2; exec \"$@\"\n");
    let run = run.option("--approve-with").option("./decide");
    let home = lab.home(USER).display().to_string();
    let ask = curl_status(lab.unjailed(), &["https://ok.test/asked"]).command_line();
    let line = ["sh".into(), script.into(), home.into(), evil.into()];
    run.command(line.into_iter().chain(ask)).run()
}

/// `proj/decide`, of the user's own, which says no.
fn project(lab: &Lab) -> PathBuf {
    let proj = folder(lab, "proj");
    file(&proj.join("decide"), NO, 0o755);
    proj
}

// Proves: P28.
#[test]
fn the_program_that_decides() {
    let lab = lab();
    let (proj, marker) = (project(&lab), marker(&lab));
    let here = ["env", "-C", proj.to_str().unwrap()];
    let outcome = attacked(&lab, lab.jail().as_user().through(here), &marker);
    assert!(outcome.stdout.contains("403"), "{outcome:#?}");
    assert_eq!(fs::read_to_string(&marker).unwrap(), "", "{outcome:#?}");
    assert_eq!(fs::read_to_string(proj.join("decide")).unwrap(), NO);
    assert!(lab.requests_for("ok.test").is_empty(), "{outcome:#?}");
}

/// Without a jail nothing is held, and that is said.
#[test]
fn the_program_that_decides_without_a_jail() {
    let lab = lab();
    let (proj, marker) = (project(&lab), marker(&lab));
    let here = ["env", "-C", proj.to_str().unwrap()];
    let weak = lab
        .jail()
        .as_user()
        .through(here)
        .without_log()
        .option("--backend")
        .option("weak");
    let outcome = attacked(&lab, weak, &marker);
    outcome.expect_stderr_has("which decides: without a jail nothing holds it");
    assert_eq!(fs::read_to_string(&marker).unwrap(), "ran\n");
}

/// The same file by another mount.
// Proves: P28.
#[test]
fn the_program_that_decides_by_a_second_mount() {
    let lab = lab();
    let (proj, marker) = (project(&lab), marker(&lab));
    let second = lab.fresh_path("second");
    fs::create_dir(&second).unwrap();
    lab.on_jailside(|| {
        let none = None::<&str>;
        nix::mount::mount(Some(&lab.home(USER)), &second, none, nix::mount::MsFlags::MS_BIND, none)?;
        Ok(())
    })
    .unwrap();
    let evil = format!(
        "echo 'echo ran >> {}' >> {}/proj/decide; ",
        marker.display(),
        second.display()
    );
    let ask = "curl -s https://ok.test/asked";
    let program = proj.join("decide");
    let jail = lab.jail().as_user().option("--approve-with").option(&program);
    let outcome = jail.shell(&format!("{evil}{ask}")).run();
    assert_eq!(fs::read_to_string(&program).unwrap(), NO, "{outcome:#?}");
    assert_eq!(fs::read_to_string(&marker).unwrap(), "", "{outcome:#?}");
    lab.unjailed().as_user().shell(&evil).run();
    assert_ne!(fs::read_to_string(&program).unwrap(), NO, "outside it is the same file");
}

// Proves: P28.
#[test]
fn a_program_that_decides_with_a_second_name() {
    let lab = lab();
    let proj = project(&lab);
    fs::hard_link(proj.join("decide"), lab.home(USER).join("other")).unwrap();
    let jail = lab
        .jail()
        .as_user()
        .option("--approve-with")
        .option(proj.join("decide"));
    jail.command(["echo", "ran"])
        .run()
        .expect_code(2)
        .expect_stdout("")
        .expect_stderr_has("has a second name");
}

/// Python looks for modules in the home and beside its script: both are the command's.
// Proves: P28.
#[test]
fn modules_of_the_program_that_decides() {
    let lab = lab();
    let proj = folder(&lab, "proj");
    let decide = proj.join("decide.py");
    let no = "import this_is_not_there_but_for_the_attack";
    let script =
        format!("#!{PYTHON}\ntry:\n    {no}\nexcept ImportError:\n    pass\nprint('{{\"verdict\":\"deny\"}}')\n");
    file(&decide, &script, 0o755);
    let marker = marker(&lab);
    let module = format!("open({:?}, 'a').write('ran\\n')", marker.to_str().unwrap());
    let plant = "import os, site, sys
user = site.getusersitepackages()
os.makedirs(user, exist_ok=True)
for name in (user + '/usercustomize.py', sys.argv[1] + '/this_is_not_there_but_for_the_attack.py'):
    open(name, 'w').write(sys.argv[2])";
    let asked = ["-c", "import sys; sys.exit(sys.version_info < (3, 11))"];
    let knows_safe_path = Command::new(PYTHON).args(asked).status().unwrap().success();
    let script = lab.file("plant.py", plant);
    let line = format!(
        "{PYTHON} {} {} \"{}\"; {}",
        script.display(),
        proj.display(),
        module.replace('"', "\\\""),
        "curl -s https://ok.test/asked"
    );
    let jail = lab.jail().as_user().option("--approve-with").option(&decide);
    let outcome = jail.shell(&line).run();
    if knows_safe_path {
        assert_eq!(fs::read_to_string(&marker).unwrap(), "", "{outcome:#?}");
    }
    assert!(
        proj.join("this_is_not_there_but_for_the_attack.py").exists(),
        "{outcome:#?}"
    );
    // What was planted works: a run outside, as its user, takes it.
    lab.unjailed().as_user().command([&decide]).run().expect_code(0);
    assert_eq!(fs::read_to_string(&marker).unwrap().lines().next(), Some("ran"));
}

// Proves: P24.
#[test]
fn the_policy_file() {
    let lab = lab();
    let proj = folder(&lab, "proj");
    let (main, groups) = (proj.join("rules.yaml"), proj.join("groups.yaml"));
    let texts = [
        "groups-from: groups.yaml\nuse: [g]\n",
        "groups:\n  g: [{action: deny, pattern: .}]\n",
    ];
    file(&main, texts[0], 0o644);
    file(&groups, texts[1], 0o644);
    let change = format!(
        "cd {}; for f in rules groups; do echo '# x' >> $f.yaml; echo > new; mv new $f.yaml; rm -f $f.yaml; done; cat rules.yaml",
        proj.display()
    );
    let outcome = lab.jail().as_user().option("-c").option(&main).shell(&change).run();
    assert_eq!(outcome.stdout, texts[0], "it can be read: {outcome:#?}");
    let there = || [&main, &groups].map(|path| fs::read_to_string(path).unwrap_or_default());
    assert_eq!(there(), texts);
    lab.unjailed().as_user().shell(&change).run();
    assert_ne!(there(), texts, "outside it can be changed");
}

/// By another name the jail could empty it, and no line of its denials would be left.
// Proves: K15.
#[test]
fn a_log_with_a_second_name() {
    let lab = lab();
    let (log, other) = (lab.home(USER).join("run.log"), lab.home(USER).join("other"));
    file(&log, "", 0o600);
    fs::hard_link(&log, &other).unwrap();
    let jail = lab.jail().as_user().log_to(&log);
    let empty = format!("true > {}; echo ran", other.display());
    jail.shell(&empty)
        .run()
        .expect_code(125)
        .expect_stdout("")
        .expect_stderr_has("a second name");
    fs::remove_file(&other).unwrap();
    lab.jail()
        .as_user()
        .log_to(&log)
        .shell("echo ran")
        .run()
        .expect_stdout("ran");
}

/// Who reads a pipe takes from its reader what it says.
// Proves: K15.
#[test]
fn a_log_that_is_a_pipe() {
    let lab = lab();
    let pipe = lab.home(USER).join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    chown(&pipe, Some(USER_ID), Some(USER_ID)).unwrap();
    let reader = fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let steal = format!("timeout 5 head -c 20 {0}; echo '{{}}' > {0}; echo end", pipe.display());
    let outcome = lab
        .jail()
        .as_user()
        .without_log()
        .option("--log")
        .option(&pipe)
        .shell(&steal)
        .run();
    assert_eq!(outcome.stdout, "end\n", "{outcome:#?}");
    let mut text = vec![0; 1 << 16];
    let read = std::io::Read::read(&mut &reader, &mut text).unwrap();
    let text = String::from_utf8_lossy(&text[..read]).into_owned();
    assert!(text.contains("start") && !text.contains("{}\n"), "{text}");
}

/// Keys of this user that a program could read there.
fn keys(lab: &Lab) -> String {
    format!(
        "grep -rl 'PRIVATE KEY' {} 2>/dev/null; echo end",
        lab.home(USER).display()
    )
}

/// The jail whose caller is the user, by the way that this process tests.
fn own(lab: &Lab) -> JailBuilder<'_> {
    lab.jail().as_user()
}

/// Whatever a run is told of the user's home, it hides those keys that others are told of.
// Proves: K14.
#[test]
fn keys_that_lie_elsewhere() {
    let lab = lab();
    let other = folder(&lab, "other");
    // As a user in his own right: under sudo neither variable is heeded.
    let rootless = |lab| own(lab).without_log().way(Way::Rootless);
    rootless(&lab).command(["true"]).run().expect_code(0);
    let places = [
        ("HOME", other.clone()),
        ("XDG_CONFIG_HOME", folder(&lab, "xdg")),
        ("HOME", folder(&lab, "third")),
    ];
    for (name, place) in &places {
        rootless(&lab)
            .env(name, place)
            .shell(&keys(&lab))
            .run()
            .expect_stdout("end");
    }
    for (name, place) in &places {
        rootless(&lab)
            .env(name, place)
            .shell(&keys(&lab))
            .run()
            .expect_stdout("end");
    }
    rootless(&lab).shell(&keys(&lab)).run().expect_stdout("end");
    own(&lab).shell(&keys(&lab)).run().expect_stdout("end");
    lab.jail()
        .option("--ephemeral-ca")
        .shell(&keys(&lab))
        .run()
        .expect_stdout("end");
    let outside = lab.unjailed().as_user().shell(&keys(&lab)).run();
    assert_eq!(outside.stdout.lines().count(), 5, "each has a key: {outside:#?}");
}

/// As in a container, where HOME says another place than the accounts, who cannot write to that of theirs.
// Proves: K14.
#[test]
fn keys_of_an_account_without_a_home_of_its_own() {
    let lab = lab();
    let (one, two) = (lab.fresh_path("one"), lab.fresh_path("two"));
    for home in [&one, &two] {
        fs::create_dir(home).unwrap();
        chown(home, Some(USER_ID), Some(USER_ID)).unwrap();
    }
    chown(lab.home(USER), Some(0), Some(0)).unwrap();
    fs::set_permissions(lab.home(USER), fs::Permissions::from_mode(0o755)).unwrap();
    let look = format!(
        "grep -rl 'PRIVATE KEY' {} {} 2>/dev/null; echo end",
        one.display(),
        two.display()
    );
    let jail = || own(&lab).without_log().way(Way::Rootless).env("HOME", &one);
    let elsewhere = || jail().env("XDG_CONFIG_HOME", &two);
    for jail in [jail(), elsewhere(), jail()] {
        jail.shell(&look).run().expect_code(0).expect_stdout("end");
    }
    let outside = lab.unjailed().as_user().shell(&look).run();
    assert_eq!(outside.stdout.lines().count(), 3, "{outside:#?}");
}

/// Who keeps dotfiles in a repository has links in the home. The command may give a link another name.
// Proves: K14.
#[test]
fn a_key_that_a_link_leads_to() {
    let lab = lab();
    let real = folder(&lab, "dotfiles");
    folder(&lab, "dotfiles/config");
    let config = lab.home(USER).join(".config");
    symlink(real.join("config"), &config).unwrap();
    nix::unistd::fchownat(
        nix::fcntl::AT_FDCWD,
        &config,
        Some(USER_ID.into()),
        Some(USER_ID.into()),
        nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW,
    )
    .unwrap();
    let home = lab.home(USER);
    let hide = format!(
        "cd {}; mv .config elsewhere; mkdir .config; mv dotfiles d; mv .local l; echo end",
        home.display()
    );
    own(&lab).shell(&hide).run().expect_stdout("end");
    own(&lab).shell(&keys(&lab)).run().expect_stdout("end");
    let outside = lab.unjailed().as_user().shell(&keys(&lab)).run();
    assert!(outside.stdout.lines().count() > 1, "{outside:#?}");
}

/// The same key by another mount.
// Proves: K02, K14.
#[test]
fn a_key_by_a_second_mount() {
    let lab = lab();
    own(&lab).command(["true"]).run().expect_code(0);
    let second = lab.fresh_path("second");
    fs::create_dir(&second).unwrap();
    lab.on_jailside(|| {
        let none = None::<&str>;
        nix::mount::mount(Some(&lab.home(USER)), &second, none, nix::mount::MsFlags::MS_BIND, none)?;
        Ok(())
    })
    .unwrap();
    let look = format!("grep -rl 'PRIVATE KEY' {} 2>/dev/null; echo end", second.display());
    own(&lab).shell(&look).run().expect_stdout("end");
    let outside = lab.unjailed().as_user().shell(&look).run();
    assert!(outside.stdout.lines().count() > 1, "{outside:#?}");
}

// Proves: K14.
#[test]
fn without_a_home_no_jail() {
    let lab = lab();
    // Nobody whom the host knows.
    let nobody = ["setpriv", "--reuid", "5555", "--regid", "5555", "--clear-groups"];
    let run = |home: &'static [&'static str]| {
        let jail = lab
            .jail()
            .way(Way::Netns)
            .without_log()
            .without_upstream_ca()
            .option("--ephemeral-ca");
        jail.through(nobody.iter().chain(home)).command(["echo", "ran"]).run()
    };
    run(&["env", "-u", "HOME"])
        .expect_code(125)
        .expect_stdout("")
        .expect_stderr_has("it is not known where the keys of user 5555 are");
    run(&["env", "HOME=/tmp"]).expect_code(0).expect_stdout("ran");
}

/// The command that runs as somebody else may put a link in place of the folder that root means.
// Proves: K09, K16.
#[test]
fn a_learnt_policy_that_a_link_leads_away() {
    let lab = lab();
    let (sub, roots) = (folder(&lab, "sub"), lab.fresh_path("roots"));
    fs::create_dir(&roots).unwrap();
    fs::set_permissions(&roots, fs::Permissions::from_mode(0o700)).unwrap();
    let swap = format!(
        "mv {0} {0}-moved && ln -s {1} {0}; echo swapped",
        sub.display(),
        roots.display()
    );
    let learn = |lab, out: &Path| {
        let jail: JailBuilder<'_> = Lab::jail(lab).subcommand("learn").without_log();
        jail.option("--user").option(USER).option("-o").option(out)
    };
    let outcome = learn(&lab, &sub.join("learned.yaml"))
        .shell(&swap)
        .run()
        .expect_stdout("swapped");
    assert_eq!(fs::read_dir(&roots).unwrap().count(), 0, "{outcome:#?}");
    assert!(lab.home(USER).join("sub-moved/learned.yaml").exists(), "{outcome:#?}");
    // The link is there now.
    learn(&lab, &sub.join("learned.yaml"))
        .shell("echo ran")
        .run()
        .expect_code(2)
        .expect_stdout("");
    assert_eq!(fs::read_dir(&roots).unwrap().count(), 0);
}

// Proves: K09, K16.
#[test]
fn a_page_that_a_link_leads_away() {
    let lab = lab();
    let (sub, roots) = (folder(&lab, "sub"), lab.file("roots", ""));
    let page = sub.join("page");
    symlink(&roots, &page).unwrap();
    let jail = || {
        lab.jail()
            .without_log()
            .option("--summary=github")
            .env("GITHUB_STEP_SUMMARY", &page)
    };
    jail()
        .command(["true"])
        .run()
        .expect_code(2)
        .expect_stderr_has("GITHUB_STEP_SUMMARY");
    assert_eq!(fs::read_to_string(&roots).unwrap(), "");
    fs::remove_file(&page).unwrap();
    jail().command(["true"]).run().expect_code(0);
    assert!(fs::read_to_string(&page).unwrap().contains("httpjail"));
}

/// A pipe that nobody writes to is an error, not a wait.
#[test]
fn a_policy_that_nobody_writes() {
    let lab = lab();
    let pipe = lab.home("root").join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let jail = |lab| Lab::jail(lab).way(Way::Netns).without_log().option("-c");
    jail(&lab)
        .option(&pipe)
        .command(["true"])
        .run()
        .expect_code(2)
        .expect_stderr_has("nobody wrote to it");
    let through = ["bash", "-c", "exec \"$@\" 3< <(echo 'rules: []')", "bash"];
    jail(&lab)
        .option("/dev/fd/3")
        .through(through)
        .command(["true"])
        .run()
        .expect_code(0);
}

/// Of the password `ticket`.
const HASH: &str = "$6$lab$tuXD99Xax7hQkyPH9jG9Ugc67COcPtQWfSZRfJrT9v8BPJURrGGqmQvISzEKFJOtJSnay2d1pIHU/2VLJx6qs1";

/// Who has just given sudo their password need not give it again; what they run in a jail cannot use that.
// Proves: P09.
#[test]
fn a_ticket_of_sudo_that_is_still_good() {
    let lab = lab();
    let etc = lab.dir().join("etc");
    let sudoers = format!(
        "Defaults !use_pty, !fqdn, !lecture, timestamp_type=global\nDefaults secure_path=/usr/bin:/bin\n{USER} ALL=(ALL) ALL\n"
    );
    // In place: these very files are mounted.
    fs::write(etc.join("sudoers"), sudoers).unwrap();
    fs::write(
        etc.join("shadow"),
        format!("root:*:19000:0:99999:7:::\n{USER}:{HASH}:19000:0:99999:7:::\n"),
    )
    .unwrap();
    let become_root = "sudo -n id -u; setsid -w sudo -n id -u; script -qec 'sudo -n id -u' /dev/null; echo end";
    let roots = |said: &str| said.lines().filter(|line| line.trim() == "0").count();
    let outside = || roots(&lab.unjailed().as_user().shell(become_root).run().stdout);
    assert_eq!(outside(), 0, "a password is needed");
    let give = "echo ticket | sudo -S -p '' -v";
    lab.unjailed().as_user().shell(give).run().expect_code(0);
    assert_eq!(outside(), 3, "the ticket is good");
    // The jail itself is started by it, unless it is the user's own.
    let jailed = own(&lab)
        .without_log()
        .option("--ephemeral-ca")
        .shell(become_root)
        .run();
    assert_eq!(roots(&jailed.stdout), 0, "{jailed:#?}");
    assert!(jailed.stdout.ends_with("end\n"), "{jailed:#?}");
}
