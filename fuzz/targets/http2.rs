//! Field lists of HTTP/2 requests → target → written upstream, as either version → read again: the same.
//!
//! A line is a field, its name and its value separated by a tab; an empty line ends a request.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| httpjail::fuzzing::http2(bytes));
