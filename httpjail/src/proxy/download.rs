//! One file by HTTPS, for httpjail itself: it reaches the server as requests do that a rule pinned to the host allows, through the
//! proxy that the environment names, with its certificate verified.
//!
//! Nothing is followed, guessed or waited for: no redirect, no other encoding, no more bytes than the caller wants.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::TokioIo;

use crate::net::Scheme;
use crate::policy::Target;
use crate::proxy::limits::Limits;
use crate::proxy::overload::memory::Memory;
use crate::proxy::upstream::address::AddressTrust;
use crate::proxy::upstream::dial::Connector;
use crate::proxy::upstream::error::DialError;
use crate::proxy::upstream::http1;
use crate::proxy::upstream::kept::KeptConnections;
use crate::proxy::upstream::key::ConnectTarget;
use crate::proxy::upstream::network::Network;
use crate::proxy::upstream::proxy_env::ProxyConfig;
use crate::tls::{UpstreamError, UpstreamTls};

/// A longer tag is not kept.
const TAG_MAX: usize = 256;

/// Downloads files.
pub(crate) struct Downloader {
    connector: Connector,
}

/// What a server answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Download {
    /// The file, with the tag by which its server knows this version.
    File { bytes: Vec<u8>, tag: Option<String> },
    /// It is as it was when its tag was given out.
    Unchanged,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    #[error("only https:// is downloaded from")]
    Scheme,
    #[error("{0}")]
    Dial(#[from] DialError),
    #[error("{0}")]
    Tls(#[from] UpstreamError),
    #[error("the server broke off: {0}")]
    Broke(#[from] hyper::Error),
    #[error("the request cannot be made: {0}")]
    Request(#[from] http::Error),
    #[error("the server answered {0}: redirects are not followed")]
    Redirect(StatusCode),
    #[error("the server answered {0}")]
    Status(StatusCode),
    #[error("the server sends the file in the encoding {0:?}, which was not asked for")]
    Encoding(String),
    #[error("the file is larger than {0} bytes")]
    Large(u64),
}

impl Downloader {
    /// Takes the network, the trust for servers, and the proxies that lead out.
    pub(crate) fn new(network: Arc<dyn Network>, tls: UpstreamTls, upstream_proxies: ProxyConfig) -> Downloader {
        let limits = Limits::default();
        Downloader {
            connector: Connector {
                network,
                tls: Arc::new(tls),
                upstream_proxies,
                itself: Vec::new(),
                kept: KeptConnections::new(&limits),
                // No other connection takes any.
                memory: Memory::new(|| 0, limits.memory),
                limits,
            },
        }
    }

    /// Downloads a file of at most `most` bytes, unless it still has this tag. The caller bounds the time.
    ///
    /// # Errors
    /// [`DownloadError`] for every other answer.
    pub(crate) async fn get(&self, file: &Target, tag: Option<&str>, most: u64) -> Result<Download, DownloadError> {
        if file.scheme() != Scheme::Https {
            return Err(DownloadError::Scheme);
        }
        let mut request = Request::get(file.path_and_query())
            .header(header::HOST, file.authority())
            .header(header::USER_AGENT, concat!("httpjail/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, "*/*");
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        let request = request.body(Empty::<Bytes>::new())?;
        let place = ConnectTarget {
            host: file.host(),
            port: file.port(),
            // The user has named it.
            trust: AddressTrust::Host,
            preferred: None,
        };
        let stream = self.connector.stream(Scheme::Https, place).await?;
        let config = self.connector.tls.config_h1()?;
        let (stream, _) = self.connector.tls(file.host(), stream, config).await?;
        let (mut sender, connection) = http1::builder(&self.connector.limits)
            .handshake(TokioIo::new(stream))
            .await?;
        // It ends with `sender`; its errors reach the answer.
        tokio::spawn(connection);
        let answer = sender.send_request(request).await?;
        match answer.status() {
            StatusCode::OK => read(answer, most).await,
            StatusCode::NOT_MODIFIED if tag.is_some() => Ok(Download::Unchanged),
            status if status.is_redirection() => Err(DownloadError::Redirect(status)),
            status => Err(DownloadError::Status(status)),
        }
    }
}

async fn read(answer: Response<Incoming>, most: u64) -> Result<Download, DownloadError> {
    let fields = answer.headers();
    if let Some(encoding) = fields
        .get(header::CONTENT_ENCODING)
        .filter(|value| *value != "identity")
    {
        return Err(DownloadError::Encoding(
            String::from_utf8_lossy(encoding.as_bytes()).into(),
        ));
    }
    let tag = fields.get(header::ETAG).and_then(|value| value.to_str().ok());
    let tag = tag.filter(|tag| tag.len() <= TAG_MAX).map(str::to_owned);
    let mut body = answer.into_body();
    if body.size_hint().lower() > most {
        return Err(DownloadError::Large(most));
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() as u64 > most {
            return Err(DownloadError::Large(most));
        }
    }
    Ok(Download::File { bytes, tag })
}
