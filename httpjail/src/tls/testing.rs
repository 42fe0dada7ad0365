//! What the TLS tests share.
