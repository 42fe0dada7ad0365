//! The hints of a run, while it goes on and at its end. They depend on what the run is for, so that no hint names what the user does
//! already, or what cannot help here.

use std::path::Path;

use crate::audit::printable;
use crate::config::{Approval, Config, Mode, Purpose};

/// What is said once, of the first request that no rule matched, where there is no rule at all.
pub(crate) fn no_rules(config: &Config) -> Option<String> {
    // Of a file that a run is held against the end of it says how to add to it; who is asked has decided.
    if !config.policy.is_empty() || config.purpose != Purpose::Work || config.approval != Approval::Nobody {
        return None;
    }
    let has_command = !config.command.program.is_empty();
    let hint = match (config.mode, has_command) {
        (Mode::LogOnly | Mode::Learn, _) => return None,
        (Mode::Enforce, true) => {
            "no rule was given, so everything is denied; try --log-only to see what the command asks for, or httpjail learn to \
             have a policy written"
        }
        // `learn` is for commands.
        (Mode::Enforce, false) => "no rule was given, so everything is denied; try --log-only to see what is asked for",
        (Mode::DryRun, true) => {
            "no rule was given, so without --dry-run everything would be denied; httpjail learn has a policy written"
        }
        (Mode::DryRun, false) => "no rule was given, so without --dry-run everything would be denied",
    };
    Some(hint.to_owned())
}

/// Whether the rule is shown that would allow what was denied: while learning and with `--locked`, rules are for the file alone.
pub(crate) fn suggests(config: &Config) -> bool {
    config.purpose == Purpose::Work
}

/// How all of what `--locked FILE` denied comes to be allowed.
pub(crate) fn locked(file: &Path) -> String {
    let file = file.display().to_string();
    format!(
        "to allow all of it: httpjail learn --update -o {} -- COMMAND",
        printable(&file)
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Other};

    fn config(line: &[&str]) -> Config {
        let command: &[&str] = match line.first() {
            Some(&("serve" | "attach")) => &[],
            _ => &["--", "npm", "ci"],
        };
        let cli = Cli::parse_from([&["httpjail"], line, command].concat());
        let made = match cli.other {
            Some(Other::Learn(learn)) => learn.configure(None),
            Some(Other::Serve(serve)) => serve.configure(None).map(|(config, _)| config),
            Some(Other::Attach(attach)) => attach.configure(None),
            _ => cli.run.configure(None),
        };
        made.expect("a configuration")
    }

    /// An invocation, what its hint says and what not, and whether a rule is suggested.
    type Row = (
        &'static [&'static str],
        &'static [&'static str],
        &'static [&'static str],
        bool,
    );

    /// Every mode, what it says of a denial where there is no rule, and whether it shows the rule that would allow it.
    #[test]
    fn every_mode_has_its_own() {
        const DENIED: &str = "everything is denied";
        const TRIED: &str = "try --log-only";
        const WOULD: &str = "without --dry-run everything would be denied";
        const LEARN: &str = "httpjail learn";
        let table: &[Row] = &[
            (&[], &[DENIED, TRIED, LEARN], &["dry-run"], true),
            (&["--weak"], &[DENIED, TRIED, LEARN], &["dry-run"], true),
            (&["serve"], &[DENIED, TRIED], &[LEARN, "command"], true),
            (
                &["attach", "--cgroup", "x"],
                &[DENIED, TRIED],
                &[LEARN, "command"],
                true,
            ),
            (&["--dry-run"], &[WOULD, LEARN], &["--log-only"], true),
            (&["serve", "--dry-run"], &[WOULD], &["--log-only", LEARN], true),
            (&["--log-only"], &[], &[], true),
            (&["serve", "--log-only"], &[], &[], true),
            (&["attach", "--cgroup", "x", "--log-only"], &[], &[], true),
            (&["learn"], &[], &[], false),
            (&["learn", "--update"], &[], &[], false),
            (&["--locked", "no.yaml"], &[], &[], false),
            (&["--interactive"], &[], &[], true),
            (&["--approve-with", "x"], &[], &[], true),
            (&["serve", "--approve-with", "x"], &[], &[], true),
            (&["-r", "deny: x"], &[], &[], true),
        ];
        for (line, says, says_not, suggests_a_rule) in table {
            let config = config(line);
            let hint = no_rules(&config);
            assert_eq!(hint.is_some(), !says.is_empty(), "{line:?}: {hint:?}");
            let hint = hint.unwrap_or_default();
            assert!(says.iter().all(|words| hint.contains(words)), "{line:?}: {hint}");
            assert!(!says_not.iter().any(|words| hint.contains(words)), "{line:?}: {hint}");
            assert_eq!(suggests(&config), *suggests_a_rule, "{line:?}");
        }
    }
}
