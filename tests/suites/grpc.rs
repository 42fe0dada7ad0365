//! A tonic client of the lab's gRPC echo; see programs.sh. Messages are bare bytes: there is no protobuf in it.

use std::future::Future;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _};
use http::uri::PathAndQuery;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, ClientTlsConfig};
use tonic::{Code, Request, Status};

#[derive(Default)]
struct Bare;

impl Codec for Bare {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Bare;
    type Decoder = Bare;

    fn encoder(&mut self) -> Bare {
        Bare
    }

    fn decoder(&mut self) -> Bare {
        Bare
    }
}

impl Encoder for Bare {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bare {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut item = vec![0; from.remaining()];
        from.copy_to_slice(&mut item);
        Ok(Some(item))
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

type Outcome = Result<bool, Box<dyn std::error::Error>>;

async fn check(feature: &str, work: impl Future<Output = Outcome>) {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(true)) => println!("{feature} ok"),
        other => {
            println!("{feature} bad");
            eprintln!("{feature} {other:?}");
        }
    }
}

async fn client() -> Result<Grpc<Channel>, Box<dyn std::error::Error>> {
    let tls = ClientTlsConfig::new().with_native_roots();
    let channel = Channel::from_static("https://grpc.test:8446").tls_config(tls)?.connect().await?;
    let mut client = Grpc::new(channel);
    client.ready().await?;
    Ok(client)
}

fn path(method: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(method)
}

async fn unary() -> Outcome {
    let request = Request::new(b"word".to_vec());
    let answer = client().await?.unary(request, path("/lab.Echo/Unary"), Bare).await?;
    Ok(answer.into_inner() == b"word")
}

/// Each answer is awaited before the next question is asked: nothing may be held back on the way.
async fn both() -> Outcome {
    let (ask, questions) = tokio::sync::mpsc::channel(1);
    let request = Request::new(ReceiverStream::new(questions));
    let mut client = client().await?;
    // The server's headers come with its first answer.
    ask.send(b"a".to_vec()).await?;
    let mut answers = client.streaming(request, path("/lab.Echo/Both"), Bare).await?.into_inner();
    let mut heard = vec![answers.message().await?];
    for question in [b"b", b"c"] {
        ask.send(question.to_vec()).await?;
        heard.push(answers.message().await?);
    }
    if heard != [b"A", b"B", b"C"].map(|answer| Some(answer.to_vec())) {
        return Ok(false);
    }
    drop(ask);
    Ok(answers.message().await?.is_none())
}

async fn ends_with(method: &'static str, code: Code) -> Outcome {
    let request = Request::new(tokio_stream::once(b"fail".to_vec()));
    let mut client = client().await?;
    let status = match client.streaming(request, path(method), Bare).await {
        Ok(answers) => answers.into_inner().message().await.err(),
        Err(status) => Some(status),
    };
    Ok(status.is_some_and(|status| status.code() == code))
}

#[tokio::main]
async fn main() {
    check("get", unary()).await;
    check("both", both()).await;
    check("trailers", ends_with("/lab.Echo/Both", Code::DataLoss)).await;
    check("denied", ends_with("/denied.Echo/Both", Code::PermissionDenied)).await;
}
