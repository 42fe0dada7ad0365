//! What becomes of a container that `httpjail-runc` starts: the engine's description of it, rewritten so that its network is held.
//!
//! An engine (docker, podman, containerd) writes a bundle with a `config.json` and calls an OCI runtime. `httpjail-runc` is called in
//! the runtime's place. It rewrites that file, and calls the runtime. Everything here is a function of what it is given; the one
//! exception is [`image`], which looks at the files of an image.

pub(crate) mod arguments;
pub(crate) mod capabilities;
pub(crate) mod config;
pub(crate) mod devices;
pub(crate) mod engines;
pub(crate) mod image;
pub(crate) mod mounts;
pub(crate) mod namespaces;
pub(crate) mod pods;
pub(crate) mod process;
pub(crate) mod refused;
pub(crate) mod seccomp;
pub(crate) mod table;
