//! httpjail
fn main() {}
