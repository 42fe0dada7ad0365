//! Tracks the state of the caller's screen, as far as a prompt must change it and restore it.
//!
//! It does not know the screen's content. It follows the escape sequences in the relayed output, so that a prompt never begins
//! inside one, and remembers the modes that would disturb a prompt (xterm's control sequences, "DEC Private Mode Set"). The
//! terminal keeps the content: it has two screens. A program that uses the second one draws it again.

/// The modes that a prompt switches off, with their initial states.
const MODES: [(u16, bool); 12] = [
    (5, false),    // all colors swapped
    (25, true),    // the cursor is shown
    (69, false),   // left and right margins, at which a long line would wrap and be written over
    (1000, false), // the mouse reports
    (1002, false),
    (1003, false),
    (1004, false), // focus reports
    (1005, false),
    (1006, false),
    (1015, false),
    (2004, false), // pastes in brackets
    (2026, false), // nothing is drawn until the end of an update
];

/// The second screen, by its three numbers.
const OTHER_SCREEN: [u16; 3] = [47, 1047, 1049];

/// Up to this length an unfinished sequence is held back until it ends. A longer one (a picture, a clipboard) is passed on.
const HELD: usize = 512;

const BELL: u8 = 7;
const CANCEL: u8 = 0x18;
const SUBSTITUTE: u8 = 0x1a;
const ESCAPE: u8 = 0x1b;

/// The state of the caller's screen.
#[derive(Debug)]
pub(super) struct Screen {
    state: State,
    parameters: Vec<u8>,
    modes: [bool; MODES.len()],
    other: bool,
    held: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ground,
    Escape,
    Control,
    Text,
    TextEscape,
}

impl Screen {
    pub(super) fn new() -> Screen {
        Screen {
            state: State::Ground,
            parameters: Vec::new(),
            modes: MODES.map(|(_, at_first)| at_first),
            other: false,
            held: Vec::new(),
        }
    }

    /// Returns true if a program uses the second screen.
    pub(super) fn is_other(&self) -> bool {
        self.other
    }

    /// Passes output on to `out`, in whole sequences.
    pub(super) fn pass(&mut self, output: &[u8], out: &mut Vec<u8>) {
        self.held.extend_from_slice(output);
        let mut whole = 0;
        for (at, byte) in output.iter().enumerate() {
            self.take(*byte);
            if self.state == State::Ground {
                whole = self.held.len() - output.len() + at + 1;
            }
        }
        if self.held.len() - whole > HELD {
            whole = self.held.len();
        }
        out.extend(self.held.drain(..whole));
    }

    /// Passes on what is still held back.
    pub(super) fn rest(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }

    /// Takes the screen for a prompt: cuts off an unfinished sequence, and saves colors and modes.
    pub(super) fn take_over(&self, out: &mut Vec<u8>) {
        // Ends any sequence, even one that holds text: otherwise the prompt would become part of a window's title.
        out.extend(b"\x18\x1b\\");
        // Output goes to the screen, not to a printer, in VT100 mode, not VT52: otherwise the jail's own picture would stay, and the
        // user would answer that.
        out.extend(b"\x1b[4i\x1b<");
        // Both save the cursor, its colors and character set.
        out.extend_from_slice(if self.other { b"\x1b7" } else { b"\x1b[?1049h" });
        for (mode, _) in MODES.iter().filter(|(mode, _)| *mode != 25) {
            out.extend(format!("\x1b[?{mode}l").bytes());
        }
        // Plain characters of the first set, absolute positions, a cursor; one byte for Enter (two would turn over two
        // pages), keys as letters (kitty's keyboard protocol) and pastes marked as such.
        out.extend(b"\x1b[0m\x1b(B\x0f\x1b[?6l\x1b[4l\x1b[20l\x1b[?25h\x1b[>0u\x1b[?2004h");
    }

    /// Gives the screen back to the jail.
    pub(super) fn give_back(&self, out: &mut Vec<u8>) {
        out.extend(b"\x1b[?2004l\x1b[<1u\x1b[0m\x1b[2J\x1b[H");
        out.extend_from_slice(if self.other { b"\x1b8" } else { b"\x1b[?1049l" });
        for ((mode, _), on) in MODES.iter().zip(self.modes) {
            // A synchronized update (2026) that was cut off is not resumed.
            if *mode != 2026 && (on || *mode == 25) {
                out.extend(format!("\x1b[?{mode}{}", if on { 'h' } else { 'l' }).bytes());
            }
        }
    }

    fn take(&mut self, byte: u8) {
        use State::{Control, Escape, Ground, Text, TextEscape};
        if byte == CANCEL || byte == SUBSTITUTE {
            self.state = Ground;
            return;
        }
        self.state = match (self.state, byte) {
            (Text, ESCAPE) => TextEscape,
            (_, ESCAPE) => Escape,
            (Ground, _) => Ground,
            (Escape | TextEscape, b'[') => {
                self.parameters.clear();
                Control
            }
            (Escape, b']' | b'P' | b'X' | b'^' | b'_') => Text,
            // `ESC (` and its like have one more byte.
            (Escape, 0x20..=0x2f) => Escape,
            (Escape, b'c') => {
                *self = Screen {
                    held: std::mem::take(&mut self.held),
                    ..Screen::new()
                };
                Ground
            }
            (Escape | TextEscape, _) => Ground,
            (Control, 0x40..=0x7e) => {
                self.end(byte);
                Ground
            }
            (Control, _) => {
                if self.parameters.len() < HELD {
                    self.parameters.push(byte);
                }
                Control
            }
            (Text, BELL) => Ground,
            (Text, _) => Text,
        };
    }

    fn end(&mut self, last: u8) {
        let (b'h' | b'l', Some((b'?', numbers))) = (last, self.parameters.split_first()) else {
            return;
        };
        let on = last == b'h';
        for number in numbers.split(|byte| *byte == b';') {
            let Some(number) = std::str::from_utf8(number)
                .ok()
                .and_then(|text| text.parse::<u16>().ok())
            else {
                continue;
            };
            if OTHER_SCREEN.contains(&number) {
                self.other = on;
            }
            if let Some(index) = MODES.iter().position(|(mode, _)| *mode == number) {
                self.modes[index] = on;
            }
        }
    }
}
