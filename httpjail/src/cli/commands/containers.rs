//! What is said when a jailed command is a container engine's: the container would not run in the jail.
//!
//! The command of docker only asks docker's daemon, which runs the container as a child of its own. Podman runs it itself, but needs
//! rights that a jail does not give.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What would happen, and what to type instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Advice {
    pub text: String,
    pub hint: String,
}

/// Commands that only ask a daemon, and its socket.
const ASKING: &[(&str, &str)] = &[
    ("docker", "/var/run/docker.sock"),
    ("docker-compose", "/var/run/docker.sock"),
    ("nerdctl", "/run/containerd/containerd.sock"),
    ("ctr", "/run/containerd/containerd.sock"),
    ("crictl", "/run/containerd/containerd.sock"),
];
/// Commands that run containers themselves.
const RUNNING: &[&str] = &["podman", "buildah"];
/// Names of the sockets of engines.
const SOCKETS: &[&str] = &["docker.sock", "containerd.sock", "podman.sock", "crio.sock"];
/// What starts no container.
const HARMLESS: &[&str] = &["--version", "-v", "--help", "help", "version"];

/// Returns what to say of a command line, if it is one of an engine or an engine's socket is let in.
pub(super) fn advise(program: &Path, arguments: &[OsString], allowed: &[PathBuf]) -> Option<Advice> {
    let is_engines = |path: &&PathBuf| {
        path.file_name()
            .is_some_and(|name| SOCKETS.iter().any(|socket| name == *socket))
    };
    if let Some(socket) = allowed.iter().find(is_engines) {
        return Some(Advice {
            text: format!(
                "{} is an engine's socket: its daemon runs containers outside of this jail, as root, and nothing that they send is judged",
                socket.display()
            ),
            hint: instead("docker"),
        });
    }
    let name = program.file_name()?.to_str()?;
    if arguments
        .first()
        .is_none_or(|first| HARMLESS.iter().any(|word| first == word))
    {
        return None;
    }
    if let Some((_, socket)) = ASKING.iter().find(|(asking, _)| *asking == name) {
        return Some(Advice {
            text: format!(
                "{name} only asks a daemon to run containers, outside of this jail; it cannot reach that: {socket} is not shown to a jail"
            ),
            hint: instead(if name == "docker" || name == "docker-compose" {
                "docker"
            } else {
                "containerd"
            }),
        });
    }
    RUNNING.contains(&name).then(|| Advice {
        text: format!(
            "{name} needs mounts and user ids that a jail does not give, so its containers do not start in here"
        ),
        hint: instead("podman"),
    })
}

fn instead(engine: &str) -> String {
    let run = match engine {
        "podman" => "sudo podman --runtime httpjail run IMAGE",
        "containerd" => "use the RuntimeClass `httpjail`",
        _ => "docker run --runtime httpjail IMAGE",
    };
    format!("hold the container itself: sudo httpjail runtime install {engine}; {run}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str, allowed: &[&str]) -> Option<String> {
        let mut words = line.split(' ');
        let program = PathBuf::from(words.next().unwrap_or_default());
        let arguments: Vec<OsString> = words.map(OsString::from).collect();
        let allowed: Vec<PathBuf> = allowed.iter().map(PathBuf::from).collect();
        advise(&program, &arguments, &allowed).map(|advice| format!("{}\n{}", advice.text, advice.hint))
    }

    #[test]
    fn an_engines_command_says_where_its_container_runs() {
        let docker = said("/usr/bin/docker run alpine", &[]).expect("advice");
        assert!(
            docker.contains("outside of this jail") && docker.contains("docker run --runtime httpjail"),
            "{docker}"
        );
        let podman = said("podman run alpine", &[]).expect("advice");
        assert!(
            podman.contains("do not start") && podman.contains("sudo podman --runtime httpjail"),
            "{podman}"
        );
        let socket = said("docker run alpine", &["/run/docker.sock"]).expect("advice");
        assert!(socket.contains("nothing that they send is judged"), "{socket}");
        assert!(
            said("python3 x.py", &["/run/user/1000/podman/podman.sock"]).is_some(),
            "whatever asks"
        );
    }

    #[test]
    fn other_commands_get_no_advice() {
        for line in [
            "curl docker",
            "/usr/bin/dockerfmt run",
            "docker --version",
            "docker",
            "podman help",
        ] {
            assert_eq!(said(line, &["/run/mysql.sock"]), None, "{line}");
        }
    }
}
