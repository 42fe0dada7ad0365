//! The integration tests: one binary, one file a topic. They need root, and run in a lab of their own making
//! (support/lab), so that nothing they send can leave the machine.

mod approve;
mod attach;
mod bad_policies;
mod cgroups;
mod check;
mod clients;
mod cmd;
mod devices;
mod differential;
mod dns;
mod escapes;
mod exit_status;
mod faults;
mod fronting;
mod hostile;
mod hosts;
mod http1;
mod identity;
mod lab;
mod learn;
mod leftovers;
mod lint;
mod log;
mod messages;
mod publish;
mod regression;
mod reload;
mod spellings;
mod support;
mod terminal;
mod terminals;
mod trust;
mod verdicts;
mod ways;
mod weak;
