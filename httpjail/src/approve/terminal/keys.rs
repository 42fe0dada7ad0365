//! What comes from the keyboard, told from what a terminal says by itself.
//!
//! A terminal answers questions (where is the cursor, what color is this) in escape sequences on the same line as the
//! keys, and a jailed program may have asked. None of that may count as an answer to a prompt, nor may a paste. So only
//! plain characters pass; sequences are swallowed whole, also one that began before the prompt (ECMA-48 section 5; xterm's
//! control sequences).

/// Swallows sequences. Fed with every byte that comes, also while nobody asks, so that it knows where it is.
#[derive(Debug, Default)]
pub(super) struct Keys {
    state: State,
    parameters: Vec<u8>,
    pasting: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    Escape,
    /// `ESC [`.
    Control,
    /// `ESC O` and one more.
    Single,
    /// `ESC ]`, `P`, `X`, `^`, `_`: to the string's end.
    Text,
    /// `ESC` in a string, which may be its end.
    TextEscape,
}

/// Longer parameters are nobody's.
const PARAMETERS: usize = 64;
const INTERRUPT: u8 = 3;
const BELL: u8 = 7;
const CANCEL: u8 = 0x18;
const ESCAPE: u8 = 0x1b;

impl Keys {
    /// Takes one byte; returns it if it is a key by itself.
    pub(super) fn take(&mut self, byte: u8) -> Option<u8> {
        use State::{Control, Escape, Ground, Single, Text, TextEscape};
        // What is stuck in a sequence that never ends is freed by ^C, which then does nothing else.
        if self.state != Ground && (byte == CANCEL || byte == INTERRUPT) {
            self.state = Ground;
            return None;
        }
        self.state = match (self.state, byte) {
            (Ground, ESCAPE) => Escape,
            (Ground, _) => return (!self.pasting).then_some(byte),
            (Escape | TextEscape, b'[') => {
                self.parameters.clear();
                Control
            }
            (Escape, b'O') => Single,
            (Escape, b']' | b'P' | b'X' | b'^' | b'_') => Text,
            (Escape, ESCAPE) => Escape,
            (Escape | Single | TextEscape, _) => Ground,
            (Control, 0x40..=0x7e) => {
                self.end(byte);
                Ground
            }
            (Control, ESCAPE) => Escape,
            (Control, _) => {
                if self.parameters.len() < PARAMETERS {
                    self.parameters.push(byte);
                }
                Control
            }
            (Text, BELL) => Ground,
            (Text, ESCAPE) => TextEscape,
            (Text, _) => Text,
        };
        None
    }

    /// Nothing has come for so long that whatever had begun is over: a lone Escape key, mostly.
    pub(super) fn settle(&mut self) {
        if !self.pasting {
            self.state = State::Ground;
        }
    }

    /// A paste in brackets (`CSI 200 ~` ... `CSI 201 ~`) is no key, whatever is in it.
    fn end(&mut self, last: u8) {
        match (self.parameters.as_slice(), last) {
            (b"200", b'~') => self.pasting = true,
            (b"201", b'~') => self.pasting = false,
            _ => {}
        }
    }
}
