use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::*;
use crate::cli::args::Cli;
use crate::config::file;
use crate::config::options::{Auth, Backend, DnsMode, Level, LogFormat, UpstreamNetwork};
use crate::config::types::{Command, Log};
use crate::config::{LogTarget, Mode, Publish};
use crate::net::Inbound;
use crate::policy::{RuleId, Warning};

fn build(line: &[&str], file: Option<&str>) -> Result<Config, ConfigError> {
    let cli = Cli::try_parse_from([&["httpjail"], line, &["--", "cmd", "-x"]].concat()).expect("arguments");
    cli.run
        .configure(file.map(|text| file::parse("r.yaml", text)).transpose()?)
}

fn good(line: &[&str], file: Option<&str>) -> Config {
    build(line, file).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

// Proves: H06.
#[test]
fn nothing_typed_is_the_safe_thing() {
    let config = good(&[], None);
    assert_eq!(
        config.command,
        Command {
            program: "cmd".into(),
            args: vec!["-x".into()]
        }
    );
    assert!(config.policy.is_empty() && config.intercept_tls && !config.ephemeral_ca);
    assert_eq!(
        (config.mode, config.backend, config.dns),
        (Mode::Enforce, Backend::Auto, DnsMode::Synthetic)
    );
    assert_eq!(
        config.log,
        Log {
            target: LogTarget::Stderr,
            format: LogFormat::Text,
            quiet: false
        }
    );
    assert_eq!(
        (config.verbosity, config.timeout, config.user),
        (Level::Warn, None, None)
    );
    assert_eq!(config.warnings, []);
}

#[test]
fn typed_rules_come_first() {
    let config = good(
        &["-r", r"deny: ^https://a\.test/x", "-r", r"allow: ^https://a\.test/"],
        Some("rules:\n- {action: deny, host: b.test}\n"),
    );
    let rule = |id| {
        config
            .policy
            .rule(RuleId(id))
            .map(|rule| format!("{rule} ({})", rule.source()))
    };
    assert_eq!(rule(0).as_deref(), Some(r"deny: ^https://a\.test/x (-r 1)"));
    assert_eq!(rule(1).as_deref(), Some(r"allow: ^https://a\.test/ (-r 2)"));
    assert_eq!(rule(2).as_deref(), Some("deny: host b.test (r.yaml:2)"));
    assert_eq!(rule(3), None);
}

#[test]
fn the_file_sets_options_and_the_command_line_wins() {
    let file = "dry-run: true\nno-tls-intercept: true\nephemeral-ca: true\nbackend: ebpf\nuser: a\ntimeout: 5\nlog: f\nlog-format: json\n\
                allow-socket: /f\nupstream-ca: [/c]\nlogging: {level: debug}\n";
    let config = good(&[], Some(file));
    assert_eq!(
        (config.mode, config.intercept_tls, config.ephemeral_ca),
        (Mode::DryRun, false, true)
    );
    assert_eq!((config.backend, config.user.as_deref()), (Backend::Ebpf, Some("a")));
    assert_eq!(
        (config.timeout, config.verbosity),
        (Some(Duration::from_secs(5)), Level::Debug)
    );
    assert_eq!(
        config.log,
        Log {
            target: LogTarget::File("f".into()),
            format: LogFormat::Json,
            quiet: false
        }
    );
    assert_eq!(
        (config.allow_sockets, config.upstream_ca),
        (vec!["/f".into()], vec!["/c".into()])
    );

    let config = good(
        &[
            "--log-only",
            "--backend",
            "auto",
            "--user",
            "b",
            "--timeout",
            "9",
            "--log",
            "l",
            "--log-format",
            "text",
            "-vvv",
            "-q",
            "--allow-socket",
            "/x",
        ],
        Some(file),
    );
    assert_eq!(
        (config.mode, config.backend, config.user.as_deref()),
        (Mode::LogOnly, Backend::Auto, Some("b"))
    );
    assert_eq!(
        (config.timeout, config.verbosity),
        (Some(Duration::from_secs(9)), Level::Trace)
    );
    assert_eq!(
        config.log,
        Log {
            target: LogTarget::File("l".into()),
            format: LogFormat::Text,
            quiet: true
        }
    );
    assert_eq!(config.allow_sockets, [PathBuf::from("/x")]);

    let config = good(&[], Some("quiet: true\nverbose: 2\n"));
    assert_eq!((config.log.quiet, config.verbosity), (true, Level::Debug));
}

#[test]
fn every_long_option_is_a_key_of_the_file() {
    use clap::CommandFactory as _;
    let schema: serde_json::Value = serde_json::from_str(file::SCHEMA).expect("JSON");
    let keys = schema["properties"].as_object().expect("keys");
    // Rules are `rules:`; a file names no other, nothing to act on or to take a jail from, and no run, of which it may have many.
    let elsewhere = [
        "rule",
        "name",
        "config",
        "locked",
        "cgroup",
        "pool",
        "container",
        "pid",
        "unit",
        "help",
        "version",
    ];
    let command = Cli::command();
    let others = command
        .get_subcommands()
        .filter(|other| ["serve", "attach"].contains(&other.get_name()));
    let mut seen = 0;
    for option in others.chain([&command]).flat_map(|command| command.get_arguments()) {
        let Some(name) = option.get_long().filter(|name| !elsewhere.contains(name)) else {
            continue;
        };
        assert!(keys.contains_key(name), "--{name}");
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn passthrough_of_the_file() {
    let check = |rules: &str, warned: bool| {
        let text = format!("tls: {{passthrough: [pinned.test, '*.bank.test']}}\nrules:\n{rules}");
        let config = good(&[], Some(&text));
        assert_eq!(config.passthrough.len(), 2);
        let warns = |warning: &Warning| {
            warning
                .message
                .contains("no rule allows `CONNECT https://pinned.test/`")
        };
        assert_eq!(
            config.warnings.iter().any(warns),
            warned,
            "{rules} {:?}",
            config.warnings
        );
    };
    check("  - {action: allow, host: pinned.test}\n", false);
    check("  - {action: allow, host: pinned.test, methods: connect}\n", false);
    check("  - {action: allow, host: pinned.test, path: /p}\n", true);
    check("  - {action: allow, host: pinned.test, methods: get}\n", true);
}

#[test]
fn logging_of_the_readme() {
    let config = good(
        &["-v"],
        Some("logging:\n  level: info\n  file: /var/log/httpjail.log\n  format: json\n"),
    );
    assert_eq!(config.log.target, LogTarget::File("/var/log/httpjail.log".into()));
    assert_eq!((config.log.format, config.verbosity), (LogFormat::Json, Level::Info));
}

#[test]
fn what_weak_mode_lacks_is_refused() {
    for (line, file, name) in [
        (&["--weak", "--interactive"][..], "", "--interactive"),
        (&["--weak", "--user", "u"], "", "--user"),
        (&["--weak"], "user: u", "--user"),
        (&["--weak", "--dns", "off"], "", "--dns"),
        (&["--weak"], "interactive: true", "--interactive"),
        (&["--weak", "--publish", "3000"], "", "--publish"),
        (&["--weak"], "publish: 3000", "--publish"),
        (&["--weak", "--allow-socket", "/s"], "", "--allow-socket"),
    ] {
        let error = build(line, Some(file)).map(|config| config.command).expect_err(name);
        assert_eq!(error, ConfigError::OfJails(name), "{line:?} {file}");
        assert!(error.hint().is_some());
    }
    for (line, file) in [
        (&["--backend", "ebpf", "--dns", "synthetic"][..], ""),
        (&["--dns", "synthetic"], "dns: off"),
        (&["--dns", "relay"], ""),
        (&[], "dns: open"),
        (&[], "interactive: false"),
        (&["--weak"], ""),
        (&["--backend", "weak"], ""),
        (&[], "weak: true"),
    ] {
        assert!(build(line, Some(file)).is_ok(), "{line:?} {file}");
    }
}

#[test]
fn published_ports() {
    let publish = |text: &str| {
        build(&["--publish", text], None).map(|config| {
            let Publish { host, port } = config.publish[0];
            let warned = config
                .warnings
                .iter()
                .any(|warning| warning.message.contains("other machines"));
            (host.map(|host| host.to_string()), port, warned)
        })
    };
    for (text, host, port, warned) in [
        ("3000", None, 3000, false),
        ("localhost:3000", None, 3000, false),
        ("127.0.0.1:3000", Some("127.0.0.1"), 3000, false),
        ("[::1]:65535", Some("::1"), 65535, false),
        ("0.0.0.0:1", Some("0.0.0.0"), 1, true),
        ("192.0.2.1:80", Some("192.0.2.1"), 80, true),
    ] {
        assert_eq!(publish(text), Ok((host.map(str::to_owned), port, warned)), "{text}");
    }
    for text in [
        "",
        "0",
        "65536",
        "http",
        ":80",
        "example.test:80",
        "8080:3000",
        "127.0.0.1",
        "127.0.0.1:0",
    ] {
        assert_eq!(publish(text), Err(ConfigError::Publish(text.into())), "{text}");
    }
    let ports = |line: &[&str]| {
        let config = build(line, Some("publish: [\"1\", \"2\"]")).expect("a configuration");
        config.publish.iter().map(|publish| publish.port).collect::<Vec<_>>()
    };
    assert_eq!((ports(&[]), ports(&["--publish", "3"])), (vec![1, 2], vec![3]));
}

#[test]
fn contradictions_in_a_file() {
    for text in [
        "dry-run: true\nlog-only: true\n",
        "log: a\nlogging: {file: a}\n",
        "log-format: json\nlogging: {format: json}\n",
        "weak: true\nbackend: ebpf\n",
        "verbose: 1\nlogging: {level: info}\n",
    ] {
        assert!(
            matches!(build(&[], Some(text)), Err(ConfigError::Conflict(..))),
            "{text}"
        );
    }
}

// Proves: H06.
#[test]
fn wrong_rules_and_files() {
    let error = build(&["-r", "allow: a", "-r", r"github\.com"], None).expect_err("a wrong rule");
    assert_eq!(
        error.to_string(),
        r"-r 2 (`github\.com`): missing `:`: expected `action[-method]: pattern`"
    );
    assert_eq!(error.hint().as_deref(), Some(r#"write "allow: github\.com""#));
    let error = build(&[], Some("rulez: []\n")).expect_err("a wrong file");
    assert!(
        error.to_string().starts_with("r.yaml:1:1: unknown key `rulez`"),
        "{error}"
    );
    assert_eq!(error.hint().as_deref(), Some("did you mean `rules`?"));
    assert_eq!(
        Run::default().configure(None).map(|config| config.mode),
        Err(ConfigError::NoCommand)
    );
}

// Proves: H05.
#[test]
fn warnings_come_along() {
    let rules = ["-r", r"allow: github\.com", "-r", r"deny-get: ^https://a\.test/x"];
    let warnings = |line: &[&str]| {
        good(
            line,
            Some("rules:\n- action: allow\n  pattern: \"^https://b\\.test/\"\n"),
        )
        .warnings
    };
    let found = warnings(&rules);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].message.contains("is read as") && found[1].message.contains("not pinned"));
    assert_eq!(warnings(&[&rules[..], &["--no-tls-intercept"]].concat()).len(), 3);
    assert_eq!(warnings(&[&rules[..], &["--log-only"]].concat()).len(), 1);
}

#[test]
fn attaching_refuses_what_only_a_command_can_have() {
    let attach = |change: fn(&mut Attach)| {
        let mut attach = Attach {
            shared: Shared::default(),
            ..Attach::default()
        };
        change(&mut attach);
        attach
    };
    let config = attach(|_| {}).configure(None).expect("a configuration");
    assert_eq!(config.backend, Backend::Ebpf);
    assert_eq!(config.upstream_network, UpstreamNetwork::Auto);
    let file = || Some(file::parse("f.yaml", "upstream-network: host\n").expect("a file"));
    let config = attach(|_| {}).configure(file()).expect("a configuration");
    assert_eq!(config.upstream_network, UpstreamNetwork::Host);
    let typed = attach(|attach| attach.upstream_network = Some(UpstreamNetwork::Container)).configure(file());
    assert_eq!(
        typed.expect("a configuration").upstream_network,
        UpstreamNetwork::Container
    );
    for (line, name) in [
        ("upstream-network: host", "upstream-network"),
        ("inbound: 10.0.0.1:1", "inbound"),
    ] {
        assert_eq!(build(&[], Some(line)).err(), Some(ConfigError::Attaching(name)));
    }
    for (text, expected) in [
        ("10.0.0.0/8:8080", Some(("10.0.0.0", 8, 8080))),
        ("192.0.2.7:80", Some(("192.0.2.7", 32, 80))),
        ("[fd00::/8]:443", Some(("fd00::", 8, 443))),
        ("[fd00::1]:65535", Some(("fd00::1", 128, 65535))),
        ("127.0.0.1:80", None),
        ("[::1]:80", None),
        ("10.0.0.0/33:80", None),
        ("10.0.0.0/8:0", None),
        ("10.0.0.0/8", None),
        ("fd00::/8:80", None),
        ("[10.0.0.1]:80", None),
        ("[::ffff:10.0.0.1]:80", None),
        ("[::1:80", None),
        ("localhost:80", None),
        (":80", None),
    ] {
        let config = attach(|_| {});
        let config = Attach {
            inbound: vec![text.into()],
            ..config
        };
        let found = config.configure(None).map(|config| config.inbound[0]);
        let expected = expected.map(|(network, bits, port)| Inbound {
            network: network.parse().unwrap(),
            bits,
            port,
        });
        assert_eq!(
            found,
            expected.ok_or_else(|| ConfigError::Inbound(text.into())),
            "{text}"
        );
    }
    let error = attach(|attach| attach.shared.ephemeral_ca = true).configure(None).err();
    assert_eq!(error, Some(ConfigError::Conflict("attach", "--ephemeral-ca")));
    for (line, name) in [
        ("timeout: 1", "timeout"),
        ("user: ann", "user"),
        ("allow-socket: [/s]", "allow-socket"),
        ("publish: [3000]", "publish"),
        ("interactive: true", "interactive"),
    ] {
        let text = format!("rules: []\n{line}\n");
        let file = file::parse("f.yaml", &text).expect("a file");
        let error = attach(|_| {}).configure(Some(file)).err();
        assert_eq!(error, Some(ConfigError::Conflict("attach", name)));
    }
}

#[test]
fn a_proxy_for_everybody_is_for_this_host_alone() {
    let serve = |line: &[&str]| {
        let line = [&["httpjail", "serve"], line].concat();
        let Some(crate::cli::args::Other::Serve(serve)) = Cli::try_parse_from(line).expect("arguments").other else {
            panic!("not serving")
        };
        serve.configure(None)
    };
    let with = |text: &str| {
        let file = file::parse("f.yaml", text).expect("a file");
        Serve::default()
            .configure(Some(file))
            .map(|(_, serving)| serving.listen)
    };
    assert_eq!(with("listen: '[::1]:9'\nauth: none\n"), Ok("[::1]:9".parse().unwrap()));
    assert!(matches!(
        with("listen: 0.0.0.0:9\nauth: none\n"),
        Err(ConfigError::Open(_))
    ));
    assert_eq!(with("user: ann\n"), Err(ConfigError::OfJails("--user")));
    assert_eq!(with("timeout: 1\n"), Err(ConfigError::Conflict("serve", "timeout")));
    assert_eq!(with("backend: netns\n"), Err(ConfigError::Conflict("serve", "backend")));
    for (text, name) in [("listen: 127.0.0.1:9", "listen"), ("auth: none", "auth")] {
        assert_eq!(build(&[], Some(text)).map(|_| ()), Err(ConfigError::Serving(name)));
    }
    for listen in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1"] {
        assert!(serve(&["--listen", listen, "--auth", "none"]).is_ok(), "{listen}");
    }
    for listen in ["0.0.0.0:1", "192.0.2.1:1", "[::]:1", "[::ffff:127.0.0.1]:1"] {
        let error = serve(&["--listen", listen, "--auth", "none"]).expect_err(listen);
        assert_eq!(error, ConfigError::Open(listen.parse().unwrap()));
        assert!(error.hint().is_some());
        assert!(serve(&["--listen", listen]).is_ok(), "{listen}");
    }
    let (config, serving) = serve(&[]).expect("a configuration");
    assert_eq!(
        (config.backend, serving.listen, serving.auth),
        (Backend::Weak, "127.0.0.1:8080".parse().unwrap(), Auth::Token)
    );
}
