//! The programs for FIFOs: one notes each FIFO that is made in the jail, the other runs at each opening of a file. A
//! jailed process may open for writing only a FIFO that was made in its jail, or that it was given at the start.
//!
//! The kernel does not record who reads a FIFO, but a program can note who made it: by file system, inode number and
//! generation, because an inode number is used again.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use nix::sys::stat::{SFlag, fstat};
use nix::sys::statfs::{FsType, fstatfs};

use super::inode::Inode;
use super::jailed::{Names, if_jailed};
use crate::jail::kernel::assembler::{Code, Helper, Instruction, Label, Register};
use crate::jail::kernel::btf::Types;
use crate::sys::bpf::{self, Map, MapDef};

/// Told of each FIFO: `vfs_mknod`, whose arguments differ from kernel to kernel.
pub(super) const MADE: &str = "vfs_mknod";
/// Asked at each opening: `(struct file *file)`.
pub(super) const OPENED: &str = "security_file_open";

const REFUSED: i32 = -libc::EACCES;
/// `FMODE_WRITE` of include/linux/fs.h.
const WRITE: i32 = 2;
/// `PIPEFS_MAGIC` of include/uapi/linux/magic.h.
const PIPEFS: i32 = 0x5049_5045;
const BPF_MAP_TYPE_LRU_HASH: u32 = 9;
/// How many FIFOs of a jail are known. Of one that made more, those that it has not opened for the longest time cannot be written.
const MOST: u32 = 4096;
/// In a value: this generation counts. Without it any does.
const COUNTS: u64 = 1 << 32;

/// Where a key and a value lie on the stack.
const KEY: i16 = -16;
const VALUE: i16 = -24;

/// The FIFOs that may be written: device and number, and the generation.
pub(super) struct Known(Map<[u64; 2], u64>);

impl Known {
    /// Begins with what is standard input, output and error.
    ///
    /// # Errors
    /// Those of making the map.
    pub(super) fn new() -> io::Result<Self> {
        let map = bpf::map_create(
            "httpjail_pipes",
            &MapDef {
                map_type: BPF_MAP_TYPE_LRU_HASH,
                key_size: 16,
                value_size: 8,
                max_entries: MOST,
                flags: 0,
                types: None,
            },
        )?;
        let known = Known(Map::new(map)?);
        for inode in [
            given(io::stdin().as_fd()),
            given(io::stdout().as_fd()),
            given(io::stderr().as_fd()),
        ]
        .into_iter()
        .flatten()
        {
            known.0.update(&[inode.device.into(), inode.number], &0)?;
        }
        Ok(known)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A FIFO that has a name.
fn given(file: BorrowedFd<'_>) -> Option<Inode> {
    let found = fstat(file).ok()?;
    let kind = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT;
    let named = kind == SFlag::S_IFIFO && fstatfs(file).is_ok_and(|of| of.filesystem_type() != FsType(PIPEFS.into()));
    named.then(|| Inode::of(found.st_dev, found.st_ino))
}

/// Notes which FIFOs are made in the jail, and forgets those whose numbers others take.
///
/// # Errors
/// What this kernel lacks.
pub(super) fn made(types: &Types<'_>, names: Names, known: &Known) -> Result<Vec<Instruction>, String> {
    let (entry, arguments) = types.parameter(MADE, "dentry")?;
    let mut code = Code::default();
    code.copy(6, 1);
    code.load(1, 6, 8 * arguments);
    code.if_half_not(1, 0, Label::End);
    code.load(7, 6, 8 * entry);
    code.load(7, 7, types.offset("dentry", "d_inode")?);
    code.if_zero(7, Label::End);
    if_pipe(&mut code, types, Label::End)?;
    if_jailed(&mut code, types, names, Label::Others)?;
    generation(&mut code, types, 1)?;
    code.store(VALUE, 1);
    key(&mut code, types, known, Label::End)?;
    code.set_address(3, VALUE);
    code.set(4, 0);
    code.call(Helper::MapUpdate);
    code.jump(Label::End);

    code.here(Label::Others);
    key(&mut code, types, known, Label::End)?;
    code.call(Helper::MapDelete);
    code.here(Label::End);
    code.set(0, 0);
    code.exit();
    code.finish()
}

/// Refuses a jailed process to open other FIFOs for writing.
///
/// # Errors
/// What this kernel lacks.
pub(super) fn opened(types: &Types<'_>, names: Names, known: &Known) -> Result<Vec<Instruction>, String> {
    let mut code = Code::default();
    code.copy(6, 1);
    // Who refused before is not overruled.
    code.load(0, 6, 8);
    code.if_not(0, 0, Label::End);
    code.load(7, 6, 0);
    code.load_half(1, 7, types.offset("file", "f_mode")?);
    code.and(1, WRITE);
    code.if_zero(1, Label::Allow);
    code.load(7, 7, types.offset("file", "f_inode")?);
    code.if_zero(7, Label::Allow);
    if_pipe(&mut code, types, Label::Allow)?;
    if_jailed(&mut code, types, names, Label::Allow)?;
    key(&mut code, types, known, Label::Refuse)?;
    // One without a name is reached by a descriptor alone.
    code.load(3, 8, types.offset("super_block", "s_magic")?);
    code.if_is(3, PIPEFS, Label::Allow);
    code.call(Helper::MapLookup);
    code.if_zero(0, Label::Refuse);
    code.load(1, 0, 0);
    code.if_zero(1, Label::Allow);
    generation(&mut code, types, 2)?;
    code.if_same(1, 2, Label::Allow);
    code.verdict(REFUSED)
}

/// Goes on where the inode in register 7 is a FIFO.
fn if_pipe(code: &mut Code, types: &Types<'_>, otherwise: Label) -> Result<(), String> {
    code.load_quarter(1, 7, types.offset("inode", "i_mode")?);
    code.and(1, SFlag::S_IFMT.bits().cast_signed());
    code.if_not(1, SFlag::S_IFIFO.bits().cast_signed(), otherwise);
    Ok(())
}

/// Puts the numbers of the inode in register 7 where a call takes a map and a key; its file system's are in register 8 then.
fn key(code: &mut Code, types: &Types<'_>, known: &Known, without: Label) -> Result<(), String> {
    code.load(8, 7, types.offset("inode", "i_sb")?);
    code.if_zero(8, without);
    code.load_half(1, 8, types.offset("super_block", "s_dev")?);
    code.store(KEY, 1);
    code.load(1, 7, types.offset("inode", "i_ino")?);
    code.store(KEY + 8, 1);
    code.set_map(1, known.fd());
    code.set_address(2, KEY);
    Ok(())
}

/// The value that stands for the generation of the inode in register 7.
fn generation(code: &mut Code, types: &Types<'_>, to: Register) -> Result<(), String> {
    code.load_half(to, 7, types.offset("inode", "i_generation")?);
    code.set_long(3, COUNTS);
    code.or(to, 3);
    Ok(())
}
