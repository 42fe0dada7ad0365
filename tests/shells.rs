//! Completion as a user has it, by the shells themselves, with the scripts that httpjail prints for them: bash and zsh at a
//! terminal.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use httpjail_lab::Lab;

use crate::support::{Expect as _, have, lab};
use crate::terminal::Terminal;

/// A folder on the PATH with httpjail and a program that no machine has.
fn programs(lab: &Lab) -> String {
    let folder = lab.fresh_path("bin");
    fs::create_dir(&folder).unwrap();
    symlink(lab.binary(), folder.join("httpjail")).unwrap();
    let program = folder.join("gizmo");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    folder.display().to_string()
}

/// What is typed, and what the screen shows after a tab.
const ROWS: [(&str, &[&str]); 12] = [
    ("httpjail ", &["attach", "doctor", "learn", "serve"]),
    ("httpjail docto", &["httpjail doctor "]),
    ("httpjail ca ", &["show", "path", "install", "remove", "rotate"]),
    ("httpjail --backend ", &["auto", "ebpf", "netns", "weak"]),
    ("httpjail --backend=eb", &["httpjail --backend=ebpf"]),
    ("httpjail --log-fo", &["httpjail --log-format"]),
    ("httpjail giz", &["httpjail gizmo "]),
    ("httpjail -r x -- giz", &["httpjail -r x -- gizmo "]),
    ("httpjail -c onl", &["httpjail -c only-file"]),
    // What stands behind the command is not ours: `--verbose` neither, nor the name of one of our commands.
    ("httpjail gizmo --verb", &["httpjail gizmo --verb%%"]),
    ("httpjail gizmo -- --verb", &["httpjail gizmo -- --verb%%"]),
    ("httpjail gizmo onl", &["httpjail gizmo only-file"]),
];

/// Starts a shell by one line, has it load our script by another, and types each row with a tab at its end.
fn check(shell: &str, start: &str, load: &str) {
    if !have("tmux") || !have(shell) {
        return;
    }
    let lab = lab();
    let (programs, folder) = (programs(&lab), lab.fresh_path("folder"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("only-file"), "").unwrap();
    let terminal = Terminal::open(&lab);
    terminal.enter(&format!("cd {}; export PATH={programs}:$PATH", folder.display()));
    terminal.enter(start);
    terminal.sees("inside>");
    terminal.enter(load);
    for (line, shown) in ROWS {
        terminal.enter("clear");
        terminal.types(line);
        terminal.key("Tab");
        if let [shown] = shown {
            // Typed behind what was completed, it tells that there is no more to wait for.
            terminal.types("%%");
            terminal.sees("%%");
            assert!(terminal.screen().contains(shown), "{line}: {}", terminal.screen());
        }
        shown.iter().for_each(|word| terminal.sees(word));
        terminal.key("C-u");
    }
}

#[test]
fn bash_completes() {
    let start = "exec env PS1='in''side> ' bash --norc --noprofile -i";
    check(
        "bash",
        start,
        "bind 'set show-all-if-ambiguous on'; source <(httpjail completions bash)",
    );
}

#[test]
fn zsh_completes() {
    let load = "autoload -U compinit; compinit -D -u; source <(httpjail completions zsh)";
    check("zsh", "exec env PS1='in''side> ' zsh -f -i", load);
}

/// fish tells by itself what it would offer.
#[test]
fn fish_completes() {
    if !have("fish") {
        return;
    }
    let lab = lab();
    let programs = programs(&lab);
    fs::write(lab.dir().join("only-file"), "").unwrap();
    for (line, shown) in ROWS {
        let ask = format!("set PATH {programs} $PATH; httpjail completions fish | source; complete -C'{line}'");
        let outcome = lab
            .unjailed()
            .command(["fish", "--no-config", "-c", &ask])
            .run()
            .expect_code(0);
        let offered: Vec<&str> = outcome
            .stdout
            .lines()
            .filter_map(|line| line.split('\t').next())
            .collect();
        let last = |line: &str| {
            line.split(' ')
                .rfind(|word| !word.is_empty())
                .unwrap_or_default()
                .to_owned()
        };
        match shown {
            [whole] if whole.ends_with("%%") => assert!(offered.is_empty(), "{line}: {outcome:#?}"),
            [whole] => assert_eq!(offered, [last(whole)], "{line}"),
            words => assert!(words.iter().all(|word| offered.contains(word)), "{line}: {outcome:#?}"),
        }
    }
}
