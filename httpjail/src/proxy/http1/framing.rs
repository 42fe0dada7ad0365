//! Finds where each request of an HTTP/1 connection ends, strictly.
//!
//! Two programs that disagree on where a message ends disagree on what the next one is: that is request smuggling.
//! hyper forgives a good deal (docs/threat-model.md H01 to H12), so [`crate::proxy::downstream::http1_gate`] shows it
//! only what this module accepts: whole heads and chunk lines that can be read in one way only (RFC 9112), and body
//! bytes by their count. Ambiguous bytes are a [`Fault`], and the connection ends. What the fields mean is judged
//! elsewhere.
//!
//! Two things are rewritten on the way: bytes of a target that hyper does not accept
//! ([`request_target`](crate::proxy::http1::request_target)), and the names of the fields by which a server finds the
//! end and the host of a request. Those get one spelling, whatever the client's was.

pub(crate) mod fault;
mod head;

use self::fault::Fault;
use self::head::{Content, Head, Spelling, field};
use crate::proxy::http1::token::{is_text, looks_like};
use crate::proxy::limits::Limits;

/// The longest line of a chunk, with its extensions, and all extensions of a body. Only attempts to hide something use
/// them.
const CHUNK_LINE_MAX: usize = 256;
const EXTENSIONS_MAX: usize = 4096;

/// A chunk's size has at most this many digits: 256 TiB, and no overflow anywhere.
const SIZE_DIGITS_MAX: usize = 12;

/// Fields that may not stand after a body: they would frame, route or control the message that they end.
const NO_TRAILERS: [&[u8]; 9] = [
    b"connection",
    b"content-length",
    b"expect",
    b"host",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"content-encoding",
];

/// What comes after the bytes that pass.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Fault(Fault),
    /// A head that is to be offered again with another first line.
    Spelling(Spelling),
    /// A head that has more fields than [`Framing::pausing_above`] says. It passes when it is offered again.
    Pause,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Fault(fault)
    }
}

/// The position in a connection's stream of requests.
#[derive(Debug)]
pub(crate) struct Framing {
    /// The longest head, and the most fields in one.
    head_max: usize,
    fields_max: usize,
    /// The first head with more fields than this is a [`Stop::Pause`].
    pause_above: usize,
    state: State,
    lines: Lines,
    /// Bytes of chunk extensions in this body.
    extensions: usize,
}

#[derive(Debug)]
enum State {
    /// A head: request line, fields, empty line.
    Head(Head),
    /// So many bytes of a body.
    Length(u64),
    ChunkLine,
    Chunk(u64),
    ChunkEnd,
    /// Fields after the last chunk; how many so far.
    Trailers(usize),
    /// After a head that asks for another protocol. What comes next depends on the answer.
    AwaitUpgrade,
}

impl From<Content> for State {
    fn from(content: Content) -> State {
        match content {
            Content::None => State::default(),
            Content::Length(length) => State::Length(length),
            Content::Chunked => State::ChunkLine,
            Content::AwaitUpgrade => State::AwaitUpgrade,
        }
    }
}

impl Default for State {
    fn default() -> Self {
        State::Head(Head::default())
    }
}

impl Framing {
    pub(crate) fn within(limits: &Limits) -> Framing {
        Framing {
            head_max: limits.head,
            fields_max: limits.fields,
            pause_above: usize::MAX,
            state: State::default(),
            lines: Lines::default(),
            extensions: 0,
        }
    }

    /// Pauses once, before a head with more than so many fields.
    pub(crate) fn pausing_above(self, fields: usize) -> Framing {
        Framing {
            pause_above: fields,
            ..self
        }
    }

    /// Follows `bytes`, which begin where those that passed before ended. Answers how many of them pass, and what comes
    /// after those, if anything does. What does not pass yet is to be offered again, with more.
    pub(crate) fn follow(&mut self, bytes: &mut [u8]) -> (usize, Option<Stop>) {
        let mut passed = 0;
        loop {
            match self.step(&mut bytes[passed..]) {
                Ok(0) => return (passed, None),
                Ok(more) => passed += more,
                Err(stop) => return (passed, Some(stop)),
            }
        }
    }

    /// Returns whether nothing passes until the answer to the last head is known.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.state, State::AwaitUpgrade)
    }

    /// That answer was an ordinary one.
    pub(crate) fn go_on(&mut self) {
        if self.is_waiting() {
            self.state = State::default();
        }
    }

    /// Returns whether a body has begun and not ended.
    pub(crate) fn is_in_body(&self) -> bool {
        !matches!(self.state, State::Head(_) | State::AwaitUpgrade)
    }

    /// How many of `block`'s bytes pass next: a whole head or line, or body bytes. 0 if more must come.
    fn step(&mut self, block: &mut [u8]) -> Result<usize, Stop> {
        let (passes, next) = match &mut self.state {
            State::AwaitUpgrade => return Ok(0),
            State::Length(left) => match take(left, block) {
                (passes, true) => (passes, State::default()),
                (passes, false) => return Ok(passes),
            },
            State::Chunk(left) => match take(left, block) {
                (passes, true) => (passes, State::ChunkEnd),
                (passes, false) => return Ok(passes),
            },
            State::ChunkEnd => match block {
                [] | [b'\r'] => return Ok(0),
                [b'\r', b'\n', ..] => (2, State::ChunkLine),
                _ => return Err(Fault::Chunk.into()),
            },
            State::Head(head) => loop {
                match self.lines.next(block, self.head_max, Fault::TooLarge)? {
                    None => return Ok(0),
                    Some([]) if head.started && head.fields > self.pause_above => {
                        (*head, self.lines, self.pause_above) = (Head::default(), Lines::default(), usize::MAX);
                        return Err(Stop::Pause);
                    }
                    Some([]) if head.started => break (self.lines.finish(), head.content()?.into()),
                    Some(line) if head.started => head.field(line, self.fields_max)?,
                    Some(line) => {
                        if let Some(spelling) = head.start(line)? {
                            self.lines = Lines::default();
                            return Err(Stop::Spelling(spelling));
                        }
                    }
                }
            },
            State::ChunkLine => match self.lines.next(block, CHUNK_LINE_MAX, Fault::Extension)? {
                None => return Ok(0),
                Some(line) => {
                    let (size, extension) = chunk_size(line)?;
                    self.extensions += extension;
                    if self.extensions > EXTENSIONS_MAX {
                        return Err(Fault::Extension.into());
                    }
                    let next = match size {
                        0 => State::Trailers(0),
                        size => State::Chunk(size),
                    };
                    (self.lines.finish(), next)
                }
            },
            State::Trailers(count) => loop {
                match self.lines.next(block, self.head_max, Fault::TooLarge)? {
                    None => return Ok(0),
                    Some([]) => {
                        self.extensions = 0;
                        break (self.lines.finish(), State::default());
                    }
                    Some(line) => {
                        let (name, _) = field(line)?;
                        *count += 1;
                        if *count > self.fields_max {
                            return Err(Fault::TooLarge.into());
                        }
                        if NO_TRAILERS.iter().any(|forbidden| looks_like(name, forbidden)) {
                            return Err(Fault::Trailer.into());
                        }
                    }
                }
            },
        };
        self.state = next;
        Ok(passes)
    }
}

/// Takes body bytes off `left`: how many, and whether those were all.
fn take(left: &mut u64, block: &[u8]) -> (usize, bool) {
    let taken = usize::try_from(*left).map_or(block.len(), |left| left.min(block.len()));
    *left -= taken as u64;
    (taken, *left == 0)
}

/// The lines of a block that may still be growing. No byte is looked at twice, however small the pieces that it comes
/// in.
#[derive(Debug, Default)]
struct Lines {
    /// Where the line begins that comes next.
    start: usize,
    /// Up to where there is no end of it.
    searched: usize,
}

impl Lines {
    /// The next line without its end.
    fn next<'a>(&mut self, block: &'a mut [u8], max: usize, too_long: Fault) -> Result<Option<&'a mut [u8]>, Fault> {
        let found = memchr::memchr(b'\n', &block[self.searched..]);
        let end = found.map_or(block.len(), |at| self.searched + at);
        if end > max {
            return Err(too_long);
        }
        self.searched = end;
        if found.is_none() {
            return Ok(None);
        }
        // A recipient may take a bare LF for a line end (RFC 9112 section 2.2), and another may not.
        let Some(([line @ .., b'\r'], _)) = block[self.start..].split_at_mut_checked(end - self.start) else {
            return Err(Fault::BareLineFeed);
        };
        self.start = end + 1;
        self.searched = end + 1;
        Ok(Some(line))
    }

    /// The block ends with the last line: how long it was.
    fn finish(&mut self) -> usize {
        std::mem::take(self).start
    }
}

/// The size of a chunk, and how long its extensions are.
fn chunk_size(line: &[u8]) -> Result<(u64, usize), Fault> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, extension) = line.split_at(digits);
    let size = std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.len() <= SIZE_DIGITS_MAX);
    let size = size.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    match (size, extension) {
        (Some(size), [] | [b';', ..]) if extension.iter().all(|byte| is_text(*byte)) => Ok((size, extension.len())),
        (Some(_), [b';', ..]) => Err(Fault::Extension),
        _ => Err(Fault::Chunk),
    }
}

#[cfg(test)]
mod tests;
