//! `--allow-socket`: what is named has to be a Unix socket, and some sockets are the whole host.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::control::directory;
use crate::failure::Failure;
use crate::jail::sandbox::user_identity::UserIdentity;
use crate::logging;

/// Sockets whose owner runs what he is asked to, outside of every jail: the path's ending, and who it is.
const ENGINES: [(&str, &str); 13] = [
    ("/docker.sock", "docker"),
    ("/podman.sock", "podman"),
    ("/containerd.sock", "containerd"),
    ("/crio.sock", "CRI-O"),
    ("/buildkitd.sock", "buildkit"),
    ("/lxd/unix.socket", "LXD"),
    ("/incus/unix.socket", "Incus"),
    ("/libvirt-sock", "libvirt"),
    ("/snapd.socket", "snapd"),
    ("/nix/daemon-socket/socket", "nix"),
    ("/systemd/private", "systemd"),
    ("/dbus/system_bus_socket", "D-Bus, and so systemd"),
    ("/bus", "D-Bus, and so systemd"),
];

/// Looks at each, and warns of those that lead out.
///
/// # Errors
/// For a path that is no socket, or httpjail's own, with status 2.
pub(crate) fn check(config: &Config, caller: &UserIdentity) -> Result<(), Failure> {
    for path in &config.allow_sockets {
        let found = caller.act(|| look(path)).and_then(|found| found);
        let real = found.map_err(|error| Failure {
            status: 2,
            ..Failure::new(format!("--allow-socket {}: {error}", path.display()))
        })?;
        let control = fs::metadata(&real)
            .is_ok_and(|found| directory::is_control_socket(&found, caller.uid.as_raw(), &caller.home));
        if control {
            return Err(Failure {
                status: 2,
                hint: Some("a jail asks no httpjail anything: `httpjail list` and `reload` are for its owner".into()),
                ..Failure::new(format!(
                    "--allow-socket {}: it is a control socket of httpjail",
                    path.display()
                ))
            });
        }
        if let Some(engine) = engine(path).or_else(|| engine(&real)) {
            logging::warn(
                &format!(
                    "--allow-socket {} leads to {engine}, which runs programs outside of the jail for whoever asks",
                    path.display()
                ),
                Some("no rule holds what is started so: allow it only to a command that you would run without a jail"),
            );
        }
    }
    Ok(())
}

/// Says which of them nothing can be sent to, where init makes the jail's connections.
pub(crate) fn warn_of_datagrams(config: &Config, caller: &UserIdentity) {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    // The fifth field is the socket's type, SOCK_DGRAM is 2; the eighth its name (net/unix/af_unix.c, unix_seq_show).
    let for_datagrams = |path: &Path| {
        let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        fields
            .into_iter()
            .any(|fields| fields.get(4) == Some(&"0002") && fields.get(7).is_some_and(|name| Path::new(name) == path))
    };
    for path in &config.allow_sockets {
        let real = caller.act(|| look(path)).flatten().unwrap_or_else(|_| path.clone());
        if for_datagrams(path) || for_datagrams(&real) {
            logging::warn(
                &format!(
                    "--allow-socket {}: it is for datagrams, of which the jail can send none",
                    path.display()
                ),
                None,
            );
        }
    }
}

/// Where the path leads, if that is a socket.
fn look(path: &Path) -> io::Result<PathBuf> {
    let real = fs::canonicalize(path)?;
    if fs::metadata(&real)?.file_type().is_socket() {
        Ok(real)
    } else {
        Err(io::Error::other("it is no Unix socket"))
    }
}

fn engine(path: &Path) -> Option<&'static str> {
    let path = path.to_str()?;
    let mut engines = ENGINES.iter();
    engines.find_map(|(ending, engine)| path.ends_with(ending).then_some(*engine))
}
