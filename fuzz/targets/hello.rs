//! The first bytes of a connection: the detected protocol, and the host that a ClientHello names, do not depend on how the
//! bytes are cut.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| httpjail::fuzzing::hello(bytes));
