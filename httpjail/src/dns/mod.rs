//! The jail's resolver.
