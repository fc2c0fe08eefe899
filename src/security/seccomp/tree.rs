//! From segments to instructions: a binary search over the system call number, then the argument rules.
//!
//! No call is tested ahead of others for being frequent. Since Linux 5.11 the kernel runs a filter once for every number
//! when it is loaded and remembers which are always allowed; for these it never runs again. What counts is that the
//! way to each verdict is short (it is walked some 900 times at load) and uses only loads of number and architecture,
//! comparisons and returns, which the kernel's dry run understands.

use super::arch::Machine;
use super::dispatch::{Dispatch, RuleList, Segment, Target};
use super::emit::{Assembler, Label, Test};
use super::profile::{Comparison, Condition, Verdict};

/// Offsets in `struct seccomp_data` (linux/seccomp.h).
pub(super) const ARCHITECTURE: u32 = 4;
const NUMBER: u32 = 0;
const ARGUMENTS: u32 = 16;

/// Up to so many single numbers with the same surroundings are searched one by one instead of halved.
const LONGEST_RUN: usize = 3;

/// Writes the code for audit architectures.
pub(super) struct Writer<'a> {
    pub(super) assembler: &'a mut Assembler,
    pub(super) machine: Machine,
    pub(super) default: Verdict,
}

impl Writer<'_> {
    /// Loads the system call number and decides.
    pub(super) fn dispatch(&mut self, dispatch: &Dispatch) -> Label {
        let lists: Vec<Label> = dispatch.rule_lists.iter().map(|list| self.rules(list)).collect();
        let tree = self.tree(&dispatch.segments, &lists);
        self.assembler.load(NUMBER, tree)
    }

    /// Searches segments for the number in the accumulator, which lies in one of them.
    fn tree(&mut self, segments: &[Segment], lists: &[Label]) -> Label {
        if let Some((around, singles)) = run(segments) {
            let otherwise = self.target(around, lists);
            return singles.into_iter().rev().fold(otherwise, |next, single| {
                let found = self.target(single.target, lists);
                self.assembler.jump(Test::Equal, single.start, found, next)
            });
        }
        let (left, boundary, right) = halves(segments);
        let right = self.tree(right, lists);
        let left = self.tree(left, lists);
        self.assembler.jump(Test::GreaterOrEqual, boundary, right, left)
    }

    fn target(&mut self, target: Target, lists: &[Label]) -> Label {
        match target {
            Target::Return(verdict) => self.assembler.ret(verdict),
            Target::Rules(list) => lists[list],
        }
    }

    /// The first rule whose conditions all hold decides.
    fn rules(&mut self, list: &RuleList) -> Label {
        let default = self.assembler.ret(self.default);
        list.rules.iter().rev().fold(default, |next_rule, rule| {
            let verdict = self.assembler.ret(rule.verdict);
            let conditions = rule.conditions.iter().rev();
            conditions.fold(verdict, |holds, condition| match list.is_32_bit {
                true => self.condition_32(condition, holds, next_rule),
                false => self.condition_64(condition, holds, next_rule),
            })
        })
    }

    /// Compares the lower half of an argument.
    fn condition_32(&mut self, condition: &Condition, yes: Label, no: Label) -> Label {
        let (offset, value) = (self.low(condition.argument), condition.value as u32);
        let assembler = &mut *self.assembler;
        match condition.comparison {
            Comparison::Equal => assembler.branch(offset, Test::Equal, value, yes, no),
            Comparison::NotEqual => assembler.branch(offset, Test::Equal, value, no, yes),
            Comparison::Greater => assembler.branch(offset, Test::Greater, value, yes, no),
            Comparison::GreaterOrEqual => assembler.branch(offset, Test::GreaterOrEqual, value, yes, no),
            Comparison::Less => assembler.branch(offset, Test::GreaterOrEqual, value, no, yes),
            Comparison::LessOrEqual => assembler.branch(offset, Test::Greater, value, no, yes),
            Comparison::Masked(mask) => assembler.branch_masked(offset, mask as u32, value, yes, no),
        }
    }

    /// Compares both halves of an argument. Equality looks at the lower one first, which tells more values apart.
    fn condition_64(&mut self, condition: &Condition, yes: Label, no: Label) -> Label {
        match condition.comparison {
            Comparison::Equal => self.masked_64(condition, u64::MAX, yes, no),
            Comparison::NotEqual => self.masked_64(condition, u64::MAX, no, yes),
            Comparison::Masked(mask) => self.masked_64(condition, mask, yes, no),
            Comparison::Greater => self.ordered_64(condition, Test::Greater, yes, no),
            Comparison::GreaterOrEqual => self.ordered_64(condition, Test::GreaterOrEqual, yes, no),
            Comparison::Less => self.ordered_64(condition, Test::GreaterOrEqual, no, yes),
            Comparison::LessOrEqual => self.ordered_64(condition, Test::Greater, no, yes),
        }
    }

    fn masked_64(&mut self, condition: &Condition, mask: u64, yes: Label, no: Label) -> Label {
        let (low, high) = (self.low(condition.argument), self.high(condition.argument));
        let (mask_low, mask_high) = (mask as u32, (mask >> 32) as u32);
        let (value_low, value_high) = (condition.value as u32, (condition.value >> 32) as u32);
        let high = self.assembler.branch_masked(high, mask_high, value_high, yes, no);
        self.assembler.branch_masked(low, mask_low, value_low, high, no)
    }

    fn ordered_64(&mut self, condition: &Condition, test: Test, yes: Label, no: Label) -> Label {
        let (low, high) = (self.low(condition.argument), self.high(condition.argument));
        let (value_low, value_high) = (condition.value as u32, (condition.value >> 32) as u32);
        let low = self.assembler.branch(low, test, value_low, yes, no);
        let equal = self.assembler.branch(high, Test::Equal, value_high, low, no);
        self.assembler.branch(high, Test::Greater, value_high, yes, equal)
    }

    /// Offset of an argument's lower half.
    fn low(&self, argument: u32) -> u32 {
        ARGUMENTS + 8 * argument + if self.machine.is_big_endian() { 4 } else { 0 }
    }

    /// Offset of an argument's upper half.
    fn high(&self, argument: u32) -> u32 {
        ARGUMENTS + 8 * argument + if self.machine.is_big_endian() { 0 } else { 4 }
    }
}

/// Recognises a few single numbers in otherwise like surroundings: the surroundings' target and the single ones.
fn run(segments: &[Segment]) -> Option<(Target, Vec<Segment>)> {
    let around = segments.first()?.target;
    if segments.len() > 2 * LONGEST_RUN + 1 || segments.len().is_multiple_of(2) {
        return None;
    }
    let mut singles = Vec::new();
    for pair in segments[1..].chunks_exact(2) {
        let &[single, after] = pair else { return None };
        if single.start + 1 != after.start || after.target != around {
            return None;
        }
        singles.push(single);
    }
    Some((around, singles))
}

/// Cuts segments in two at a number. Where the cut would part a single number from like surroundings, the half that has
/// the number keeps a segment from the other side, which costs nothing and leaves a run for [`run`] to find.
fn halves(segments: &[Segment]) -> (&[Segment], u32, &[Segment]) {
    let middle = segments.len() / 2;
    let boundary = segments[middle].start;
    let is_single_in = |around: &[Segment]| match around {
        [before, single, after] => single.start + 1 == after.start && before.target == after.target,
        _ => false,
    };
    let cut_after_single = middle >= 2 && segments.len() > 3 && is_single_in(&segments[middle - 2..=middle]);
    let cut_before_single =
        segments.len() > middle + 1 && segments.len() > 3 && is_single_in(&segments[middle - 1..=middle + 1]);
    let left = if cut_after_single {
        &segments[..=middle]
    } else {
        &segments[..middle]
    };
    let right = if cut_before_single {
        &segments[middle - 1..]
    } else {
        &segments[middle..]
    };
    (left, boundary, right)
}
