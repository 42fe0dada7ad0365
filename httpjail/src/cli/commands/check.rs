//! `httpjail check`: what a policy says of requests, without making them.
//!
//! The requests are typed, read from stdin, taken from a JSON log, or are the tests of the file itself. Nothing is sent.

mod output;

use std::io::{self, BufRead as _};
use std::path::Path;

use http::Method;

use self::output::{Change, Found, Printer};
use crate::cli::args::Check;
use crate::cli::invoking_user::InvokingUser;
use crate::cli::output::{USAGE, usage};
use crate::cli::policy_file;
use crate::cli::replay;
use crate::config;
use crate::config::file::{self, Test};
use crate::failure::Failure;
use crate::logging;
use crate::net::{HostPattern, Scheme};
use crate::policy::{Action, Policy, Reason, Rule, Target, Verdict, request};
use crate::proxy::{self, Foreseen};

/// A policy, as far as it says what becomes of a request.
struct Judge {
    policy: Policy,
    intercept_tls: bool,
    passthrough: Vec<HostPattern>,
    tests: Vec<Test>,
}

/// What came of it all.
#[derive(Debug, Default)]
struct Score {
    /// Something was denied, failed or changed.
    denied: bool,
    /// Something was no request.
    wrong: bool,
}

/// Checks what was asked for. Returns the exit status: 0 if all was allowed, 1 if not, 2 if something was no request.
///
/// # Errors
/// When a file or a rule is wrong, or there is nothing to check.
pub(crate) fn run(args: &Check, caller: &InvokingUser) -> Result<i32, Failure> {
    let judge = Judge::load(args, args.config.as_deref(), caller)?;
    let mut printer = Printer::new(args.json);
    let words: Vec<&str> = args.request.iter().map(String::as_str).collect();
    if args.tests || words.is_empty() && args.replay.is_empty() {
        return judge.run_tests(&mut printer).map(i32::from);
    }
    let other = args.diff.as_deref().map(|path| {
        // Without -c the rules of -r are the first policy, and the second is the file alone.
        let rules = if args.config.is_some() {
            args.rules.clone()
        } else {
            Vec::new()
        };
        let args = Check { rules, ..args.clone() };
        Judge::load(&args, Some(path), caller)
    });
    let pair = Pair {
        judge,
        other: other.transpose()?,
    };
    let score = match words.as_slice() {
        [] => pair.replay(&args.replay, caller, &mut printer)?,
        ["-"] => pair.lines(&mut printer)?,
        words => {
            let target = request::read(&words.join(" ")).map_err(|error| Failure {
                hint: error.hint(),
                status: USAGE,
                ..Failure::new(error.to_string())
            })?;
            pair.explain(&target, &mut printer)?
        }
    };
    Ok(match score {
        Score { wrong: true, .. } => USAGE.into(),
        Score { denied, .. } => i32::from(denied),
    })
}

impl Judge {
    fn load(args: &Check, path: Option<&Path>, caller: &InvokingUser) -> Result<Judge, Failure> {
        let file = policy_file::named(path, caller)?;
        let mut rules = config::typed_rules(&args.rules).map_err(usage)?;
        let (mut intercept_tls, mut passthrough, mut tests) = (!args.no_tls_intercept, Vec::new(), Vec::new());
        if let Some(file) = file {
            let file::File { warnings, options, .. } = &file;
            warnings
                .iter()
                .for_each(|warning| logging::warn(&warning.message, warning.hint.as_deref()));
            intercept_tls &= options.no_tls_intercept != Some(true);
            rules.extend(file.rules);
            (passthrough, tests) = (file.passthrough, file.tests);
        }
        Ok(Judge {
            policy: Policy::new(rules),
            intercept_tls,
            passthrough,
            tests,
        })
    }

    /// As the proxy would judge it: HTTPS that is not decrypted shows its host alone.
    fn judged(&self, target: &Target) -> Target {
        let opaque = !self.intercept_tls || self.passthrough.iter().any(|host| host.covers(target.host()));
        let hidden = opaque && target.scheme() == Scheme::Https;
        let shown = hidden.then(|| Target::new(&Method::CONNECT, Scheme::Https, target.authority(), "/").ok());
        shown.flatten().unwrap_or_else(|| target.clone())
    }

    fn judge(&self, target: &Target) -> Found<'_> {
        let target = self.judged(target);
        let (mut action, id) = match self.policy.judge(&target) {
            Verdict::Allow(id) => (Action::Allow, Some(id)),
            Verdict::Deny(Reason::Rule(id)) => (Action::Deny, Some(id)),
            Verdict::Deny(Reason::NoMatch) => (Action::Deny, None),
        };
        let rule: Option<&Rule> = id.and_then(|id| self.policy.rule(id));
        let mut address = Foreseen::Permitted;
        if let (Action::Allow, Some(rule)) = (action, rule) {
            address = proxy::foresee(target.host(), rule.is_pinned_to(target.host()));
            if matches!(address, Foreseen::Refused(_)) {
                action = Action::Deny;
            }
        }
        Found {
            target,
            action,
            rule,
            address,
        }
    }

    fn run_tests(&self, printer: &mut Printer) -> Result<u8, Failure> {
        if self.tests.is_empty() {
            return Err(Failure {
                hint: Some("httpjail check [METHOD] URL; or write `tests:` into the policy file".into()),
                status: USAGE,
                ..Failure::new("there is nothing to check: no request was given, and no test")
            });
        }
        let mut failed = false;
        for test in &self.tests {
            let found = self.judge(&test.target);
            failed |= found.action != test.wanted;
            printer.test(test, &found)?;
        }
        Ok(u8::from(failed))
    }
}

/// A policy, and perhaps another to compare it with.
struct Pair {
    judge: Judge,
    other: Option<Judge>,
}

impl Pair {
    /// One request, with the reasons.
    fn explain(&self, target: &Target, printer: &mut Printer) -> Result<Score, Failure> {
        if self.other.is_some() {
            return self.one(target, 1, printer);
        }
        let found = self.judge.judge(target);
        printer.explained(&found, &self.judge.policy, &self.judge.policy.explain(&found.target))?;
        Ok(Score::denied(found.action == Action::Deny))
    }

    /// One of many: its verdict, or how it changes.
    fn one(&self, target: &Target, times: u64, printer: &mut Printer) -> Result<Score, Failure> {
        let found = self.judge.judge(target);
        let Some(other) = &self.other else {
            printer.verdict(&found, times)?;
            return Ok(Score::denied(found.action == Action::Deny));
        };
        let after = other.judge(target);
        let changed = found.action != after.action;
        if changed {
            printer.change(&Change {
                target,
                before: &found,
                after: &after,
                times,
            })?;
        }
        Ok(Score::denied(changed))
    }

    /// Each line of stdin, as it comes.
    fn lines(&self, printer: &mut Printer) -> Result<Score, Failure> {
        let mut score = Score::default();
        for (index, line) in io::stdin().lock().lines().enumerate() {
            let line = line.map_err(|error| Failure {
                status: USAGE,
                ..Failure::new(format!("cannot read stdin: {error}"))
            })?;
            let text = line.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            match request::read(text) {
                Ok(target) => score.add(self.one(&target, 1, printer)?),
                Err(error) => {
                    let hint = error.hint();
                    let place = Failure::new(format!("stdin:{}: {error}", index + 1));
                    logging::error(&place, hint.as_deref());
                    score.wrong = true;
                }
            }
        }
        Ok(score)
    }

    /// Each request of these logs, once.
    fn replay(
        &self,
        logs: &[std::path::PathBuf],
        caller: &InvokingUser,
        printer: &mut Printer,
    ) -> Result<Score, Failure> {
        let seen = replay::requests(logs, caller)?;
        let mut score = Score::default();
        for (target, times) in &seen.requests {
            score.add(self.one(target, *times, printer)?);
        }
        if seen.passed_over > 0 {
            let text = format!(
                "{} lines were passed over: they are no requests that were judged",
                seen.passed_over
            );
            logging::warn(&text, None);
        }
        Ok(score)
    }
}

impl Score {
    fn denied(denied: bool) -> Score {
        Score { denied, wrong: false }
    }

    fn add(&mut self, other: Score) {
        self.denied |= other.denied;
        self.wrong |= other.wrong;
    }
}
