//! The programs that the kernel calls at each connect to a Unix socket, and at each datagram to one.

use super::inode::Inode;
use super::jailed::{Names, if_jailed};
use crate::jail::kernel::assembler::{Code, Helper, Instruction, Label};
use crate::jail::kernel::btf::Types;

/// A function that asks the security modules, and how its program gets to the other socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// `(struct sock *sock, struct sock *other, struct sock *newsk)`: streams, and sequences of packets.
    Connect,
    /// `(struct socket *sock, struct socket *other)`: datagrams.
    Send,
}

const REFUSED: i32 = -libc::ECONNREFUSED;

impl Hook {
    /// The function's name.
    pub(super) fn function(self) -> &'static str {
        match self {
            Hook::Connect => "security_unix_stream_connect",
            Hook::Send => "security_unix_may_send",
        }
    }

    /// Where its earlier answer stands behind its arguments.
    fn answer(self) -> i16 {
        match self {
            Hook::Connect => 24,
            Hook::Send => 16,
        }
    }
}

/// The program for a hook: a jailed process reaches sockets of the jail's network namespace, of one that its user namespace
/// owns, and those that are allowed.
///
/// # Errors
/// What this kernel lacks.
pub(super) fn program(
    types: &Types<'_>,
    hook: Hook,
    names: Names,
    allowed: &[Inode],
) -> Result<Vec<Instruction>, String> {
    let mut code = Code::default();
    code.copy(6, 1);
    // Who refused before is not overruled.
    code.load(0, 6, hook.answer());
    code.if_not(0, 0, Label::End);
    if_jailed(&mut code, types, names, Label::Allow)?;

    code.load(7, 6, 8);
    if hook == Hook::Send {
        code.load(7, 7, types.offset("socket", "sk")?);
        code.if_zero(7, Label::Refuse);
    }
    code.load(1, 7, types.offset("sock", "__sk_common.skc_net.net")?);
    code.if_zero(1, Label::Refuse);
    code.load_half(2, 1, types.offset("net", "ns.inum")?);
    code.if_half_is(2, names.net, Label::Allow);
    if let Some(user) = names.user {
        code.load(1, 1, types.offset("net", "user_ns")?);
        let (number, parent) = (
            types.offset("user_namespace", "ns.inum")?,
            types.offset("user_namespace", "parent")?,
        );
        code.ancestors((number, parent), user, Label::Allow);
    }
    if !allowed.is_empty() {
        if_allowed(&mut code, types, allowed)?;
    }
    code.verdict(REFUSED)
}

/// Looks at the file that the socket in register 7 is bound to; falls through where that is none of the allowed.
fn if_allowed(code: &mut Code, types: &Types<'_>, allowed: &[Inode]) -> Result<(), String> {
    code.copy(1, 7);
    code.call(Helper::ToUnixSocket);
    code.if_zero(0, Label::Refuse);
    code.load(1, 0, types.offset("unix_sock", "path.dentry")?);
    code.if_zero(1, Label::Refuse);
    code.load(1, 1, types.offset("dentry", "d_inode")?);
    code.if_zero(1, Label::Refuse);
    code.load(2, 1, types.offset("inode", "i_ino")?);
    code.load(1, 1, types.offset("inode", "i_sb")?);
    code.if_zero(1, Label::Refuse);
    code.load_half(3, 1, types.offset("super_block", "s_dev")?);
    // Device and number in one comparison: what differs in either is not zero.
    for file in allowed {
        code.set_long(4, file.number);
        code.xor(4, 2);
        code.set_long(5, file.device.into());
        code.xor(5, 3);
        code.or(4, 5);
        code.if_zero(4, Label::Allow);
    }
    Ok(())
}
