//! Ends what is older than an attachment.

use nix::unistd::Pid;

use super::preexisting::PreexistingSocket;
use super::target::{Target, unreadable, within};
use crate::audit::Record;
use crate::failure::Failure;

/// Ends the connections that are older than the attachment, and returns a record of each older socket.
pub(super) fn cut(target: &Target, network: Option<Pid>) -> Result<Vec<Record>, Failure> {
    let unreadable = |error| unreadable(target, &error);
    let ids = target.ids().map_err(unreadable)?;
    let processes = target.processes().map_err(unreadable)?;
    within(network, || {
        let preexisting = PreexistingSocket::list(&ids, &processes)?;
        for socket in preexisting
            .iter()
            .filter(|socket| socket.is_connection() && !socket.is_foreign(&ids))
        {
            // If the kernel cannot end it, the program using it waits: nothing that it sends gets out.
            if let Err(error) = socket.destroy() {
                tracing::debug!(%socket, %error, "cannot end an old connection");
            }
        }
        Ok((preexisting.iter().map(PreexistingSocket::record).collect(), preexisting))
    })
    .map_err(|error| Failure {
        hint: Some("modprobe -a tcp_diag udp_diag".into()),
        ..Failure::new(format!("cannot list the existing sockets: {error}"))
    })
    .and_then(|(records, preexisting): (_, Vec<PreexistingSocket>)| {
        match preexisting.iter().find(|socket| socket.is_foreign(&ids)) {
            None => Ok(records),
            Some(foreign) => Err(Failure {
                hint: Some("restart that process inside the cgroup, so that it opens its sockets there".into()),
                ..Failure::new(format!(
                    "{} has a socket that was created outside of it, which httpjail cannot control: {foreign}",
                    target.path().display()
                ))
            }),
        }
    })
}
