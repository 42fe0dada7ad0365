//! Tells a program in the kernel which processes are jailed: by the inode numbers of the jail's namespaces.

use crate::jail::kernel::assembler::{Code, Helper, Label};
use crate::jail::kernel::btf::Types;

/// The jail, by the numbers of its namespaces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    /// Who is in it: processes whose PID namespace is this, or one below.
    pub pid: u32,
    /// What is in it: sockets of this network namespace.
    pub net: u32,
    /// And of those that belong to this user namespace, or to one below.
    pub user: Option<u32>,
}

/// Goes on where a process of the jail called.
pub(super) fn if_jailed(code: &mut Code, types: &Types<'_>, names: Names, otherwise: Label) -> Result<(), String> {
    code.call(Helper::CurrentTask);
    code.load(1, 0, types.offset("task_struct", "nsproxy")?);
    code.if_zero(1, otherwise);
    code.load(1, 1, types.offset("nsproxy", "pid_ns_for_children")?);
    let (number, parent) = (
        types.offset("pid_namespace", "ns.inum")?,
        types.offset("pid_namespace", "parent")?,
    );
    code.ancestors((number, parent), names.pid, Label::Jailed);
    code.jump(otherwise);
    code.here(Label::Jailed);
    Ok(())
}
