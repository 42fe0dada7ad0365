//! What the process without rights does: it downloads the signature, and the policy if the signature is about another one than is held.
//!
//! It judges nothing: the process that writes the file does that.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policy::Target;
use crate::proxy::{Download, Downloader, HostNetwork, ProxyConfig};
use crate::signed::{LONGEST, Signature, Taken};
use crate::tls::{AuthorityFile, UpstreamTls};

/// No policy is larger.
pub(super) const POLICY_MAX: u64 = 8 << 20;

/// No answer is longer: in JSON a byte takes six at most.
pub(super) const ANSWER_MAX: u64 = 6 * (POLICY_MAX + 2 * LONGEST as u64);

/// Where a policy comes from.
#[derive(Debug)]
pub(super) struct Source {
    pub policy: Target,
    pub signature: Target,
    pub authorities: Vec<AuthorityFile>,
    pub upstream_proxies: ProxyConfig,
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The signature is the one with the tag.
    Unchanged,
    /// A signature, and the policy, unless the signature is about the one that is held.
    Signed {
        signature: String,
        tag: Option<String>,
        policy: Option<String>,
    },
    /// Nothing.
    Failed(String),
}

impl Source {
    /// Downloads what is new. `held` is the policy that is there, `tag` that of its signature.
    pub(super) fn download(&self, held: Option<&Taken>, tag: Option<&str>, limit: Duration) -> Answer {
        let done = self.connected().and_then(|downloader| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| format!("cannot start the runtime: {error}"))?;
            let answer = runtime.block_on(async {
                tokio::time::timeout(limit, self.ask(&downloader, held, tag))
                    .await
                    .unwrap_or_else(|_| Err(late(limit)))
            });
            // A look-up that hangs is not waited for.
            runtime.shutdown_background();
            answer
        });
        done.unwrap_or_else(Answer::Failed)
    }

    fn connected(&self) -> Result<Downloader, String> {
        let tls = UpstreamTls::new(&self.authorities, None).map_err(|error| error.to_string())?;
        let network = Arc::new(HostNetwork::new(false));
        Ok(Downloader::new(network, tls, self.upstream_proxies.clone()))
    }

    async fn ask(&self, from: &Downloader, held: Option<&Taken>, tag: Option<&str>) -> Result<Answer, String> {
        let got = from.get(&self.signature, tag, LONGEST as u64).await;
        let (signature, tag) = match got.map_err(|error| format!("the signature: {error}"))? {
            Download::Unchanged => return Ok(Answer::Unchanged),
            Download::File { bytes, tag } => (text("the signature", bytes)?, tag),
        };
        // Only to know whether the policy is needed.
        let about = Signature::parse(signature.as_bytes()).map_err(|error| error.to_string())?;
        if held.is_some_and(|held| held.sha256 == about.sha256) {
            return Ok(Answer::Signed {
                signature,
                tag,
                policy: None,
            });
        }
        let got = from.get(&self.policy, None, POLICY_MAX).await;
        let policy = match got.map_err(|error| format!("the policy: {error}"))? {
            Download::Unchanged => return Err("the policy: the server answered nothing".into()),
            Download::File { bytes, .. } => text("the policy", bytes)?,
        };
        Ok(Answer::Signed {
            signature,
            tag,
            policy: Some(policy),
        })
    }
}

/// Why a look that took too long has failed.
pub(super) fn late(limit: Duration) -> String {
    format!("it took longer than {} s (--timeout)", limit.as_secs_f64())
}

fn text(what: &str, bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|_| format!("{what} is no text"))
}
