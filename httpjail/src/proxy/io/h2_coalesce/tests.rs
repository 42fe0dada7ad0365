use crate::proxy::io::h2_coalesce::{CoalescingIo, DATA, END_STREAM, FRAME_MAX, Frames, HEAD, PREFACE};
use proptest::prelude::*;
use std::sync::Arc;

const HEADERS: u8 = 1;
const PADDED: u8 = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Frame {
    Frame {
        kind,
        flags,
        stream,
        payload: payload.to_vec(),
    }
}

fn written(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        bytes.extend_from_slice(&(frame.payload.len() as u32).to_be_bytes()[1..]);
        bytes.extend_from_slice(&[frame.kind, frame.flags]);
        bytes.extend_from_slice(&frame.stream.to_be_bytes());
        bytes.extend_from_slice(&frame.payload);
    }
    bytes
}

fn parsed(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(HEAD) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let (payload, rest) = rest.split_at(length);
        frames.push(frame(head[3], head[4], stream, payload));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a head: {bytes:?}");
    frames
}

/// What is read of `bytes` when they come in pieces that end at `cuts`.
fn joined(bytes: &[u8], cuts: &[usize], frames: &mut Frames) -> Vec<u8> {
    let mut out = Vec::new();
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.push(bytes.len());
    cuts.sort_unstable();
    let mut start = 0;
    for cut in cuts {
        let mut piece = bytes[start..cut].to_vec();
        let kept = frames.join(&mut piece);
        assert!(kept > 0 || piece.is_empty(), "a read that brings nothing is an end");
        out.extend_from_slice(&piece[..kept]);
        start = cut;
    }
    out
}

fn server() -> Frames {
    CoalescingIo::from_server(()).frames
}

/// All joined that may be, however long that gets, in runs that nothing else lies in, each by stream.
fn meaning(frames: &[Frame]) -> Vec<Frame> {
    let joinable = |frame: &Frame| {
        let counts = !frame.payload.is_empty() || frame.flags == END_STREAM;
        frame.kind == DATA && frame.flags & !END_STREAM == 0 && frame.stream != 0 && counts
    };
    let mut all: Vec<Frame> = Vec::new();
    for run in frames.chunk_by(|one, next| joinable(one) && joinable(next)) {
        let mut run = run.to_vec();
        run.sort_by_key(|frame| frame.stream);
        for next in run {
            match all.last_mut() {
                Some(last) if joinable(last) && joinable(&next) && last.stream == next.stream && last.flags == 0 => {
                    last.payload.extend_from_slice(&next.payload);
                    last.flags = next.flags;
                }
                _ => all.push(next),
            }
        }
    }
    all
}

#[test]
fn frames_of_one_stream_that_come_together_are_joined() {
    let check = |frames: &[Frame], expected: &[Frame]| {
        assert_eq!(parsed(&joined(&written(frames), &[], &mut server())), expected);
    };
    let data = |flags, stream, payload: &str| frame(DATA, flags, stream, payload.as_bytes());
    check(
        &[
            data(0, 1, "one "),
            data(0, 1, "and "),
            data(0, 1, "two"),
            data(1, 1, ""),
        ],
        &[data(1, 1, "one and two")],
    );
    check(
        &[
            data(0, 1, "one "),
            data(0, 3, "an"),
            data(0, 1, "and "),
            data(1, 3, "other"),
            data(1, 1, "two"),
        ],
        &[data(1, 1, "one and two"), data(1, 3, "another")],
    );
    for apart in [
        [data(0, 1, "one"), data(0, 3, "another stream")],
        [data(END_STREAM, 1, "one"), data(0, 1, "after its end")],
        [data(0, 1, "one"), data(0, 1, "")],
        [data(0, 0, "no"), data(0, 0, "stream")],
        [data(0, 1, "one"), data(PADDED, 1, "\u{1}padded\0")],
        [data(PADDED, 1, "\u{1}padded\0"), data(0, 1, "one")],
        [data(0, 1, "one"), frame(HEADERS, 5, 1, b"trailers")],
        [frame(HEADERS, 4, 1, b"head"), data(0, 1, "one")],
        [data(0, 1, &"x".repeat(FRAME_MAX)), data(0, 1, "one byte too much")],
    ] {
        check(&apart, &apart);
    }
}

#[test]
fn the_preface_is_no_frame() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert_eq!(preface.len(), PREFACE);
    let frames = written(&[frame(DATA, 0, 1, b"a"), frame(DATA, 0, 1, b"b")]);
    let bytes = [preface.as_slice(), &frames].concat();
    for cuts in [&[][..], &[3], &[PREFACE]] {
        let read = joined(&bytes, cuts, &mut CoalescingIo::from_client((), Arc::default()).frames);
        assert_eq!(read[..PREFACE], *preface);
        assert_eq!(parsed(&read[PREFACE..]), [frame(DATA, 0, 1, b"ab")], "{cuts:?}");
    }
}

fn some_frame() -> impl Strategy<Value = Frame> {
    let kind = prop_oneof![6 => Just(DATA), 1 => Just(HEADERS), 1 => 2..11u8];
    let flags = prop_oneof![6 => Just(0), 2 => Just(END_STREAM), 1 => any::<u8>()];
    let length = prop_oneof![8 => 0..40usize, 1 => 0..FRAME_MAX + 100];
    (kind, flags, 0..4u32, length, any::<u8>()).prop_map(|(kind, flags, stream, length, byte)| {
        let payload: Vec<u8> = (0..length).map(|at| byte.wrapping_add(at as u8)).collect();
        frame(kind, flags, stream, &payload)
    })
}

proptest! {
    #[test]
    fn joined_or_not_they_mean_the_same(
        frames in prop::collection::vec(some_frame(), 0..30),
        cuts in prop::collection::vec(any::<usize>(), 0..10),
    ) {
        let read = parsed(&joined(&written(&frames), &cuts, &mut server()));
        prop_assert_eq!(meaning(&read), meaning(&frames));
        for frame in read {
            prop_assert!(frame.payload.len() <= FRAME_MAX || frames.contains(&frame));
        }
    }
}
