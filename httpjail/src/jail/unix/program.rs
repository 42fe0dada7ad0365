//! The way by a program in the kernel, which only root has.

use crate::jail::sandbox::Sandbox;

/// The attached program. Dropped, it is detached.
#[derive(Debug)]
pub struct Program {}

impl Program {
    /// Attaches it for this jail.
    ///
    /// # Errors
    /// Why this kernel, or this caller, cannot have it: the next way is taken then.
    pub fn attach(_sandbox: &Sandbox) -> Result<Self, String> {
        Err("this httpjail has no kernel program for them".into())
    }
}
