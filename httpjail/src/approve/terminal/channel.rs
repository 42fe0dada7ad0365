//! The socket to the proxy process: requests come from it, decisions go to it. Never blocks.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::poll::PollFlags;

use crate::approve::decision::ApprovalDecision;
use crate::approve::protocol::{DecisionMessage, RequestMessage, line};

/// A longer message ends the connection.
const QUESTION_BYTES: usize = 1 << 20;

pub(super) struct RequestChannel {
    /// `None` after the proxy process has closed it.
    socket: Option<UnixStream>,
    unread: Vec<u8>,
    answers: Vec<u8>,
}

impl RequestChannel {
    pub(super) fn new(socket: UnixStream) -> io::Result<RequestChannel> {
        socket.set_nonblocking(true)?;
        Ok(RequestChannel {
            socket: Some(socket),
            unread: Vec::new(),
            answers: Vec::new(),
        })
    }

    pub(super) fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    pub(super) fn wants(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let mut wanted = PollFlags::POLLIN;
        wanted.set(PollFlags::POLLOUT, !self.answers.is_empty());
        Some((self.socket.as_ref()?.as_fd(), wanted))
    }

    /// Returns the messages that have come. One that cannot be parsed ends the connection, and the proxy denies everything.
    pub(super) fn hear(&mut self) -> Vec<RequestMessage> {
        let mut bytes = [0; 4096];
        while let Some(socket) = &mut self.socket {
            match socket.read(&mut bytes) {
                Ok(count @ 1..) if self.unread.len() + count <= QUESTION_BYTES => {
                    self.unread.extend_from_slice(&bytes[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(_) | Err(_) => self.socket = None,
            }
        }
        let mut heard = Vec::new();
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let text: Vec<u8> = self.unread.drain(..=end).collect();
            match serde_json::from_slice(&text) {
                Ok(asked) => heard.push(asked),
                Err(_) => self.socket = None,
            }
        }
        heard
    }

    pub(super) fn send(&mut self, id: u64, decision: ApprovalDecision) {
        // Plain data can always be encoded.
        self.answers
            .extend(line(&DecisionMessage { id, decision }).unwrap_or_default());
        self.reply();
    }

    /// Writes as much as the socket takes.
    pub(super) fn reply(&mut self) {
        while let Some(socket) = self.socket.as_mut().filter(|_| !self.answers.is_empty()) {
            match socket.write(&self.answers) {
                Ok(count) => drop(self.answers.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.socket = None,
            }
        }
    }
}
