//! Words of any bytes, such as arguments and variables, passed in a file of memory that nobody can change any more.
//!
//! They may be longer than a message has room for, and who receives them must not wait for who sends them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::FileExt as _;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// More than execve(2) takes.
const BYTES_MAX: u64 = 8 << 20;

/// Writes the words into a file of memory, and closes that to changes.
///
/// # Errors
/// `InvalidInput` for a word with a zero byte in it; those of the system calls.
pub(crate) fn keep<'word>(words: impl IntoIterator<Item = &'word OsStr>) -> io::Result<OwnedFd> {
    let mut bytes = Vec::new();
    for word in words {
        if word.as_bytes().contains(&0) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        bytes.extend_from_slice(word.as_bytes());
        bytes.push(0);
    }
    let mut file = File::from(memfd_create(
        "words",
        MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
    )?);
    file.write_all(&bytes)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals() | SealFlag::F_SEAL_SEAL))?;
    Ok(file.into())
}

/// Reads them. A file that could change, or be something to wait for, is refused.
///
/// # Errors
/// `InvalidData` for what [`keep`] has not made.
pub(crate) fn read(kept: OwnedFd) -> io::Result<Vec<OsString>> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    // Only a file of memory has seals (fcntl(2)).
    let sealed = fcntl(&kept, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_retain);
    if !sealed.is_ok_and(|sealed| sealed.contains(seals())) {
        return Err(wrong("the words could be changed"));
    }
    let file = File::from(kept);
    let length = file.metadata()?.len();
    if length > BYTES_MAX {
        return Err(wrong("there are too many words"));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    match bytes.pop() {
        None => return Ok(Vec::new()),
        Some(0) => {}
        Some(_) => return Err(wrong("the last word has no end")),
    }
    let words = bytes.split(|byte| *byte == 0);
    Ok(words.map(|word| OsString::from_vec(word.to_vec())).collect())
}

fn seals() -> SealFlag {
    SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_as_they_were() {
        let words = ["a b", "", "\u{e4}=\n"].map(OsStr::new);
        let kept = keep(words).expect("kept");
        assert_eq!(read(kept).expect("read"), words);
        assert!(keep([OsStr::new("a\0b")]).is_err());
    }

    #[test]
    fn what_could_change_or_block_is_refused() {
        let open = memfd_create("words", MFdFlags::MFD_ALLOW_SEALING).expect("a file");
        assert!(read(open).is_err());
        let (pipe, _writer) = io::pipe().expect("a pipe");
        assert!(read(pipe.into()).is_err());
    }
}
