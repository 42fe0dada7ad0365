//! Separates keys from the escape sequences that a terminal sends by itself.
//!
//! A terminal answers queries (where is the cursor, which color is this) with escape sequences in the same stream as the
//! keys, and a jailed program may have sent such a query. Neither these nor a paste may answer a prompt. So only plain characters
//! pass. Sequences are dropped whole, even one that began before the prompt (ECMA-48 section 5; xterm's control sequences).

/// Drops sequences. It gets every byte, even without a question on the screen, so that it knows its state.
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

/// No known sequence has longer parameters.
const PARAMETERS: usize = 64;
const INTERRUPT: u8 = 3;
const BELL: u8 = 7;
const CANCEL: u8 = 0x18;
const ESCAPE: u8 = 0x1b;

impl Keys {
    /// Takes one byte. Returns it if it is a key by itself.
    pub(super) fn take(&mut self, byte: u8) -> Option<u8> {
        use State::{Control, Escape, Ground, Single, Text, TextEscape};
        // ^C ends a sequence that never ends, and then does nothing else.
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

    /// Ends the current sequence after a pause: most often it was a lone Escape key.
    pub(super) fn settle(&mut self) {
        if !self.pasting {
            self.state = State::Ground;
        }
    }

    /// Notes where a bracketed paste (`CSI 200 ~` ... `CSI 201 ~`) begins and ends: nothing in it is a key.
    fn end(&mut self, last: u8) {
        match (self.parameters.as_slice(), last) {
            (b"200", b'~') => self.pasting = true,
            (b"201", b'~') => self.pasting = false,
            _ => {}
        }
    }
}
