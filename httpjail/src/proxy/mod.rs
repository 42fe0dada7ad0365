//! From an accepted connection to a verdict on the wire.
