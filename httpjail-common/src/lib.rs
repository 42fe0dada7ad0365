//! What crosses the kernel border.
#![cfg_attr(not(feature = "user"), no_std)]
