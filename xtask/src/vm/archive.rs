//! The initramfs's format, cpio's "newc", which is all that a kernel unpacks before there is a disk.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Writes what is below `folder` as an archive, owned by root.
pub(crate) fn pack(folder: &Path, archive: &Path) -> Result<()> {
    let mut out = std::io::BufWriter::new(fs::File::create(archive).context("create the initramfs")?);
    let mut number = 1;
    entries(folder, folder, &mut number, &mut out)?;
    entry(&mut out, 0, 0, b"TRAILER!!!", b"")?;
    out.flush().context("write the initramfs")
}

fn entries(top: &Path, folder: &Path, number: &mut u32, out: &mut impl Write) -> Result<()> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .with_context(|| format!("read {}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        let about = fs::symlink_metadata(&path).with_context(|| format!("look at {}", path.display()))?;
        let name = path.strip_prefix(top)?.as_os_str().as_bytes();
        let (kind, content) = if about.is_dir() {
            (0o040_000, Vec::new())
        } else if about.is_symlink() {
            (0o120_000, fs::read_link(&path)?.as_os_str().as_bytes().to_vec())
        } else {
            let content = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            (0o100_000, content)
        };
        *number += 1;
        entry(
            out,
            *number,
            kind | (about.permissions().mode() & 0o777),
            name,
            &content,
        )?;
        if about.is_dir() {
            entries(top, &path, number, out)?;
        }
    }
    Ok(())
}

/// A header of hexadecimal numbers, a name, a content; each padded to four bytes.
fn entry(out: &mut impl Write, number: u32, mode: u32, name: &[u8], content: &[u8]) -> Result<()> {
    let size = u32::try_from(content.len()).context("a file too large for an initramfs")?;
    let name_size = u32::try_from(name.len() + 1)?;
    let fields = [number, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
    let mut bytes = b"070701".to_vec();
    for field in fields {
        bytes.extend(format!("{field:08x}").bytes());
    }
    bytes.extend(name);
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    out.write_all(&bytes).context("write the initramfs")
}
