//! The integration tests: one binary, one file a topic. They need root, and run in a lab of their own making
//! (support/lab), so that nothing they send can leave the machine.

mod approve;
mod attach;
mod check;
mod clients;
mod cmd;
mod dns;
mod escapes;
mod exit_status;
mod faults;
mod hosts;
mod http1;
mod identity;
mod lab;
mod learn;
mod leftovers;
mod log;
mod publish;
mod regression;
mod reload;
mod support;
mod terminal;
mod trust;
mod verdicts;
mod ways;
mod weak;
