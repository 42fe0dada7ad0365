//! Tests of the queue with an approver that the test answers for, of the socket to another process, and of programs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use tokio::sync::{mpsc, oneshot};

use super::approver::{Approver, DecisionFuture};
use super::decision::{ApprovalDecision, Denial, GrantDuration};
use super::grant::{Grant, GrantScope};
use super::*;
use crate::net::Scheme;
use crate::policy::Target;

/// Passes each request to the test, with a sender for the decision.
struct ByHand(mpsc::UnboundedSender<(ApprovalRequest, oneshot::Sender<ApprovalDecision>)>);

type Requests = mpsc::UnboundedReceiver<(ApprovalRequest, oneshot::Sender<ApprovalDecision>)>;

impl Approver for ByHand {
    fn ask(&self, request: ApprovalRequest) -> DecisionFuture {
        let (sender, answer) = oneshot::channel();
        self.0.send((request, sender)).unwrap();
        Box::pin(async move {
            answer
                .await
                .unwrap_or(ApprovalDecision::Deny(GrantDuration::Once, Denial::RunEnded))
        })
    }
}

fn queue() -> (Arc<ApprovalQueue>, Requests) {
    let (sender, requests) = mpsc::unbounded_channel();
    (ApprovalQueue::new(Arc::new(ByHand(sender))), requests)
}

fn target(method: &str, url: &str) -> Target {
    let rest = url.strip_prefix("https://").unwrap();
    let (authority, path) = rest.split_at(rest.find('/').unwrap());
    Target::new(
        &Method::from_bytes(method.as_bytes()).unwrap(),
        Scheme::Https,
        authority,
        path,
    )
    .unwrap()
}

fn request(method: &str, url: &str) -> ApprovalRequest {
    ApprovalRequest::new(&target(method, url), None)
}

fn asking(queue: &Arc<ApprovalQueue>, request: ApprovalRequest) -> tokio::task::JoinHandle<ApprovalOutcome> {
    let queue = queue.clone();
    tokio::spawn(async move { queue.ask(request).await })
}

#[tokio::test]
async fn identical_requests_are_one_question() {
    let (queue, mut requests) = queue();
    let first = asking(&queue, request("GET", "https://a.test/"));
    let (_, answer) = requests.recv().await.unwrap();
    let second = asking(&queue, request("GET", "https://a.test/"));
    let other = asking(&queue, request("POST", "https://a.test/"));
    // The other is asked after the second has joined: a runtime of one thread runs them in their order.
    let (asked, other_answer) = requests.recv().await.unwrap();
    assert_eq!(asked.method, "POST");
    assert!(requests.try_recv().is_err());
    answer.send(ApprovalDecision::Allow(GrantDuration::Once)).unwrap();
    other_answer
        .send(ApprovalDecision::Deny(GrantDuration::Once, Denial::TimedOut))
        .unwrap();
    assert_eq!(first.await.unwrap(), ApprovalOutcome::Allowed("approved once".into()));
    assert_eq!(second.await.unwrap(), ApprovalOutcome::Allowed("approved once".into()));
    assert_eq!(other.await.unwrap(), ApprovalOutcome::Denied(Denial::TimedOut));
    // Once is once.
    assert_eq!(queue.remembered(&target("GET", "https://a.test/")), None);
}

#[tokio::test]
async fn another_program_is_another_question() {
    let (queue, mut requests) = queue();
    let by = |exe: &str, pid| ApprovalRequest {
        program: Some(Requester {
            pid,
            exe: Some(exe.into()),
            comm: "x".into(),
            parents: Vec::new(),
        }),
        ..request("GET", "https://a.test/")
    };
    let waiting = [
        asking(&queue, by("/a", 1)),
        asking(&queue, by("/a", 2)),
        asking(&queue, by("/b", 3)),
    ];
    let (_, first) = requests.recv().await.unwrap();
    let (asked, second) = requests.recv().await.unwrap();
    assert_eq!(asked.program.unwrap().pid, 3);
    drop((first, second));
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), ApprovalOutcome::Denied(Denial::RunEnded));
    }
}

/// What an answer for the run covers, and what not.
#[tokio::test]
async fn an_answer_for_the_run_covers_what_was_shown() {
    let url = "https://a.test/x/y?q=1";
    for (scope, covered, not) in [
        (
            GrantScope::Url,
            vec![("GET", url)],
            vec![
                ("POST", url),
                ("GET", "https://a.test/x/y?q=12"),
                ("GET", "https://a.test/x/y"),
            ],
        ),
        (
            GrantScope::Prefix,
            vec![
                ("GET", url),
                ("GET", "https://a.test/x/"),
                ("GET", "https://a.test/x/z/z?r"),
            ],
            vec![("POST", url), ("GET", "https://a.test/xy"), ("GET", "https://a.test/")],
        ),
        (
            GrantScope::Host,
            vec![("GET", url), ("POST", "https://a.test/"), ("GET", "https://a.test/?x")],
            vec![
                ("GET", "https://a.test.b.test/"),
                ("GET", "https://a.test:8443/"),
                ("GET", "https://b.test/https://a.test/"),
            ],
        ),
    ] {
        for allows in [true, false] {
            let (queue, mut requests) = queue();
            let waiting = asking(&queue, request("GET", url));
            let (_, answer) = requests.recv().await.unwrap();
            let said = match allows {
                true => ApprovalDecision::Allow(GrantDuration::Run(scope)),
                false => ApprovalDecision::Deny(GrantDuration::Run(scope), Denial::ByApprover(None)),
            };
            answer.send(said).unwrap();
            assert_eq!(matches!(waiting.await.unwrap(), ApprovalOutcome::Allowed(_)), allows);
            for (method, url) in &covered {
                let remembered = queue.remembered(&target(method, url)).unwrap();
                assert_eq!(
                    matches!(remembered, ApprovalOutcome::Allowed(_)),
                    allows,
                    "{scope:?} {method} {url}"
                );
            }
            for (method, url) in &not {
                assert_eq!(queue.remembered(&target(method, url)), None, "{scope:?} {method} {url}");
            }
        }
    }
}

#[tokio::test]
async fn the_rule_of_a_grant_says_the_same() {
    for (scope, method, pattern) in [
        (GrantScope::Url, Some("get"), r"^https://a\.test/x/y\?q=\(1\)$"),
        (GrantScope::Prefix, Some("get"), r"^https://a\.test/x/"),
        (GrantScope::Host, None, r"^https://a\.test/"),
    ] {
        let grant = Grant::new(true, &request("GET", "https://a.test/x/y?q=(1)"), scope);
        assert_eq!(grant.rule(), Some((method.map(str::to_owned), pattern.to_owned())));
    }
}

// Proves on ebpf, netns, rootless: K07.
#[tokio::test]
async fn a_flood_is_held_back() {
    let (queue, mut requests) = queue();
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..1000 {
        let (queue, request) = (queue.clone(), request("GET", &format!("https://a.test/{n}")));
        waiting.spawn(async move { queue.ask(request).await });
    }
    // Requests beyond the limit are denied at once. The others get no decision.
    for _ in 0..1000 - 32 {
        assert_eq!(
            waiting.join_next().await.unwrap().unwrap(),
            ApprovalOutcome::Denied(Denial::TooMany)
        );
    }
    let mut asked = Vec::new();
    for _ in 0..32 {
        asked.push(requests.recv().await.unwrap());
    }
    assert!(requests.try_recv().is_err());
    queue.close();
    while let Some(outcome) = waiting.join_next().await {
        assert_eq!(outcome.unwrap(), ApprovalOutcome::Denied(Denial::RunEnded));
    }
    assert_eq!(
        queue.ask(request("GET", "https://b.test/")).await,
        ApprovalOutcome::Denied(Denial::RunEnded)
    );
}

#[tokio::test]
async fn who_gives_up_takes_the_question_back() {
    let (queue, mut requests) = queue();
    let (first, second) = (
        asking(&queue, request("GET", "https://a.test/")),
        asking(&queue, request("GET", "https://a.test/")),
    );
    let (_, mut answer) = requests.recv().await.unwrap();
    first.abort();
    let _ = first.await;
    assert!(!answer.is_closed(), "another waits for it");
    second.abort();
    let _ = second.await;
    answer.closed().await;
}

/// Answers by the path: `/yes` yes, `/never` never, else no.
struct ByPath(AtomicUsize);

impl Approver for ByPath {
    fn ask(&self, request: ApprovalRequest) -> DecisionFuture {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            match request.path.as_str() {
                "/yes" => ApprovalDecision::Allow(GrantDuration::Run(GrantScope::Host)),
                "/never" => std::future::pending().await,
                _ => ApprovalDecision::Deny(GrantDuration::Once, Denial::ByApprover(Some("no".into()))),
            }
        })
    }
}

#[cfg(unix)]
#[tokio::test]
async fn another_process_is_asked() {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let remote = ApproverClient::start(ours).unwrap();
    let serving = tokio::spawn(serve(theirs, Arc::new(ByPath(AtomicUsize::new(0)))));
    let never = tokio::spawn(remote.ask(request("GET", "https://a.test/never")));
    let no = ApprovalDecision::Deny(GrantDuration::Once, Denial::ByApprover(Some("no".into())));
    assert_eq!(remote.ask(request("GET", "https://a.test/no")).await, no);
    assert_eq!(
        remote.ask(request("GET", "https://a.test/yes")).await,
        ApprovalDecision::Allow(GrantDuration::Run(GrantScope::Host))
    );
    serving.abort();
    let gone = ApprovalDecision::Deny(
        GrantDuration::Once,
        Denial::Failed("the process that asks has ended".into()),
    );
    assert_eq!(never.await.unwrap(), gone);
    assert_eq!(remote.ask(request("GET", "https://a.test/yes")).await, gone);
}

#[cfg(unix)]
#[tokio::test]
async fn an_answer_that_is_none_denies() {
    use std::io::Write;
    for text in [
        "yes\n",
        "{\"id\":0,\"answer\":{\"Allow\":\"Always\"}}\n",
        "{\"id\":0}\n",
        "\u{0}\n",
    ] {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let remote = ApproverClient::start(ours).unwrap();
        theirs.write_all(text.as_bytes()).unwrap();
        let answer = remote.ask(request("GET", "https://a.test/yes")).await;
        assert!(
            matches!(answer, ApprovalDecision::Deny(GrantDuration::Once, Denial::Failed(_))),
            "{text:?}: {answer:?}"
        );
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_program_decides() {
    let cases: [(&str, Result<ApprovalDecision, &str>); 16] = [
        (
            r#"echo '{"verdict":"allow"}'"#,
            Ok(ApprovalDecision::Allow(GrantDuration::Once)),
        ),
        (
            r#"echo '{"verdict":"allow","for":"run"}'"#,
            Ok(ApprovalDecision::Allow(GrantDuration::Run(GrantScope::Url))),
        ),
        (
            r#"echo '{"verdict":"allow","for":"run","extent":"host"}'"#,
            Ok(ApprovalDecision::Allow(GrantDuration::Run(GrantScope::Host))),
        ),
        (
            r#"echo '{"verdict":"deny","reason":"why"}'"#,
            Ok(ApprovalDecision::Deny(
                GrantDuration::Once,
                Denial::ByApprover(Some("why".into())),
            )),
        ),
        (
            r#"echo '{"verdict":"deny","for":"run","extent":"prefix"}'"#,
            Ok(ApprovalDecision::Deny(
                GrantDuration::Run(GrantScope::Prefix),
                Denial::ByApprover(None),
            )),
        ),
        // The question comes in whole.
        (
            r#"grep -q '"url":"https://a.test/yes?q"' && echo '{"verdict":"allow"}'"#,
            Ok(ApprovalDecision::Allow(GrantDuration::Once)),
        ),
        (
            r#"grep -q '"url":"https://b.test/"' && echo '{"verdict":"allow"}'"#,
            Err("ended with"),
        ),
        (r#"echo '{"verdict":"allow"}'; exit 1"#, Err("ended with")),
        (r#"echo '{"verdict":"allow"}'; kill -9 $$"#, Err("ended with")),
        ("echo allow", Err("not a verdict")),
        ("true", Err("not a verdict")),
        (r#"echo '{"verdict":"allow"} {"verdict":"deny"}'"#, Err("not a verdict")),
        (r#"echo '{"verdict":"allow","extent":"all"}'"#, Err("not a verdict")),
        (r#"echo '{"verdict":"allow","until":"tomorrow"}'"#, Err("not a verdict")),
        (
            r#"echo '{"verdict":"allow","extent":"host"}'"#,
            Err("which needs `for`"),
        ),
        ("yes '{'", Err("too long")),
    ];
    for (command, expected) in cases {
        let program = ApproverProgram::new(command.into(), path(), Duration::from_secs(60));
        let answer = program.ask(request("GET", "https://a.test/yes?q")).await;
        match expected {
            Ok(expected) => assert_eq!(answer, expected, "{command}"),
            Err(why) => {
                let failed = matches!(&answer, ApprovalDecision::Deny(GrantDuration::Once, Denial::Failed(said)) if said.contains(why));
                assert!(failed, "{command}: {answer:?}");
            }
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_program_that_hangs_is_ended_with_all_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Its child holds the pipe open, so reading the pipe to its end waits for the child's end.
    let command = format!("sleep 600 > {}", pipe.display());
    let reader = tokio::task::spawn_blocking(move || std::fs::read(pipe).unwrap());
    let program = ApproverProgram::new(command, path(), Duration::from_millis(300));
    let answer = program.ask(request("GET", "https://a.test/")).await;
    assert_eq!(answer, ApprovalDecision::Deny(GrantDuration::Once, Denial::TimedOut));
    assert_eq!(reader.await.unwrap(), b"");
}

#[cfg(unix)]
fn path() -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    vec![("PATH".into(), "/usr/bin:/bin".into())]
}
