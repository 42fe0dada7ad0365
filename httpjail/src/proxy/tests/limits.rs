//! Bounds: heads, connections, shutdown.

use super::support::{Jail, gist};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const A: &str = "192.0.2.1:80";

#[tokio::test]
async fn heads_are_bounded() {
    let jail = Jail::new(&["allow: .*"]).await;
    let check = async |fields: String, status: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{fields}\r\n");
        let answer = jail.raw(A, head).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{} bytes: {answer}",
            fields.len()
        );
    };
    check("X: y\r\n".repeat(90), "200").await;
    check("X: y\r\n".repeat(250), "431").await;
    check(format!("X: {}\r\n", "y".repeat(30_000)), "200").await;
    check(format!("X: {}\r\n", "y".repeat(80_000)), "431").await;
    assert_eq!(
        gist(&jail.log.nth(2).await),
        "Refused Deny - - 431 [malformed request: too large]"
    );
}

#[tokio::test]
async fn connections_beyond_the_bound_wait() {
    let jail = Jail::with(&["allow: .*"], |config| config.limits.connections = 1).await;
    let head = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let (mut first, mut second) = (jail.connect(A).await, jail.connect(A).await);
    second.write_all(head).await.unwrap();
    first.write_all(head).await.unwrap();
    first.read_exact(&mut [0; 8]).await.unwrap();
    assert_eq!(jail.world.seen.requests(), 1);
    drop(first);
    second.read_exact(&mut [0; 8]).await.unwrap();
    assert_eq!(jail.world.seen.requests(), 2);
}

#[tokio::test]
async fn shutdown_records_what_it_cuts() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut jail = Jail::with(&["allow: .*"], |config| config.limits.grace = Duration::from_millis(10)).await;
    let running = jail.serve_until(async {
        let _ = stopped.await;
    });
    let mut stream = jail.connect(A).await;
    stream
        .write_all(b"GET /endless HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await
        .unwrap();
    stream.read_exact(&mut [0; 1024]).await.unwrap();
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(jail.log.count(), 1);
    let record = jail.log.nth(1).await;
    assert_eq!(gist(&record), "Request Allow GET http://a.test/endless 200 [cut short]");
}
