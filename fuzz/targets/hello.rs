//! The first bytes of a connection: what they are, and whom a ClientHello asks for, does not hang on how they are cut.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| httpjail::fuzzing::hello(bytes));
