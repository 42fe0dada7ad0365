//! The proxy whole, over loopback: real TLS, real HTTP, an internet of our own (see [`world`]).

mod exchange;
mod explicit;
mod hello;
mod http2;
mod limits;
mod parents;
mod passthrough;
mod requests;
mod steering;
mod streams;
mod support;
mod tunnels;
mod upstream;
mod versions;
mod websocket;
mod world;
