//! The oldest kernel that the programs support.

use nix::sys::utsname::uname;

use crate::jail::steering::SteeringError;

/// The first on which a process without any right may read a map whose descriptor it was given, where unprivileged BPF is
/// off, as it is everywhere: the proxy has to. The programs' own helpers are in 5.18 (`bpf_set_retval`).
const OLDEST: (u32, u32) = (5, 19);

/// That this kernel is older, if it is. Asked before anything is tried: an old one refuses with errors that tell nothing (up
/// to 5.10 maps are counted against RLIMIT_MEMLOCK). Red Hat's bear the number that they set out from, and have all that
/// came later: they are tried.
pub(crate) fn too_old() -> Option<SteeringError> {
    let name = uname().ok()?;
    refuse(&name.release().to_string_lossy())
}

fn refuse(release: &str) -> Option<SteeringError> {
    let mut numbers = release.split(['.', '-', '+', '~']).map(str::parse::<u32>);
    let version = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    let backported = release.contains(".el");
    (version < OLDEST && !backported).then(|| {
        let (major, minor) = OLDEST;
        SteeringError::new(format!("Linux {major}.{minor} is needed, and this is {release}"))
    })
}

#[cfg(test)]
mod tests {
    use super::refuse;

    #[test]
    fn old_kernels_are_told_by_their_number() {
        let told = |release: &str| refuse(release).map(|error| error.message);
        assert_eq!(
            told("5.10.0-46-amd64").unwrap(),
            "Linux 5.19 is needed, and this is 5.10.0-46-amd64"
        );
        assert!(told("4.19.0").is_some());
        assert!(told("5.18.19").is_some());
        for new in [
            "5.19.0",
            "5.19",
            "6.1.0-31-amd64",
            "7.3.4",
            "10.0.0",
            "5.14.0-503.el9.x86_64",
            "strange",
        ] {
            assert_eq!(told(new), None, "{new}");
        }
    }
}
