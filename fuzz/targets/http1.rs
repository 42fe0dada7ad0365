//! The bytes of an HTTP/1 client → target → written upstream → read again: the same requests, and no more of them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| httpjail::fuzzing::http1(bytes));
