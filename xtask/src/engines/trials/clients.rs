//! The clients that people run in containers.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use httpjail_lab::{Lab, canary};

use super::Trials;
use crate::engines::host::OK;
use crate::run::quietly;

const JAVA: &str = "public class Get { public static void main(String[] words) throws Exception {
    new java.net.URL(words[0]).openStream().readAllBytes(); } }";

impl Trials<'_> {
    pub(super) fn clients(&mut self) -> Result<()> {
        let repository = canary();
        self.lab.git_repository(&repository)?;
        let class = java_class(self.lab)?;
        let marks: Vec<String> = (0..5).map(|_| canary()).collect();
        let url = |mark: &str| format!("https://ok.test/{mark}");
        let wheel = format!("{}-1.0-py3-none-any.whl", url(&marks[1]));
        let fetch = format!("fetch('{}').then(r => r.text())", url(&marks[2]));
        let java = format!("cat > /tmp/Get.class && java -cp /tmp Get {}", url(&marks[3]));
        let git = format!("https://ok.test/git/{repository}.git");
        let lines: [(&str, &str, Vec<&str>); 4] = [
            ("curl", &marks[0], vec!["curl", "-sS", &marks[4]]),
            (
                "pip",
                &marks[1],
                vec!["pip", "download", "--no-deps", "--retries", "0", "-d", "/tmp", &wheel],
            ),
            ("node", &marks[2], vec!["node", "-e", &fetch]),
            ("git", &repository, vec!["git", "ls-remote", &git]),
        ];
        let first = url(&marks[0]);
        for (name, mark, mut words) in lines {
            if name == "curl" {
                words[2] = &first;
            }
            let run = self.held(Some(OK), &[], &words);
            self.rows
                .arrives(&format!("{name}: an allowed request over TLS"), mark, run);
        }
        let run = self.held(Some(OK), &["-i"], &["sh", "-c", &java]).stdin(class);
        self.rows.arrives("java: an allowed request over TLS", &marks[3], run);
        for (what, options) in [
            ("read-only", &["--read-only"][..]),
            ("--user 1234", &["--user", "1234"]),
            ("--network none", &["--network", "none"]),
        ] {
            let mark = canary();
            let run = self.held(Some(OK), options, &["curl", "-sS", &url(&mark)]);
            self.rows
                .arrives(&format!("{what}: an allowed request over TLS"), &mark, run);
        }
        Ok(())
    }
}

/// A client in Java, compiled: the image has no compiler.
fn java_class(lab: &Lab) -> Result<Vec<u8>> {
    let source = lab.dir().join("Get.java");
    fs::write(&source, JAVA).context("write a client in Java")?;
    quietly(
        Command::new("javac")
            .args(["--release", "11", "-d"])
            .arg(lab.dir())
            .arg(&source),
    )?;
    fs::read(lab.dir().join("Get.class")).context("read the client")
}
