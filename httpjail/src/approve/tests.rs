//! The desk with askers that a test holds in its hand, the line to another process, and programs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::net::Scheme;

/// Hands each question to the test, with the means to answer it.
struct Asked(mpsc::UnboundedSender<(Question, oneshot::Sender<Answer>)>);

type Questions = mpsc::UnboundedReceiver<(Question, oneshot::Sender<Answer>)>;

impl Asker for Asked {
    fn ask(&self, question: Question) -> Answering {
        let (sender, answer) = oneshot::channel();
        self.0.send((question, sender)).unwrap();
        Box::pin(async move { answer.await.unwrap_or(Answer::Deny(Span::Once, Denial::Over)) })
    }
}

fn desk() -> (Arc<Desk>, Questions) {
    let (sender, questions) = mpsc::unbounded_channel();
    (Desk::new(Arc::new(Asked(sender))), questions)
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

fn question(method: &str, url: &str) -> Question {
    Question::new(&target(method, url), None)
}

fn asking(desk: &Arc<Desk>, question: Question) -> tokio::task::JoinHandle<Ruling> {
    let desk = desk.clone();
    tokio::spawn(async move { desk.ask(question).await })
}

#[tokio::test]
async fn identical_requests_are_one_question() {
    let (desk, mut questions) = desk();
    let first = asking(&desk, question("GET", "https://a.test/"));
    let (_, answer) = questions.recv().await.unwrap();
    let second = asking(&desk, question("GET", "https://a.test/"));
    let other = asking(&desk, question("POST", "https://a.test/"));
    // The other is asked after the second has joined: a runtime of one thread runs them in their order.
    let (asked, other_answer) = questions.recv().await.unwrap();
    assert_eq!(asked.method, "POST");
    assert!(questions.try_recv().is_err());
    answer.send(Answer::Allow(Span::Once)).unwrap();
    other_answer.send(Answer::Deny(Span::Once, Denial::Late)).unwrap();
    assert_eq!(first.await.unwrap(), Ruling::Allowed("approved once".into()));
    assert_eq!(second.await.unwrap(), Ruling::Allowed("approved once".into()));
    assert_eq!(other.await.unwrap(), Ruling::Denied(Denial::Late));
    // Once is once.
    assert_eq!(desk.settled(&target("GET", "https://a.test/")), None);
}

#[tokio::test]
async fn another_program_is_another_question() {
    let (desk, mut questions) = desk();
    let by = |exe: &str, pid| Question {
        program: Some(Asking {
            pid,
            exe: Some(exe.into()),
            comm: "x".into(),
            parents: Vec::new(),
        }),
        ..question("GET", "https://a.test/")
    };
    let waiting = [
        asking(&desk, by("/a", 1)),
        asking(&desk, by("/a", 2)),
        asking(&desk, by("/b", 3)),
    ];
    let (_, first) = questions.recv().await.unwrap();
    let (asked, second) = questions.recv().await.unwrap();
    assert_eq!(asked.program.unwrap().pid, 3);
    drop((first, second));
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), Ruling::Denied(Denial::Over));
    }
}

/// What an answer for the run covers, and what not.
#[tokio::test]
async fn an_answer_for_the_run_covers_what_was_shown() {
    let url = "https://a.test/x/y?q=1";
    for (extent, covered, not) in [
        (
            Extent::Url,
            vec![("GET", url)],
            vec![
                ("POST", url),
                ("GET", "https://a.test/x/y?q=12"),
                ("GET", "https://a.test/x/y"),
            ],
        ),
        (
            Extent::Prefix,
            vec![
                ("GET", url),
                ("GET", "https://a.test/x/"),
                ("GET", "https://a.test/x/z/z?r"),
            ],
            vec![("POST", url), ("GET", "https://a.test/xy"), ("GET", "https://a.test/")],
        ),
        (
            Extent::Host,
            vec![("GET", url), ("POST", "https://a.test/"), ("GET", "https://a.test/?x")],
            vec![
                ("GET", "https://a.test.b.test/"),
                ("GET", "https://a.test:8443/"),
                ("GET", "https://b.test/https://a.test/"),
            ],
        ),
    ] {
        for allows in [true, false] {
            let (desk, mut questions) = desk();
            let waiting = asking(&desk, question("GET", url));
            let (_, answer) = questions.recv().await.unwrap();
            let said = match allows {
                true => Answer::Allow(Span::Run(extent)),
                false => Answer::Deny(Span::Run(extent), Denial::Said(None)),
            };
            answer.send(said).unwrap();
            assert_eq!(matches!(waiting.await.unwrap(), Ruling::Allowed(_)), allows);
            for (method, url) in &covered {
                let settled = desk.settled(&target(method, url)).unwrap();
                assert_eq!(
                    matches!(settled, Ruling::Allowed(_)),
                    allows,
                    "{extent:?} {method} {url}"
                );
            }
            for (method, url) in &not {
                assert_eq!(desk.settled(&target(method, url)), None, "{extent:?} {method} {url}");
            }
        }
    }
}

#[tokio::test]
async fn the_rule_of_a_grant_says_the_same() {
    for (extent, method, pattern) in [
        (Extent::Url, Some("get"), r"^https://a\.test/x/y\?q=\(1\)$"),
        (Extent::Prefix, Some("get"), r"^https://a\.test/x/"),
        (Extent::Host, None, r"^https://a\.test/"),
    ] {
        let grant = Grant::new(true, &question("GET", "https://a.test/x/y?q=(1)"), extent);
        assert_eq!(grant.rule(), Some((method.map(str::to_owned), pattern.to_owned())));
    }
}

// Proves on ebpf, netns, rootless: K07.
#[tokio::test]
async fn a_flood_is_held_back() {
    let (desk, mut questions) = desk();
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..1000 {
        let (desk, question) = (desk.clone(), question("GET", &format!("https://a.test/{n}")));
        waiting.spawn(async move { desk.ask(question).await });
    }
    // Those that are not asked about are told at once; nobody answers the others.
    for _ in 0..1000 - 32 {
        assert_eq!(
            waiting.join_next().await.unwrap().unwrap(),
            Ruling::Denied(Denial::Crowded)
        );
    }
    let mut asked = Vec::new();
    for _ in 0..32 {
        asked.push(questions.recv().await.unwrap());
    }
    assert!(questions.try_recv().is_err());
    desk.close();
    while let Some(ruling) = waiting.join_next().await {
        assert_eq!(ruling.unwrap(), Ruling::Denied(Denial::Over));
    }
    assert_eq!(
        desk.ask(question("GET", "https://b.test/")).await,
        Ruling::Denied(Denial::Over)
    );
}

#[tokio::test]
async fn who_gives_up_takes_the_question_back() {
    let (desk, mut questions) = desk();
    let (first, second) = (
        asking(&desk, question("GET", "https://a.test/")),
        asking(&desk, question("GET", "https://a.test/")),
    );
    let (_, mut answer) = questions.recv().await.unwrap();
    first.abort();
    let _ = first.await;
    assert!(!answer.is_closed(), "another waits for it");
    second.abort();
    let _ = second.await;
    answer.closed().await;
}

/// Answers by the path: `/yes` yes, `/never` never, else no.
struct ByPath(AtomicUsize);

impl Asker for ByPath {
    fn ask(&self, question: Question) -> Answering {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            match question.path.as_str() {
                "/yes" => Answer::Allow(Span::Run(Extent::Host)),
                "/never" => std::future::pending().await,
                _ => Answer::Deny(Span::Once, Denial::Said(Some("no".into()))),
            }
        })
    }
}

#[cfg(unix)]
#[tokio::test]
async fn another_process_is_asked() {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let remote = Remote::start(ours).unwrap();
    let serving = tokio::spawn(serve(theirs, Arc::new(ByPath(AtomicUsize::new(0)))));
    let never = tokio::spawn(remote.ask(question("GET", "https://a.test/never")));
    let no = Answer::Deny(Span::Once, Denial::Said(Some("no".into())));
    assert_eq!(remote.ask(question("GET", "https://a.test/no")).await, no);
    assert_eq!(
        remote.ask(question("GET", "https://a.test/yes")).await,
        Answer::Allow(Span::Run(Extent::Host))
    );
    serving.abort();
    let gone = Answer::Deny(Span::Once, Denial::Failed("the process that asks is gone".into()));
    assert_eq!(never.await.unwrap(), gone);
    assert_eq!(remote.ask(question("GET", "https://a.test/yes")).await, gone);
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
        let remote = Remote::start(ours).unwrap();
        theirs.write_all(text.as_bytes()).unwrap();
        let answer = remote.ask(question("GET", "https://a.test/yes")).await;
        assert!(
            matches!(answer, Answer::Deny(Span::Once, Denial::Failed(_))),
            "{text:?}: {answer:?}"
        );
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_program_decides() {
    let cases: [(&str, Result<Answer, &str>); 16] = [
        (r#"echo '{"verdict":"allow"}'"#, Ok(Answer::Allow(Span::Once))),
        (
            r#"echo '{"verdict":"allow","for":"run"}'"#,
            Ok(Answer::Allow(Span::Run(Extent::Url))),
        ),
        (
            r#"echo '{"verdict":"allow","for":"run","extent":"host"}'"#,
            Ok(Answer::Allow(Span::Run(Extent::Host))),
        ),
        (
            r#"echo '{"verdict":"deny","reason":"why"}'"#,
            Ok(Answer::Deny(Span::Once, Denial::Said(Some("why".into())))),
        ),
        (
            r#"echo '{"verdict":"deny","for":"run","extent":"prefix"}'"#,
            Ok(Answer::Deny(Span::Run(Extent::Prefix), Denial::Said(None))),
        ),
        // The question comes in whole.
        (
            r#"grep -q '"url":"https://a.test/yes?q"' && echo '{"verdict":"allow"}'"#,
            Ok(Answer::Allow(Span::Once)),
        ),
        (
            r#"grep -q '"url":"https://b.test/"' && echo '{"verdict":"allow"}'"#,
            Err("ended with"),
        ),
        (r#"echo '{"verdict":"allow"}'; exit 1"#, Err("ended with")),
        (r#"echo '{"verdict":"allow"}'; kill -9 $$"#, Err("ended with")),
        ("echo allow", Err("no verdict")),
        ("true", Err("no verdict")),
        (r#"echo '{"verdict":"allow"} {"verdict":"deny"}'"#, Err("no verdict")),
        (r#"echo '{"verdict":"allow","extent":"all"}'"#, Err("no verdict")),
        (r#"echo '{"verdict":"allow","until":"tomorrow"}'"#, Err("no verdict")),
        (r#"echo '{"verdict":"allow","extent":"host"}'"#, Err("for once")),
        ("yes '{'", Err("too much")),
    ];
    for (command, expected) in cases {
        let program = Program::new(command.into(), path(), Duration::from_secs(60));
        let answer = program.ask(question("GET", "https://a.test/yes?q")).await;
        match expected {
            Ok(expected) => assert_eq!(answer, expected, "{command}"),
            Err(why) => {
                let failed = matches!(&answer, Answer::Deny(Span::Once, Denial::Failed(said)) if said.contains(why));
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
    // Its child holds the pipe open. Whoever reads the pipe to its end waits for the child's end.
    let command = format!("sleep 600 > {}", pipe.display());
    let reader = tokio::task::spawn_blocking(move || std::fs::read(pipe).unwrap());
    let program = Program::new(command, path(), Duration::from_millis(300));
    let answer = program.ask(question("GET", "https://a.test/")).await;
    assert_eq!(answer, Answer::Deny(Span::Once, Denial::Late));
    assert_eq!(reader.await.unwrap(), b"");
}

#[cfg(unix)]
fn path() -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    vec![("PATH".into(), "/usr/bin:/bin".into())]
}
