//! The parts of a run, put together: the proxy, where it runs, what it listens to, who decides, and what the jail shows.

#[cfg(target_os = "linux")]
pub(crate) mod allowed_sockets;
pub(crate) mod approval;
#[cfg(target_os = "linux")]
pub(crate) mod container_network;
#[cfg(target_os = "linux")]
pub(crate) mod container_trust;
#[cfg(target_os = "linux")]
pub(crate) mod environment;
#[cfg(target_os = "linux")]
pub(crate) mod host_ports;
#[cfg(target_os = "linux")]
pub(crate) mod jail_plan;
#[cfg(target_os = "linux")]
pub(crate) mod kernel_events;
pub(crate) mod limits;
#[cfg(target_os = "linux")]
pub(crate) mod log_file;
pub(crate) mod open_proxy;
pub(crate) mod proxy_parts;
#[cfg(target_os = "linux")]
pub(crate) mod proxy_process;
#[cfg(target_os = "linux")]
pub(crate) mod published;
pub(crate) mod reload;
