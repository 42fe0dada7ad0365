//! `httpjail serve`: the proxy alone, for programs that are told of it.

use std::io::{self, Write};

#[cfg(unix)]
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::cli::compose::open_proxy::{Access, OpenProxy};
use crate::cli::invoking_user::InvokingUser;
use crate::cli::safe_from::SafeFrom;
use crate::config::options::Auth;
use crate::config::{Config, Serving};
use crate::failure::Failure;
use crate::logging;

/// What a program has from a shell that it was interrupted in.
const INTERRUPTED: i32 = 130;

/// Serves until it is interrupted (exit status 130) or told to end (0).
///
/// # Errors
/// What kept it from serving.
pub(crate) fn run(config: &Config, caller: &InvokingUser, serving: Serving) -> Result<i32, Failure> {
    let Serving { listen, auth } = serving;
    let access = match auth {
        Auth::Token => Access::Token,
        Auth::None => Access::Anybody,
    };
    // Each connection takes two; there is no command that would inherit it.
    #[cfg(unix)]
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where it cannot be raised the connections are fewer.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    let proxy = OpenProxy::open(config, caller, listen, access, SafeFrom::AllBut(caller.user()))?;
    if !listen.ip().is_loopback() {
        let text = "the proxy is reachable from the network, and clients send it their token in the clear";
        logging::warn(text, Some("listen on 127.0.0.1, or let a tunnel lead there"));
    }
    let mut said = format!("{}\n", proxy.address.url());
    // Data, for scripts; the rest is for people.
    if let Err(error) = io::stdout()
        .write_all(said.as_bytes())
        .and_then(|()| io::stdout().flush())
    {
        return Err(Failure::new(format!("cannot print the proxy's URL: {error}")));
    }
    said = match &proxy.authority_file {
        Some(file) if config.intercept_tls => format!("clients must trust {}", file.display()),
        None if config.intercept_tls => "clients must trust an authority that is kept in memory only".to_owned(),
        _ => "HTTPS is judged by host name and not decrypted".to_owned(),
    };
    // Whoever reads no stderr loses nothing but this.
    let _ = writeln!(io::stderr(), "httpjail: serving on {}; {said}", proxy.address.address);
    let (ended, _) = proxy.while_serving(ended(), |status| status.as_ref().ok().map(|status| *status as u16))?;
    ended.map_err(|error| Failure::new(format!("cannot take the signals: {error}")))
}

#[cfg(unix)]
async fn ended() -> io::Result<i32> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(tokio::select! {
        _ = interrupt.recv() => INTERRUPTED,
        _ = terminate.recv() => 0,
    })
}

#[cfg(not(unix))]
async fn ended() -> io::Result<i32> {
    tokio::signal::ctrl_c().await?;
    Ok(INTERRUPTED)
}
