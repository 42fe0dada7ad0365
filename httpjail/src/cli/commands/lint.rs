//! `httpjail lint`: what is risky or dead in a policy, each with a request that shows it.

use serde::Serialize;

use crate::audit::printable;
use crate::cli::args::Lint;
use crate::cli::invoking_user::InvokingUser;
use crate::cli::output::{USAGE, print, usage};
use crate::cli::policy_file;
use crate::cli::replay;
use crate::config;
use crate::failure::Failure;
use crate::logging;
use crate::policy::lint::{self, Finding};
use crate::policy::{Policy, Rule};

#[derive(Serialize)]
struct Line<'a> {
    kind: &'static str,
    rule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    source: String,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mended: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

/// Lints. Returns the exit status: 0 if nothing is wrong, 1 if something is.
///
/// # Errors
/// When a rule, a file or a log is wrong.
pub(crate) fn run(args: &Lint, caller: &InvokingUser) -> Result<i32, Failure> {
    let mut rules = config::typed_rules(&args.rules).map_err(usage)?;
    let file = policy_file::named(args.config.as_deref(), caller)?;
    let mut warned = false;
    if let Some(file) = file {
        warned = !file.warnings.is_empty();
        file.warnings
            .iter()
            .for_each(|warning| logging::warn(&warning.message, warning.hint.as_deref()));
        rules.extend(file.rules);
    }
    if args.rules.is_empty() && args.config.is_none() {
        return Err(Failure {
            hint: Some("-r RULE or -c FILE gives it".into()),
            status: USAGE,
            ..Failure::new("there is no policy to look at")
        });
    }
    let policy = Policy::new(rules);
    let (mut found, left_out) = lint::findings(&policy);
    if !args.log.is_empty() {
        let seen = replay::requests(&args.log, caller)?;
        found.extend(lint::unused(&policy, seen.requests.iter().map(|(target, _)| target)));
        found.sort_by_key(|finding| finding.rule);
    }
    for finding in &found {
        if let Some(rule) = policy.rule(finding.rule) {
            show(finding, rule, args.json)?;
        }
    }
    if left_out > 0 {
        logging::warn(
            &format!("the last {left_out} rules were not looked at: there are too many"),
            None,
        );
    }
    let is_clean = !warned && found.is_empty();
    if is_clean && !args.json {
        let count = policy.rules().len();
        let rules = if count == 1 { "rule" } else { "rules" };
        logging::note(&format!("nothing is wrong with {count} {rules}"));
    }
    Ok(i32::from(!is_clean))
}

fn show(finding: &Finding, rule: &Rule, json: bool) -> Result<(), Failure> {
    if json {
        let line = Line {
            kind: finding.kind.word(),
            rule: rule.to_string(),
            name: rule.name(),
            source: rule.source().to_string(),
            message: &finding.message,
            request: finding.request.as_deref(),
            mended: finding.mended.as_deref(),
            hint: finding.hint.as_deref(),
        };
        let text = serde_json::to_string(&line).map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
        return print(&(text + "\n")).map(drop);
    }
    let word = finding.kind.word();
    let mut lines = vec![format!("{}: {word}: `{rule}` {}", rule.source(), finding.message)];
    lines.extend(finding.request.as_ref().map(|request| format!("  shown by: {request}")));
    lines.extend(match (&finding.mended, &finding.hint) {
        (Some(mended), _) => Some(format!("  write: {mended}")),
        (None, Some(hint)) => Some(format!("  hint: {hint}")),
        (None, None) => None,
    });
    let text: String = lines.iter().map(|line| format!("{}\n", printable(line))).collect();
    print(&text).map(drop)
}
