//! Runs a packet program on a made-up packet (`BPF_PROG_TEST_RUN`). Only tests use it.

use std::io;
use std::os::fd::BorrowedFd;

use super::call::{AddrU64 as _, bpf, raw};

const BPF_PROG_TEST_RUN: i32 = 10;
/// The word of `struct __sk_buff` that holds the interface (include/uapi/linux/bpf.h).
const IFINDEX: usize = 10;

/// What the program returns for this Ethernet frame on this interface of the thread's network namespace.
///
/// # Errors
/// EINVAL for a frame that the kernel does not take (below an Ethernet header) or an interface that is not there.
pub(crate) fn prog_test_run(program: BorrowedFd<'_>, frame: &[u8], ifindex: u32) -> io::Result<u32> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        retval: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        ctx_size_in: u32,
        ctx_size_out: u32,
        ctx_in: u64,
        ctx_out: u64,
    }
    let mut context = [0_u32; IFINDEX + 1];
    context[IFINDEX] = ifindex;
    let mut attr = Attr {
        prog_fd: raw(program),
        retval: 0,
        data_size_in: u32::try_from(frame.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?,
        data_size_out: 0,
        data_in: frame.as_ptr().addr_u64(),
        data_out: 0,
        repeat: 1,
        duration: 0,
        ctx_size_in: size_of_val(&context) as u32,
        ctx_size_out: 0,
        ctx_in: context.as_ptr().addr_u64(),
        ctx_out: 0,
    };
    // SAFETY: the kernel reads `data_size_in` bytes at `data_in` and `ctx_size_in` at `ctx_in`, and writes into `attr` alone.
    unsafe { bpf(BPF_PROG_TEST_RUN, &mut attr) }?;
    Ok(attr.retval)
}
