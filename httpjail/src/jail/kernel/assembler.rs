//! An assembler for BPF instructions, which resolves jumps at the end.
//!
//! Each load is one whose type the verifier knows (a kernel structure and its member), so no helper function reads
//! memory, which a kernel in lockdown forbids. A load through a null pointer reads as zero there.

use std::os::fd::{AsRawFd as _, BorrowedFd};

/// An instruction, as the kernel has it (`struct bpf_insn`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::jail) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Where jumps lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::jail) enum Label {
    Jailed,
    Others,
    Allow,
    Refuse,
    End,
}

/// A register. Calls take arguments in the first five from 1 on, answer in 0, and leave 6 to 9 as they are.
pub(in crate::jail) type Register = u8;

/// What is below it, at negative offsets, is the program's own.
pub(in crate::jail) const STACK: Register = 10;

/// The kernel's functions for programs (`enum bpf_func_id`).
#[derive(Debug, Clone, Copy)]
pub(in crate::jail) enum Helper {
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    PacketAncestor = 83,
    SeqWrite = 127,
    CurrentTask = 158,
    ToUnixSocket = 178,
}

/// Namespaces nest no deeper than this (`MAX_PID_NS_LEVEL`, and the same in kernel/user_namespace.c), and the first.
const DEPTH: usize = 33;

/// A program in the making.
#[derive(Debug, Default)]
pub(in crate::jail) struct Code {
    instructions: Vec<Instruction>,
    jumps: Vec<(usize, Label)>,
    labels: Vec<(usize, Label)>,
}

impl Code {
    fn add(&mut self, code: u8, to: Register, from: Register, offset: i16, immediate: i32) {
        self.instructions.push(Instruction {
            code,
            registers: to | (from << 4),
            offset,
            immediate,
        });
    }

    fn jump_by(&mut self, code: u8, to: Register, from: Register, immediate: i32, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.add(code, to, from, 0, immediate);
    }

    pub(in crate::jail) fn copy(&mut self, to: Register, from: Register) {
        self.add(0xbf, to, from, 0, 0);
    }

    pub(in crate::jail) fn set(&mut self, to: Register, value: i32) {
        self.add(0xb7, to, 0, 0, value);
    }

    pub(in crate::jail) fn set_long(&mut self, to: Register, value: u64) {
        self.add(0x18, to, 0, 0, value as i32);
        self.add(0, 0, 0, 0, (value >> 32) as i32);
    }

    /// `BPF_PSEUDO_MAP_FD`.
    pub(in crate::jail) fn set_map(&mut self, to: Register, map: BorrowedFd<'_>) {
        self.add(0x18, to, 1, 0, map.as_raw_fd());
        self.add(0, 0, 0, 0, 0);
    }

    pub(in crate::jail) fn set_address(&mut self, to: Register, on_stack: i16) {
        self.copy(to, STACK);
        self.add(0x07, to, 0, 0, on_stack.into());
    }

    pub(in crate::jail) fn and(&mut self, to: Register, bits: i32) {
        self.add(0x57, to, 0, 0, bits);
    }

    pub(in crate::jail) fn or(&mut self, to: Register, from: Register) {
        self.add(0x4f, to, from, 0, 0);
    }

    pub(in crate::jail) fn xor(&mut self, to: Register, from: Register) {
        self.add(0xaf, to, from, 0, 0);
    }

    /// Eight bytes.
    pub(in crate::jail) fn load(&mut self, to: Register, from: Register, offset: i16) {
        self.add(0x79, to, from, offset, 0);
    }

    /// Four bytes.
    pub(in crate::jail) fn load_half(&mut self, to: Register, from: Register, offset: i16) {
        self.add(0x61, to, from, offset, 0);
    }

    /// Two bytes.
    pub(in crate::jail) fn load_quarter(&mut self, to: Register, from: Register, offset: i16) {
        self.add(0x69, to, from, offset, 0);
    }

    /// Eight bytes, onto the stack.
    pub(in crate::jail) fn store(&mut self, on_stack: i16, from: Register) {
        self.add(0x7b, STACK, from, on_stack, 0);
    }

    /// Four bytes, onto the stack.
    pub(in crate::jail) fn store_half(&mut self, on_stack: i16, from: Register) {
        self.add(0x63, STACK, from, on_stack, 0);
    }

    pub(in crate::jail) fn call(&mut self, helper: Helper) {
        self.add(0x85, 0, 0, 0, helper as i32);
    }

    pub(in crate::jail) fn exit(&mut self) {
        self.add(0x95, 0, 0, 0, 0);
    }

    pub(in crate::jail) fn jump(&mut self, to: Label) {
        self.jump_by(0x05, 0, 0, 0, to);
    }

    pub(in crate::jail) fn if_zero(&mut self, register: Register, to: Label) {
        self.jump_by(0x15, register, 0, 0, to);
    }

    pub(in crate::jail) fn if_is(&mut self, register: Register, value: i32, to: Label) {
        self.jump_by(0x15, register, 0, value, to);
    }

    pub(in crate::jail) fn if_not(&mut self, register: Register, value: i32, to: Label) {
        self.jump_by(0x55, register, 0, value, to);
    }

    pub(in crate::jail) fn if_same(&mut self, one: Register, other: Register, to: Label) {
        self.jump_by(0x1d, one, other, 0, to);
    }

    /// Four bytes compared: a namespace's number is beyond what the immediate is without a sign.
    pub(in crate::jail) fn if_half_is(&mut self, register: Register, number: u32, to: Label) {
        self.jump_by(0x16, register, 0, number.cast_signed(), to);
    }

    pub(in crate::jail) fn if_half_not(&mut self, register: Register, number: u32, to: Label) {
        self.jump_by(0x56, register, 0, number.cast_signed(), to);
    }

    /// Goes from the namespace in register 1 to its parents; jumps where one has this number, and falls through at the last.
    pub(in crate::jail) fn ancestors(&mut self, (number, parent): (i16, i16), wanted: u32, to: Label) {
        const EACH: usize = 4;
        let after = self.instructions.len() + DEPTH * EACH;
        for _ in 0..DEPTH {
            let over = after - self.instructions.len() - 1;
            self.add(0x15, 1, 0, i16::try_from(over).unwrap_or(i16::MAX), 0);
            self.load_half(2, 1, number);
            self.if_half_is(2, wanted, to);
            self.load(1, 1, parent);
        }
    }

    pub(in crate::jail) fn here(&mut self, label: Label) {
        self.labels.push((self.instructions.len(), label));
    }

    /// The program, which ends in a hook's answer: falling through is `refused` (a negative errno), as is [`Label::Refuse`].
    ///
    /// # Errors
    /// Those of [`Code::finish`].
    pub(in crate::jail) fn verdict(self, refused: i32) -> Result<Vec<Instruction>, String> {
        self.answer(refused, 0)
    }

    /// The same with an answer of the hook's own for [`Label::Allow`], too.
    ///
    /// # Errors
    /// Those of [`Code::finish`].
    pub(in crate::jail) fn answer(mut self, refused: i32, allowed: i32) -> Result<Vec<Instruction>, String> {
        self.here(Label::Refuse);
        self.set(0, refused);
        self.jump(Label::End);
        self.here(Label::Allow);
        self.set(0, allowed);
        self.here(Label::End);
        self.exit();
        self.finish()
    }

    /// The program, with its jumps.
    ///
    /// # Errors
    /// For a jump that leads nowhere, or back.
    pub(in crate::jail) fn finish(mut self) -> Result<Vec<Instruction>, String> {
        for (at, label) in &self.jumps {
            let target = self.labels.iter().find(|(_, known)| known == label);
            let distance = target.and_then(|(target, _)| i16::try_from(target.checked_sub(at + 1)?).ok());
            self.instructions[*at].offset = distance.ok_or("a jump that leads nowhere")?;
        }
        Ok(self.instructions)
    }
}

#[cfg(test)]
mod tests {
    use super::{Code, Label};

    #[test]
    fn jumps_lead_to_their_labels() {
        let mut code = Code::default();
        code.if_zero(1, Label::End);
        code.ancestors((0, 8), 7, Label::Allow);
        code.here(Label::Allow);
        code.set(0, 0);
        code.here(Label::End);
        code.exit();
        let code = code.finish().unwrap();
        assert_eq!(code.len(), 1 + 33 * 4 + 2);
        assert_eq!(code[0].offset, 33 * 4 + 1);
        // The first look over all that follow, and its match.
        assert_eq!((code[1].offset, code[3].offset), (33 * 4 - 1, 33 * 4 - 3));
        // The last.
        assert_eq!((code[129].offset, code[131].offset), (3, 1));
    }

    #[test]
    fn no_jump_leads_back_or_nowhere() {
        let mut code = Code::default();
        code.jump(Label::End);
        assert!(code.finish().is_err());
        let mut code = Code::default();
        code.here(Label::End);
        code.jump(Label::End);
        assert!(code.finish().is_err());
    }
}
