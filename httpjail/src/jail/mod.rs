//! The jail: runs a command that has no way out but the proxy.
//!
//! Each directory is a floor, and imports only the floors after its arrow:
//!
//! | floor | what it does | imports |
//! |---|---|---|
//! | `protocol` | the messages between the processes of a jail, and the sockets that carry them | – |
//! | `kernel` | the running kernel's types, and programs that use them, written by instructions | – |
//! | `sandbox` | what confines: mounts, capabilities, system calls, the network namespace | `kernel` |
//! | `termination` | ends a child process, never without a limit | `protocol` |
//! | `self_test` | proves from inside the jail that traffic is steered | `protocol` |
//! | `process_info` | which program a jailed process runs, and which process has a socket open | `protocol` |
//! | `steering` | steers connections to the proxy: `ebpf` or `netns` | `protocol`, `sandbox` |
//! | `unix` | decides which Unix sockets and named pipes a jailed process reaches | `protocol`, `kernel`, `sandbox`, `termination` |
//! | `process` | the processes: proxy, init, command, approver, port forwarder | all above |
//! | `supervisor` | what the supervisor does while the command runs | `protocol`, `sandbox`, `steering`, `unix`, `process_info`, `process` |
//! | `lifecycle` | the steps `Jail<Prepared>` → `Jail<Armed>` → running command | all above but `termination`, `process_info` |
//! | `attach` | the same programs on a cgroup that exists | all above but `unix`, `lifecycle` |
//! | `stale` | removes what killed runs left | `steering`, `attach` |
//!
//! Each step of a jail is undone by a guard, and the guards are dropped in reverse order. What a SIGKILL leaves, [`stale`]
//! removes in the next run.

pub(crate) mod attach;
mod kernel;
pub(crate) mod lifecycle;
pub(crate) mod process;
pub(crate) mod process_info;
pub(crate) mod protocol;
pub(crate) mod sandbox;
mod self_test;
pub(crate) mod stale;
pub(crate) mod steering;
pub(crate) mod supervisor;
pub(crate) mod termination;
pub(crate) mod unix;
