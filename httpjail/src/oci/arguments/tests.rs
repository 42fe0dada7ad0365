//! Command lines of engines, and those that are refused.

use super::*;

fn read(line: &str) -> Result<Call, Refused> {
    Call::read(None, line.split_whitespace().map(OsString::from).collect())
}

#[test]
fn what_engines_type_is_understood() {
    let call = read(
        "--httpjail-policy agents --root /run/docker/runtime-runc/moby --log /b/log.json --log-format json --systemd-cgroup create \
         --bundle /b --pid-file /b/init.pid --console-socket /tmp/s abc",
    )
    .expect("docker's");
    assert_eq!(call.own.policy.as_deref(), Some("agents"));
    let created = Request::Create {
        bundle: "/b".into(),
        config: None,
        id: "abc".into(),
    };
    assert_eq!(call.request, created);
    let passed: Vec<_> = call.passed.iter().map(|word| word.to_string_lossy()).collect();
    assert_eq!(
        passed.join(" "),
        "--root /run/docker/runtime-runc/moby --log /b/log.json --log-format json --systemd-cgroup create --bundle /b \
         --pid-file /b/init.pid --console-socket /tmp/s abc"
    );
    let call = read("--log=/l run -b=/x -f other.json id").expect("crun's");
    let run = Request::Create {
        bundle: "/x".into(),
        config: Some("other.json".into()),
        id: "id".into(),
    };
    assert_eq!(call.request, run);
    let call = read("exec --process /p.json --detach --pid-file /f abc").expect("exec");
    let exec = |process: Option<&str>, capabilities: &[&str]| Request::Exec {
        id: "abc".into(),
        process: process.map(PathBuf::from),
        capabilities: capabilities.iter().map(|name| (*name).to_owned()).collect(),
    };
    assert_eq!(call.request, exec(Some("/p.json"), &[]));
    // What follows the id is the process's own.
    let call = read("exec --cap CAP_SYS_ADMIN abc ls --process /other --cgroup /").expect("by hand");
    assert_eq!(call.request, exec(None, &["CAP_SYS_ADMIN"]));
    let deleted = Request::Delete { id: Some("abc".into()) };
    assert_eq!(read("delete --force abc").expect("delete").request, deleted);
    assert_eq!(read("--version").expect("version").request, Request::Other);
    assert_eq!(read("--root /r state abc").expect("state").request, Request::Other);
}

#[test]
fn what_is_not_understood_is_refused() {
    for (line, said) in [
        ("--new-option create -b /b id", "unknown option `--new-option`"),
        ("create --new-option -b /b id", "unknown option `--new-option`"),
        ("exec --new-option x id sh", "unknown option `--new-option`"),
        ("exec --cgroup /other id sh", "outside of the cgroup"),
        ("restore -b /b id", "cannot be restored"),
        ("fork id", "unknown command `fork`"),
        ("create -b /b", "needs a container's id"),
        (
            "--httpjail-polity x create -b /b id",
            "unknown option `--httpjail-polity`",
        ),
        ("--root", "needs a value"),
    ] {
        let refused = read(line).expect_err(line);
        assert!(refused.message.contains(said), "{line}: {refused}");
    }
    // The engine hears of it all the same.
    let words: Vec<OsString> = "--new --log /l --log-format json restore -b /b id"
        .split(' ')
        .map(Into::into)
        .collect();
    assert_eq!(log_of(&words), Some(("/l".into(), true)));
}

#[test]
fn the_name_of_the_program_chooses_and_an_option_wins() {
    let words = |line: &str| line.split_whitespace().map(OsString::from).collect();
    let call = Call::read(Some("agents"), words("create id")).expect("by name");
    assert_eq!(call.own.policy.as_deref(), Some("agents"));
    let call = Call::read(Some("agents"), words("--httpjail-policy=other create id")).expect("by option");
    assert_eq!(call.own.policy.as_deref(), Some("other"));
}
