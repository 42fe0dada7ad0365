//! Decides about one canonical request, and writes the verdict into its record.
//!
//! This is the one place where a verdict becomes an action. It fails closed: a [`RequestRecord`] starts as a denial,
//! and nothing is dialed without the `Ok` of [`authorize`], [`decide`] or [`ask`].

use crate::approve::{ApprovalOutcome, ApprovalQueue, ApprovalRequest};
use crate::audit::Decision;
use crate::audit::record::{DENIED_BY_RULE, NO_RULE_MATCHED};
use crate::policy::{Reason, Target, Verdict};
use crate::proxy::config::Mode;
use crate::proxy::context::Context;
use crate::proxy::refusal::{Kind, Refusal};
use crate::proxy::service::request_record::RequestRecord;
use crate::proxy::upstream::address::AddressTrust;
use std::sync::Arc;

/// Returns whether [`authorize`] would refuse `target` without asking the approver. Lets nothing through, and leaves no
/// record.
pub(crate) fn would_refuse(context: &Context, target: &Target) -> bool {
    match (context.config.mode, context.config.policy.load().judge(target)) {
        (Mode::DryRun | Mode::LogOnly, _) | (_, Verdict::Allow(_)) => false,
        (Mode::Enforce, Verdict::Deny(reason)) => reason != Reason::NoMatch || context.config.approvals.is_none(),
        (Mode::Learn, Verdict::Deny(reason)) => reason != Reason::NoMatch,
    }
}

/// Why a request may not be forwarded now.
pub(crate) enum Unauthorized {
    Refused(Refusal),
    /// No rule matches it, and there is somebody to [`ask`].
    Undecided(Arc<ApprovalQueue>),
}

impl From<Refusal> for Unauthorized {
    fn from(refusal: Refusal) -> Unauthorized {
        Unauthorized::Refused(refusal)
    }
}

/// Returns how far the verdict vouches for the addresses behind the name of `target`, if it may be forwarded. Asks the
/// approver where no rule matches.
pub(crate) async fn authorize(
    context: &Context,
    target: &Target,
    entry: &mut RequestRecord,
) -> Result<AddressTrust, Refusal> {
    match decide(context, target, entry) {
        Ok(trust) => Ok(trust),
        Err(Unauthorized::Refused(refusal)) => Err(refusal),
        Err(Unauthorized::Undecided(approvals)) => ask(&approvals, target, entry).await,
    }
}

/// Does what [`authorize`] does, but for the question to the approver.
pub(crate) fn decide(
    context: &Context,
    target: &Target,
    entry: &mut RequestRecord,
) -> Result<AddressTrust, Unauthorized> {
    let config = &context.config;
    entry.record.url = Some(target.url().to_owned());
    entry.record.host = Some(target.host().to_string());
    if !config.audit.healthy() {
        return Err(Refusal::new(Kind::Unlogged, "log not writable", "The request log cannot be written.").into());
    }
    if !entry.has_permit() {
        let detail = "Too many requests are under way in this jail.";
        return Err(Refusal::new(Kind::Busy, "too many requests", detail).into());
    }
    if config.mode == Mode::LogOnly {
        entry.record.verdict = Some(Decision::Allow);
        return Ok(AddressTrust::Observed);
    }
    let policy = config.policy.load();
    let verdict = policy.judge(target);
    let rule = match verdict {
        Verdict::Allow(id) | Verdict::Deny(Reason::Rule(id)) => policy.rule(id),
        Verdict::Deny(Reason::NoMatch) => None,
    };
    entry.record.rule = rule.map(ToString::to_string);
    if config.mode == Mode::Learn && verdict == Verdict::Deny(Reason::NoMatch) {
        entry.record.verdict = Some(Decision::Allow);
        return Ok(AddressTrust::Observed);
    }
    let observed = config.mode == Mode::DryRun;
    let refusal = match verdict {
        Verdict::Allow(_) => {
            entry.record.verdict = Some(Decision::Allow);
            return Ok(match rule {
                Some(rule) if rule.is_pinned_to(target.host()) => AddressTrust::Host,
                _ if observed => AddressTrust::Observed,
                _ => AddressTrust::None,
            });
        }
        Verdict::Deny(Reason::Rule(_)) => Refusal::new(Kind::Denied, DENIED_BY_RULE, "A rule denies this request."),
        Verdict::Deny(Reason::NoMatch) => Refusal::new(Kind::Denied, NO_RULE_MATCHED, "No rule allows this request."),
    };
    if !observed {
        return Err(match (verdict, &config.approvals) {
            (Verdict::Deny(Reason::NoMatch), Some(approvals)) => Unauthorized::Undecided(approvals.clone()),
            _ => refusal.into(),
        });
    }
    entry.because(refusal.reason);
    Ok(AddressTrust::Observed)
}

/// Asks about a request that no rule matches. An approval names the host, so it counts as a rule that is pinned to the host.
pub(crate) async fn ask(
    approvals: &Arc<ApprovalQueue>,
    target: &Target,
    entry: &mut RequestRecord,
) -> Result<AddressTrust, Refusal> {
    let outcome = match approvals.remembered(target) {
        Some(outcome) => outcome,
        None => {
            approvals
                .ask(ApprovalRequest::new(target, entry.requester().await))
                .await
        }
    };
    match outcome {
        ApprovalOutcome::Allowed(how) => {
            entry.record.verdict = Some(Decision::Allow);
            entry.record.rule = Some(how);
            Ok(AddressTrust::Host)
        }
        ApprovalOutcome::Denied(denial) => Err(Refusal::new(Kind::Denied, denial.phrase(), denial.sentence())),
    }
}
