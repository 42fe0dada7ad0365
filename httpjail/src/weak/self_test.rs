//! Proof that the address which the command is given is the proxy's own: what is sent there, with the token, arrives at the
//! proxy's listener. It is weak mode's counterpart to the self-test of a jail's steering.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::environment::ProxyAddress;

/// A connection on loopback takes no time, but a loaded machine must not fail a run.
const LIMIT: Duration = Duration::from_secs(10);
/// Between two looks at the listener.
const PAUSE: Duration = Duration::from_millis(1);

/// Connects to `proxy` as the command will, and takes the connection from its listener, before anyone serves that.
///
/// # Errors
/// Saying what did not arrive.
pub(crate) fn witness(listener: &TcpListener, proxy: &ProxyAddress) -> io::Result<()> {
    let nonce = proxy.url();
    let mut client = TcpStream::connect_timeout(&proxy.address, LIMIT)?;
    client.write_all(nonce.as_bytes())?;
    let mut served = accept(listener, &client)?;
    served.set_read_timeout(Some(LIMIT))?;
    let mut heard = vec![0; nonce.len()];
    served.read_exact(&mut heard)?;
    if heard == nonce.as_bytes() {
        Ok(())
    } else {
        Err(io::Error::other("the listener received something else"))
    }
}

/// The other end of `client`. Other programs of this host may connect too: they are not served yet.
fn accept(listener: &TcpListener, client: &TcpStream) -> io::Result<TcpStream> {
    let (wanted, until) = (client.local_addr()?, Instant::now() + LIMIT);
    listener.set_nonblocking(true)?;
    loop {
        match listener.accept() {
            Ok((served, peer)) if peer == wanted => {
                served.set_nonblocking(false)?;
                return Ok(served);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => thread::sleep(PAUSE),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing arrived"));
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(listener: &TcpListener) -> ProxyAddress {
        ProxyAddress {
            address: listener.local_addr().expect("its address"),
            credentials: Some("httpjail:secret".to_owned()),
            java_store: None,
        }
    }

    #[test]
    fn the_own_listener_is_reached_beside_strangers() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let _stranger = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
        witness(&listener, &proxy(&listener)).expect("proved");
    }

    #[test]
    fn an_address_where_nothing_listens_is_no_proof() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let closed = proxy(&TcpListener::bind("127.0.0.1:0").expect("another"));
        witness(&listener, &closed).expect_err("refused");
    }
}
