//! What the tests share beside the lab itself.

pub(crate) mod ask;
pub(crate) mod origins;

use std::path::{Path, PathBuf};

use httpjail_lab::{JailBuilder, Lab, Outcome};

/// The httpjail that this test run was built with, or the one that HTTPJAIL_TEST_BINARY names.
pub(crate) fn binary() -> PathBuf {
    let named = std::env::var_os("HTTPJAIL_TEST_BINARY").map(PathBuf::from);
    named.unwrap_or(env!("CARGO_BIN_EXE_httpjail").into())
}

/// A lab around it.
pub(crate) fn lab() -> Lab {
    Lab::start(&binary()).expect("raise the lab")
}

/// The python that every probe is run with: the system's, which every user may execute.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// Whether `client` is there to be tested. A missing one is a printed skip, and a failure where
/// HTTPJAIL_TEST_REQUIRE is set.
pub(crate) fn have(client: &str) -> bool {
    let there = [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ]
    .iter()
    .any(|folder| Path::new(folder).join(client).exists());
    if !there {
        assert!(
            std::env::var_os("HTTPJAIL_TEST_REQUIRE").is_none(),
            "{client} is required and not installed"
        );
        eprintln!("skipped: {client} is not installed");
    }
    there
}

/// How often to repeat: `name`'s value in the environment, else `usual`.
pub(crate) fn repeats(name: &str, usual: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(usual)
}

/// What only [`Outcome`]s can be asked, with all that is known about the run when the answer is wrong.
pub(crate) trait Expect {
    /// It ended with this exit status.
    fn expect_code(self, code: i32) -> Self;
    /// It printed this, and nothing more, but for white space around it.
    fn expect_stdout(self, text: &str) -> Self;
    /// Its complaints contain this.
    fn expect_stderr_has(self, text: &str) -> Self;
}

impl Expect for Outcome {
    #[track_caller]
    fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "{self:#?}");
        self
    }

    #[track_caller]
    fn expect_stdout(self, text: &str) -> Self {
        assert_eq!(self.stdout.trim(), text, "{self:#?}");
        self
    }

    #[track_caller]
    fn expect_stderr_has(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "no {text:?} in the complaints of {self:#?}");
        self
    }
}

/// Neither a control character, but for line ends, nor one that hides others or turns them around; and no forged line.
#[track_caller]
pub(crate) fn is_harmless(text: &str) {
    let unsafe_char = |c: &char| {
        let invisible = ['\u{61c}', '\u{feff}', '\u{85}', '\u{2028}', '\u{2029}'].contains(c);
        let turned = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
        c.is_control() && *c != '\n' || invisible || turned
    };
    if let Some(found) = text.chars().find(unsafe_char) {
        panic!("{found:?} in {text:?}");
    }
    let forged = text.lines().find(|line| line.starts_with("forged"));
    assert_eq!(forged, None, "in {text}");
}

/// All of `words` are in `text`.
#[track_caller]
pub(crate) fn has_all(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word} in {text}");
    }
}

/// `curl` with its status code as all its output.
pub(crate) fn curl_status<'lab>(jail: JailBuilder<'lab>, more: &[&str]) -> JailBuilder<'lab> {
    let mut line = vec![
        "curl",
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "--max-time",
        "20",
    ];
    line.extend(more);
    jail.command(line)
}
