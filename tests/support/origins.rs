//! Servers that are not like others (`probes/odd_origins.py`), on the world's side.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use httpjail_lab::Lab;

use super::PYTHON;

const ODD_ORIGINS: &str = include_str!("probes/odd_origins.py");

/// The servers; they end when this is dropped.
pub(crate) struct OddOrigins {
    child: Child,
    /// The certificate that one of them has signed itself.
    pub(crate) own: PathBuf,
}

impl OddOrigins {
    /// Starts them; they are found behind every name, and the authority of the lab vouches for `ok.test`.
    pub(crate) fn start(lab: &Lab) -> OddOrigins {
        let script = lab.file("odd_origins.py", ODD_ORIGINS);
        let (certificate, key) = lab.certificate("ok.test").unwrap();
        let (own, own_key) = (lab.fresh_path("own.pem"), lab.fresh_path("own.key"));
        // What is made when nothing else is asked for.
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "9",
                "-subj",
                "/CN=ok.test",
            ])
            .args(["-addext", "subjectAltName=DNS:ok.test", "-keyout"])
            .arg(&own_key)
            .arg("-out")
            .arg(&own)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let mut child = lab
            .on_world(|| {
                Ok(Command::new(PYTHON)
                    .args([&script, &certificate, &key, &own, &own_key])
                    .stdin(Stdio::null())
                    .stdout(Stdio::piped())
                    .spawn()?)
            })
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        assert_eq!(said, "up\n");
        OddOrigins { child, own }
    }
}

impl Drop for OddOrigins {
    fn drop(&mut self) {
        // It has ended, or it ends now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
