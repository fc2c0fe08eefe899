//! Writing a classic BPF program backwards.
//!
//! Every jump of classic BPF goes forward. A program that is written from its last instruction to its first knows each
//! target before the jump to it, so there are no labels to patch: a [`Label`] is simply the number of instructions from
//! the end of the program, and the distance of a jump is the difference of two.
//!
//! A conditional jump reaches 255 instructions. A target further away gets a nearer copy (a return) or a `ja` to it.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET,
    BPF_W, sock_filter,
};

const LOAD: u16 = (BPF_LD | BPF_W | BPF_ABS) as u16;
const AND: u16 = (BPF_ALU | BPF_AND | BPF_K) as u16;
const JUMP: u16 = (BPF_JMP | BPF_JA) as u16;
const RETURN: u16 = (BPF_RET | BPF_K) as u16;

/// Where to go: the instruction with so many instructions from it to the program's end, itself included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// What a conditional jump compares the accumulator with its constant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    /// Any bit of the constant is set in the accumulator.
    AnyBit,
}

/// A program in the making.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// Last instruction first.
    reversed: Vec<sock_filter>,
    /// The nearest return of each value, and the nearest way to each far label.
    returns: Vec<(u32, Label)>,
    detours: Vec<(Label, Label)>,
}

impl Assembler {
    /// The finished program, first instruction first. The entry is what was written last.
    pub(super) fn finish(mut self) -> Vec<sock_filter> {
        self.reversed.reverse();
        self.reversed
    }

    /// Ends the filter with a value (`SECCOMP_RET_*`).
    pub(super) fn ret(&mut self, value: u32) -> Label {
        match self.returns.iter().find(|(known, _)| *known == value) {
            Some((_, label)) if self.distance(*label) < REACH => *label,
            _ => {
                let label = self.push(RETURN, value, 0, 0);
                self.returns.retain(|(known, _)| *known != value);
                self.returns.push((value, label));
                label
            }
        }
    }

    /// Compares the accumulator, which keeps its value, with a constant.
    pub(super) fn jump(&mut self, test: Test, constant: u32, yes: Label, no: Label) -> Label {
        if let Some(label) = decided(test, constant, yes, no) {
            return label;
        }
        let code = match test {
            Test::Equal => BPF_JEQ,
            Test::Greater => BPF_JGT,
            Test::GreaterOrEqual => BPF_JGE,
            Test::AnyBit => BPF_JSET,
        };
        let (yes, no) = (self.near(yes), self.near(no));
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.push((BPF_JMP | code | BPF_K) as u16, constant, jt, jf)
    }

    /// Loads the 32-bit word at `offset` of `struct seccomp_data`, then goes on at `next`.
    pub(super) fn load(&mut self, offset: u32, next: Label) -> Label {
        self.fall_into(next);
        self.push(LOAD, offset, 0, 0)
    }

    /// Loads a word and compares it. A target that would load the same word again is entered behind its load.
    pub(super) fn branch(&mut self, offset: u32, test: Test, constant: u32, yes: Label, no: Label) -> Label {
        if let Some(label) = decided(test, constant, yes, no) {
            return label;
        }
        let (yes, no) = (self.behind_load(offset, yes), self.behind_load(offset, no));
        let jump = self.jump(test, constant, yes, no);
        self.load(offset, jump)
    }

    /// Loads a word, keeps the bits of `mask` and compares them; `value` has no bit outside of it.
    pub(super) fn branch_masked(
        &mut self,
        offset: u32,
        mask: u32,
        value: u32,
        yes: Label,
        no: Label,
    ) -> Label {
        if mask == u32::MAX {
            self.branch(offset, Test::Equal, value, yes, no)
        } else if value == 0 {
            self.branch(offset, Test::AnyBit, mask, no, yes)
        } else if mask.is_power_of_two() {
            self.branch(offset, Test::AnyBit, mask, yes, no)
        } else if yes == no {
            yes
        } else {
            self.jump(Test::Equal, value, yes, no);
            self.push(AND, mask, 0, 0);
            self.push(LOAD, offset, 0, 0)
        }
    }

    /// Where a target is entered by someone whose accumulator already holds the word at `offset`.
    fn behind_load(&self, offset: u32, label: Label) -> Label {
        match self.at(label) {
            Some(instruction) if instruction.code == LOAD && instruction.k == offset => Label(label.0 - 1),
            _ => label,
        }
    }

    /// A label for the same code within reach of a conditional jump that is written next, or after one more detour.
    fn near(&mut self, label: Label) -> Label {
        if self.distance(label) < REACH {
            return label;
        }
        if let Some(instruction) = self.at(label)
            && instruction.code == RETURN
        {
            return self.ret(instruction.k);
        }
        match self.detours.iter().find(|(far, _)| *far == label) {
            Some((_, near)) if self.distance(*near) < REACH => *near,
            _ => {
                let near = self.push(JUMP, self.distance(label) as u32, 0, 0);
                self.detours.retain(|(far, _)| *far != label);
                self.detours.push((label, near));
                near
            }
        }
    }

    /// Makes `next` the instruction that follows.
    fn fall_into(&mut self, next: Label) {
        match self.distance(next) {
            0 => {}
            distance => {
                self.push(JUMP, distance as u32, 0, 0);
            }
        }
    }

    /// Instructions that a jump written now would skip.
    fn distance(&self, label: Label) -> usize {
        self.reversed.len() - label.0
    }

    fn at(&self, label: Label) -> Option<sock_filter> {
        self.reversed.get(label.0.checked_sub(1)?).copied()
    }

    fn push(&mut self, code: u16, k: u32, jt: u8, jf: u8) -> Label {
        self.reversed.push(sock_filter { code, jt, jf, k });
        Label(self.reversed.len())
    }
}

/// Below this distance a target is near: one less than a jump's 255, for the detour that its other target may need.
const REACH: usize = 255;

/// Where a comparison goes whatever the accumulator holds.
fn decided(test: Test, constant: u32, yes: Label, no: Label) -> Option<Label> {
    match (test, constant) {
        _ if yes == no => Some(yes),
        (Test::GreaterOrEqual, 0) => Some(yes),
        (Test::Greater, u32::MAX) | (Test::AnyBit, 0) => Some(no),
        _ => None,
    }
}
