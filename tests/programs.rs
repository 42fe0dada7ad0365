//! What programs do by habit goes on in a jail: start where their caller is, bring a sandbox or a jail of their own, renew
//! the trust store.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use httpjail_lab::{JailBuilder, Lab, USER, Way, eventually};

use crate::support::{Expect as _, PYTHON, have, lab};

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
        "warning: the current directory no longer exists; the command starts in ",
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
    let message = "error: cannot make a jail inside a jail\n\
                   hint: this process is jailed already; httpjail --weak adds rules to it\n";
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
    assert!(told.stdout.starts_with("cannot make a jail inside a jail"), "{told:#?}");
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

/// As in chroots and containers whose maker has cleaned up behind himself, or with a device of a virtual machine's.
#[test]
fn odd_mounts_of_the_host_are_no_obstacle() {
    let lab = lab();
    let [resolver, net] = ["resolver", "net"].map(|name| lab.fresh_path(name).display().to_string());
    let script = format!(
        "set -e
        cp /etc/resolv.conf {resolver}; touch {resolver}; mount --bind {resolver} /etc/resolv.conf; rm {resolver}
        mkdir -p {net}; mount -t tmpfs none {net}; cp -a /dev/. {net}/ 2>/dev/null || true; mkdir -p {net}/net/below
        mount --bind {net} /dev; mount -t tmpfs none /dev/net/below
        exec \"$@\""
    );
    let jail = lab.jail().through(["unshare", "-m", "sh", "-c", &script, "sh"]);
    let outcome = jail
        .rule("allow: .*")
        .shell("getent ahostsv4 ok.test; curl -sS https://ok.test/bytes/5; ls /dev")
        .run();
    let outcome = outcome.expect_code(0);
    assert!(
        outcome.stdout.starts_with("198.1") && outcome.stdout.contains("xxxxx"),
        "{outcome:#?}"
    );
    assert!(!outcome.stdout.contains("\nnet"), "{outcome:#?}");
}

/// Only names tell where some sockets are: one look at each process serves for all of them.
#[test]
fn processes_are_looked_at_once_however_many_sockets_there_are() {
    if !have("strace") {
        return;
    }
    let lab = lab();
    let listen = "import os, socket, sys
os.chdir(sys.argv[1])
all = [socket.socket(socket.AF_UNIX) for _ in range(int(sys.argv[2]))]
for number, one in enumerate(all):
    one.bind('socket-%d' % number); one.listen()
print('up', flush=True)
sys.stdin.read()";
    let looks = |sockets: &str| {
        let folder = lab.fresh_path("sockets");
        fs::create_dir(&folder).unwrap();
        let (theirs, ours) = std::io::pipe().unwrap();
        let folder = folder.display().to_string();
        let line = [PYTHON, "-c", listen, &folder, sockets];
        let holder = lab.unjailed().stdin_from(theirs).command(line).start().unwrap();
        assert!(
            eventually(Duration::from_secs(20), || holder.stdout() == "up\n"),
            "{}",
            holder.stderr()
        );
        let trace = lab.file("trace", "");
        fs::set_permissions(&trace, fs::Permissions::from_mode(0o666)).unwrap();
        let strace = ["strace", "-qq", "-e", "trace=openat", "-o", trace.to_str().unwrap()];
        // Only a tracer with rights of its own lets a program become another: not under sudo.
        lab.jail().through(strace).command(["true"]).run().expect_code(0);
        drop(ours);
        holder.wait().unwrap().expect_code(0);
        let own = format!("\"/proc/{}/fd\"", std::process::id());
        fs::read_to_string(trace).unwrap().matches(&own).count()
    };
    assert_eq!(looks("1"), 1);
    assert_eq!(looks("20"), 1);
}

/// What `apt-get install ca-certificates` runs, and whoever has an authority of his own.
#[test]
fn the_trust_store_can_be_renewed() {
    if !have("update-ca-certificates") {
        return;
    }
    let lab = lab();
    // Copies, in a mount namespace of this run: the machine's own are not touched.
    let script = "set -e
        mount -t tmpfs -o mode=755 none /usr/local/share/ca-certificates
        mkdir -m 755 certs; cp -a /etc/ssl/certs/. certs; mount --bind certs /etc/ssl/certs
        # What the machine's was made of may have changed since.
        update-ca-certificates --hooksdir /nowhere > renewed.log 2>&1
        ln -sf ca-certificates.crt /etc/ssl/certs/to-be-removed
        count() { grep -c 'BEGIN CERTIFICATE' /etc/ssl/certs/ca-certificates.crt; }
        before=$(count); \"$@\"
        echo added $(($(count) - before))
        openssl verify -CAfile /etc/ssl/certs/ca-certificates.crt corporate.crt
        ! test -L /etc/ssl/certs/to-be-removed
        find -L /etc/ssl/certs /usr/local/share/ca-certificates -type f -exec grep -lF \"$(sed -n 2p ours.crt)\" {} + || true
        echo end";
    let inside = "set -e
        cat $SSL_CERT_DIR/../ca.crt > ours.crt
        cp corporate.crt /usr/local/share/ca-certificates/
        update-ca-certificates
        rm /etc/ssl/certs/to-be-removed
        unset CURL_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR
        for i in $(seq 200); do
            if curl -sS https://ok.test/bytes/5; then exit 0; fi
            sleep 0.1
        done
        exit 1";
    fs::copy(lab.upstream_ca(), lab.dir().join("corporate.crt")).unwrap();
    let jail = lab
        .jail()
        .rule("allow: .*")
        .through(["unshare", "-m", "sh", "-c", script, "sh"]);
    let outcome = jail.shell(inside).run().expect_code(0);
    assert!(outcome.stdout.contains("xxxxx"), "{outcome:#?}");
    let after = "added 1\ncorporate.crt: OK\nend\n";
    assert!(outcome.stdout.ends_with(after), "{outcome:#?}");
}

#[test]
fn a_program_with_authorities_of_its_own_is_told_of() {
    let lab = lab();
    let ask = format!(
        "curl -sS --cacert {} https://ok.test/bytes/5",
        lab.upstream_ca().display()
    );
    let jail = lab.jail().without_log().rule("allow: .*");
    let outcome = jail.shell(&format!("{ask}; {ask}")).run().expect_code(60);
    let told = outcome
        .stderr
        .matches("add the output of `httpjail ca show` to it")
        .count();
    assert_eq!(told, 1, "{outcome:#?}");
    // As it says.
    let both = format!(
        "cat {} $SSL_CERT_DIR/../ca.crt > both; curl -sS --cacert both https://ok.test/bytes/5",
        lab.upstream_ca().display()
    );
    lab.jail()
        .rule("allow: .*")
        .shell(&format!("cd $(mktemp -d) && {both}"))
        .run()
        .expect_code(0)
        .expect_stdout("xxxxx");
}
