//! The environment variables that lead a program to the proxy.
//!
//! Each client reads its own. A program that reads none of these goes past the proxy: that is the weakness of weak mode.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What a program must know to use the proxy.
#[derive(Debug, Clone)]
pub(crate) struct ProxyAddress {
    /// Where it listens, as its clients reach it.
    pub address: SocketAddr,
    /// `user:password`, if it wants that.
    pub credentials: Option<String>,
    /// A trust store for the JVM, if it is to trust the proxy.
    pub java_store: Option<PathBuf>,
}

/// Hosts that are reached without the proxy: servers of the command's own.
const DIRECT: &str = "localhost,127.0.0.1,::1";

/// Variables of a proxy's URL. curl takes `http_proxy` in lower case only, others know the upper case alone.
const PROXY: [&str; 6] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
];

const JAVA_OPTIONS: &str = "JAVA_TOOL_OPTIONS";

impl ProxyAddress {
    /// The proxy's URL.
    pub(crate) fn url(&self) -> String {
        match &self.credentials {
            Some(credentials) => format!("http://{credentials}@{}", self.address),
            None => format!("http://{}", self.address),
        }
    }
}

/// `own` (the caller's environment) with what leads to the proxy, and with `more`. What is set here replaces what was.
pub(crate) fn build(
    own: impl Iterator<Item = (OsString, OsString)>,
    proxy: &ProxyAddress,
    more: impl IntoIterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    let own: Vec<(OsString, OsString)> = own.collect();
    let url = proxy.url();
    let pair = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
    let java = own.iter().find(|(name, _)| name == JAVA_OPTIONS);
    let mut added: Vec<(OsString, OsString)> = PROXY.iter().map(|name| pair(name, &url)).collect();
    added.extend([
        pair("NO_PROXY", DIRECT),
        pair("no_proxy", DIRECT),
        // node 22.21 and 24.5 on: fetch and http(s) read the variables above.
        pair("NODE_USE_ENV_PROXY", "1"),
        (
            JAVA_OPTIONS.into(),
            java_options(java.map(|(_, value)| value.as_os_str()), proxy),
        ),
    ]);
    added.extend(more);
    let taken = |name: &OsStr| {
        added.iter().any(|(added, _)| match (added.to_str(), name.to_str()) {
            // Windows does not tell their cases apart.
            (Some(added), Some(name)) if cfg!(windows) => added.eq_ignore_ascii_case(name),
            _ => added == name,
        })
    };
    let mut env: Vec<(OsString, OsString)> = own
        .into_iter()
        .filter(|(name, _)| !taken(name) && name != "FTP_PROXY" && name != "ftp_proxy")
        .collect();
    env.append(&mut added);
    env
}

/// The JVM reads no variable for proxies, only options, and says on stderr that it picked these up. They cannot carry a token.
fn java_options(own: Option<&OsStr>, proxy: &ProxyAddress) -> OsString {
    let (host, port) = (proxy.address.ip(), proxy.address.port());
    let mut options = own.map(OsStr::to_owned).unwrap_or_default();
    if !options.is_empty() {
        options.push(" ");
    }
    options.push(format!(
        "-Dhttp.proxyHost={host} -Dhttp.proxyPort={port} -Dhttps.proxyHost={host} -Dhttps.proxyPort={port} \
         -Dhttp.nonProxyHosts=localhost|127.*|[::1]"
    ));
    if let Some(store) = &proxy.java_store {
        options.push(" \"-Djavax.net.ssl.trustStore=");
        options.push(store);
        options.push("\"");
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(own: &[(&str, &str)]) -> Vec<(String, String)> {
        let proxy = ProxyAddress {
            address: "127.0.0.1:9".parse().unwrap(),
            credentials: Some("u:t".into()),
            java_store: Some("/a folder/s".into()),
        };
        let own = own.iter().map(|(name, value)| (name.into(), value.into()));
        let more = [("SSL_CERT_FILE".into(), "/ours".into())];
        let text = |text: OsString| text.into_string().unwrap();
        let built = build(own, &proxy, more);
        built
            .into_iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect()
    }

    // Proves: K04.
    #[test]
    fn what_is_set_and_what_stays() {
        let env = built(&[
            ("PATH", "/bin"),
            ("https_proxy", "http://other:1"),
            ("NO_PROXY", "*"),
            ("ftp_proxy", "x"),
            ("SSL_CERT_FILE", "/theirs"),
            ("JAVA_TOOL_OPTIONS", "-Xmx1g"),
        ]);
        let of = |name: &str| {
            let mut values = env
                .iter()
                .filter(|(found, _)| found == name)
                .map(|(_, value)| value.as_str());
            let value = values.next();
            assert_eq!(values.next(), None, "{name} is set twice");
            value
        };
        for name in PROXY {
            assert_eq!(of(name), Some("http://u:t@127.0.0.1:9"), "{name}");
        }
        assert_eq!(
            (of("PATH"), of("SSL_CERT_FILE"), of("ftp_proxy")),
            (Some("/bin"), Some("/ours"), None)
        );
        assert_eq!((of("NO_PROXY"), of("no_proxy")), (Some(DIRECT), Some(DIRECT)));
        let java = of("JAVA_TOOL_OPTIONS").unwrap();
        assert!(
            java.starts_with("-Xmx1g -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=9 "),
            "{java}"
        );
        let end = " \"-Djavax.net.ssl.trustStore=/a folder/s\"";
        assert!(java.ends_with(end), "{java}");
    }
}
