//! The proxy whole, over loopback: real TLS, real HTTP, an internet of our own (see [`world`]).

mod exchange;
mod explicit;
mod limits;
mod requests;
mod steering;
mod streams;
mod support;
mod upstream;
mod versions;
mod websocket;
mod world;
