//! The three backends, composed: each is a [`crate::backend::Backend`] made of the parts of `jail` or of `weak`, and of a proxy.

#[cfg(target_os = "linux")]
mod jail_setup;
#[cfg(target_os = "linux")]
mod jail_stages;
#[cfg(target_os = "linux")]
mod pooled;
mod select;
#[cfg(target_os = "linux")]
mod strong;
#[cfg(target_os = "linux")]
mod strong_trial;
mod trial;
mod trust_files;
mod weak;

#[cfg(target_os = "linux")]
pub(crate) use pooled::live;
pub(crate) use select::{select, trials};
pub(crate) use trial::Trial;
