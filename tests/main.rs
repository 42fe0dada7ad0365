//! The integration tests: one binary, one file a topic. They need root, and run in a lab of their own making
//! (support/lab), so that nothing they send can leave the machine.

mod escapes;
mod lab;
mod support;
