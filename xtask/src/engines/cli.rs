//! docker and podman: engines that are spoken to by a command line, which is nearly one and the same.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use httpjail_lab::{JailBuilder, Outcome, Running, eventually};

use super::host::Host;

/// What the imported Debian is called.
pub(crate) const IMAGE: &str = "lab/debian";
const PATIENCE: Duration = Duration::from_secs(60);

/// An engine, and by whom it is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// docker, with its daemon
    Docker,
    /// Podman as root
    Podman,
    /// Podman as a user who is not root
    Rootless,
    /// containerd by its CRI socket, as Kubernetes speaks to it
    Containerd,
}

impl Kind {
    /// What it is called in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Docker => "docker",
            Kind::Podman => "podman",
            Kind::Rootless => "rootless",
            Kind::Containerd => "containerd",
        }
    }
}

/// An engine on a host.
pub(crate) struct Engine<'host> {
    kind: Kind,
    host: &'host Host<'host>,
    words: Vec<String>,
    daemon: Option<Running>,
}

impl<'host> Engine<'host> {
    /// Starts it, with all of its state in the lab's directory.
    pub(crate) fn start(kind: Kind, host: &'host Host<'host>) -> Result<Self> {
        let dir = host.lab().dir().join(kind.name()).display().to_string();
        let under = |name: &str| format!("{dir}/{name}");
        let (data, run) = (under("data"), under("run"));
        let (words, daemon) = match kind {
            Kind::Docker => {
                std::fs::create_dir_all(&dir).context("make docker's folder")?;
                let socket = format!("unix://{}", under("socket"));
                let pid = under("pid");
                let start = [
                    "dockerd",
                    "--data-root",
                    &data,
                    "--exec-root",
                    &run,
                    "--pidfile",
                    &pid,
                    "--host",
                    &socket,
                ];
                let daemon = host.command(&start).limit(Duration::from_secs(3600)).start()?;
                (vec!["/usr/bin/docker".into(), "--host".into(), socket], Some(daemon))
            }
            Kind::Podman => {
                let words = [
                    "podman",
                    "--root",
                    &data,
                    "--runroot",
                    &run,
                    "--cgroup-manager",
                    "cgroupfs",
                ];
                (words.map(str::to_owned).to_vec(), None)
            }
            Kind::Containerd => bail!("containerd is spoken to by its socket"),
            Kind::Rootless => (
                ["podman", "--cgroup-manager", "cgroupfs"].map(str::to_owned).to_vec(),
                None,
            ),
        };
        let engine = Engine {
            kind,
            host,
            words,
            daemon,
        };
        let up = eventually(PATIENCE, || engine.call(&["version"]).run().code() == Some(0));
        let said = || engine.daemon.as_ref().map(Running::stderr).unwrap_or_default();
        ensure!(up, "{} does not answer: {}", kind.name(), said());
        Ok(engine)
    }

    /// Which engine it is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The host that it runs on.
    pub(crate) fn host(&self) -> &'host Host<'host> {
        self.host
    }

    /// The command line so far.
    pub(crate) fn words(&self) -> &[String] {
        &self.words
    }

    /// One call of its command line.
    pub(crate) fn call<S: AsRef<str>>(&self, arguments: &[S]) -> JailBuilder<'host> {
        let words: Vec<&str> = self
            .words
            .iter()
            .map(String::as_str)
            .chain(arguments.iter().map(AsRef::as_ref))
            .collect();
        if self.kind == Kind::Rootless {
            self.host.command_by_user(&words)
        } else {
            self.host.command(&words)
        }
    }

    /// Makes it read its configuration again.
    pub(crate) fn reload(&self) -> Result<()> {
        if self.kind == Kind::Docker {
            let outcome = self.host.command(&["sh", "-c", "kill -HUP $(pidof dockerd)"]).run();
            ensure!(outcome.code() == Some(0), "reload docker: {}", outcome.stderr);
            let known = || {
                let told = self.call(&["info", "--format", "{{json .Runtimes}}"]).run();
                told.stdout.contains("httpjail")
            };
            ensure!(eventually(PATIENCE, known), "docker does not know the runtime");
        }
        Ok(())
    }

    /// A container of the imported image that is removed at its end unless it has a name, under a runtime or the plain one.
    pub(crate) fn start_container<S: AsRef<str>>(
        &self,
        runtime: Option<&str>,
        options: &[&str],
        command: &[S],
    ) -> JailBuilder<'host> {
        self.start_image(runtime, IMAGE, options, command)
    }

    /// The same of another image.
    pub(crate) fn start_image<S: AsRef<str>>(
        &self,
        runtime: Option<&str>,
        image: &str,
        options: &[&str],
        command: &[S],
    ) -> JailBuilder<'host> {
        let mut words = match (self.kind, runtime) {
            (Kind::Docker, Some(runtime)) => vec!["run", "--runtime", runtime],
            (Kind::Docker, None) => vec!["run"],
            // crun refuses hosts with cgroups of both versions.
            (_, runtime) => vec!["--runtime", runtime.unwrap_or("runc"), "run"],
        };
        if !options.contains(&"--name") {
            words.push("--rm");
        }
        words.extend(options);
        words.push(image);
        words.extend(command.iter().map(AsRef::as_ref));
        self.call(&words)
    }

    /// Makes an image of the imported one, with changes in the words of a Dockerfile.
    pub(crate) fn derive(&self, name: &str, changes: &[&str]) -> Result<()> {
        let made = self.start_container(None, &["--name", "model"], &["true"]).run();
        ensure!(made.code() == Some(0), "make a model: {}", made.stderr);
        let mut words = vec!["commit"];
        for change in changes {
            words.extend(["--change", change]);
        }
        words.extend(["model", name]);
        self.must(&words)?;
        self.must(&["rm", "--force", "model"])?;
        Ok(())
    }

    /// Gives it the image.
    pub(crate) fn import(&self, image: &Path) -> Result<()> {
        self.must(&["import", &image.display().to_string(), IMAGE])?;
        Ok(())
    }

    /// A call that has to succeed.
    pub(crate) fn must<S: AsRef<str>>(&self, arguments: &[S]) -> Result<Outcome> {
        let outcome = self.call(arguments).run();
        let words: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        ensure!(
            outcome.code() == Some(0),
            "{} {}: {}",
            self.kind.name(),
            words.join(" "),
            outcome.stderr
        );
        Ok(outcome)
    }
}
