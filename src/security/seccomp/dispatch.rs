//! From rules to segments: what happens to each system call number of an audit architecture.
//!
//! The whole range of 32-bit numbers is cut into segments that are treated alike, neighbours merged. Numbers that no
//! rule names fall to the default action; numbers above every named one get ENOSYS, as runc does, so that a C library
//! that tries a new call first falls back on the old one instead of giving up on EPERM.

use std::borrow::Cow;

use super::arch::{Abi, X32_BIT};
use super::profile::{Comparison, Condition, Profile, Rule, Verdict};
use super::syscalls::{Multiplexer, Syscall};

/// What the kernel does to programs of an architecture that the profile does not list (`SECCOMP_RET_KILL_THREAD`).
pub(super) const BAD_ARCHITECTURE: Verdict = 0;

const ENOSYS: Verdict = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// What a filter does with a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Return(Verdict),
    /// Index of a list of rules.
    Rules(usize),
}

/// Rules on the arguments, the strictest verdict first: the first one that matches decides, and the default if none does.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RuleList {
    pub(super) rules: Vec<Rule>,
    /// Only the lower halves of arguments and values are compared.
    pub(super) is_32_bit: bool,
}

/// All numbers from `start` to the next segment's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) start: u32,
    pub(super) target: Target,
}

/// What a filter does with every number of one audit architecture.
#[derive(Debug, Default)]
pub(super) struct Dispatch {
    /// Sorted; the first starts at 0.
    pub(super) segments: Vec<Segment>,
    /// Equal lists are stored once.
    pub(super) rule_lists: Vec<RuleList>,
}

/// One ABI of the filter, and whether the profile lists it or it is only there for being the machine's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Architecture {
    pub(super) abi: Abi,
    pub(super) listed: bool,
}

impl Dispatch {
    /// For an audit architecture of a single ABI.
    pub(super) fn of(profile: &Profile, architecture: Architecture) -> Self {
        let mut dispatch = Self::default();
        dispatch.cover(profile, architecture, 0);
        dispatch
    }

    /// For x86_64 and x32, which share one audit architecture. Bit 30 marks x32.
    ///
    /// Numbers with bit 31 do not exist. They are treated as libseccomp and runc together do: as unknown calls of the
    /// ABI that bit 30 says. -1 is what a tracer leaves of a call that it wants skipped.
    pub(super) fn of_x86_64(profile: &Profile, x86_64: Architecture, x32: Option<Architecture>) -> Self {
        let default = Target::Return(profile.default);
        let outside = if x32.is_some() {
            default
        } else {
            Target::Return(BAD_ARCHITECTURE)
        };
        let mut dispatch = Self::default();
        let x86_64_hides = dispatch.cover(profile, x86_64, 0);
        let x32_hides = match x32 {
            Some(x32) => dispatch.cover(profile, x32, X32_BIT),
            None => {
                dispatch.push(X32_BIT, outside);
                false
            }
        };
        let enosys = Target::Return(ENOSYS);
        dispatch.push(1 << 31, if x86_64_hides { enosys } else { outside });
        dispatch.push(1 << 31 | X32_BIT, if x32_hides { enosys } else { outside });
        dispatch.push(u32::MAX, if x32_hides { enosys } else { default });
        dispatch
    }

    /// Appends the segments of an ABI whose numbers start at `base`. Says whether newer calls get ENOSYS.
    fn cover(&mut self, profile: &Profile, Architecture { abi, listed }: Architecture, base: u32) -> bool {
        /// On s390x a call whose number does not fit into the instruction leaves 0 behind when it is unknown.
        const S390X_UNKNOWN_CALL: u32 = 0;
        let default = Target::Return(profile.default);
        let newest = newest_named(profile, abi).filter(|_| listed && profile.hides_newer_calls);
        self.push(base, default);
        if newest.is_some() && abi == Abi::S390x {
            self.push(S390X_UNKNOWN_CALL, Target::Return(ENOSYS));
            self.push(S390X_UNKNOWN_CALL + 1, default);
        }
        let mut rules = numbered_rules(profile, abi);
        rules.sort_by_key(|(number, _)| *number);
        for group in rules.chunk_by(|(number, _), (next, _)| number == next) {
            let Some(&(number, _)) = group.first() else {
                continue;
            };
            if newest.is_none_or(|newest| number <= newest) {
                let target = self.target(abi, group);
                self.push(number, target);
                self.push(number + 1, default);
            }
        }
        if let Some(newest) = newest {
            self.push(newest + 1, Target::Return(ENOSYS));
        }
        newest.is_some()
    }

    /// A rule without conditions beats all that have some, wherever it stands; that is libseccomp's way.
    fn target(&mut self, abi: Abi, group: &[(u32, Cow<'_, Rule>)]) -> Target {
        if let Some((_, rule)) = group.iter().find(|(_, rule)| rule.is_unconditional(abi)) {
            return Target::Return(rule.verdict);
        }
        let mut rules: Vec<Rule> = group.iter().map(|(_, rule)| rule.as_ref().clone()).collect();
        rules.sort_by_key(|rule| strictness(rule.verdict));
        let list = RuleList {
            rules,
            is_32_bit: abi.has_32_bit_arguments(),
        };
        Target::Rules(
            self.rule_lists
                .iter()
                .position(|known| *known == list)
                .unwrap_or_else(|| {
                    self.rule_lists.push(list);
                    self.rule_lists.len() - 1
                }),
        )
    }

    /// Starts a segment. One that starts at the same number is replaced, one with the same target continued.
    fn push(&mut self, start: u32, target: Target) {
        self.segments.pop_if(|last| last.start == start);
        if self.segments.last().is_none_or(|last| last.target != target) {
            self.segments.push(Segment { start, target });
        }
    }
}

/// Orders verdicts as the kernel does when a process has several filters: the smallest decides (seccomp(2)).
fn strictness(verdict: Verdict) -> i32 {
    (verdict & libc::SECCOMP_RET_ACTION_FULL) as i32
}

/// Every rule with the number of its call, in the order of the profile.
fn numbered_rules(profile: &Profile, abi: Abi) -> Vec<(u32, Cow<'_, Rule>)> {
    let mut numbered = Vec::with_capacity(profile.named.len());
    for (call, rules) in &profile.named {
        let rules = &profile.rules[rules.clone()];
        if let Some((multiplexer, operation)) = multiplexer(*call, abi) {
            numbered.extend(
                rules
                    .iter()
                    .map(|rule| (multiplexer, Cow::Owned(rule.multiplexed(operation)))),
            );
        }
        if let Some(number) = call.number(abi) {
            numbered.extend(rules.iter().map(|rule| (number, Cow::Borrowed(rule))));
        }
    }
    numbered
}

/// The largest number that the profile names. As in runc, calls that libseccomp multiplexes do not count.
fn newest_named(profile: &Profile, abi: Abi) -> Option<u32> {
    let calls = profile.named.iter().map(|(call, _)| *call);
    let numbers = calls
        .filter(|call| multiplexer(*call, abi).is_none())
        .filter_map(|call| call.number(abi));
    numbers.max().filter(|newest| *newest != 0)
}

/// The number of socketcall(2) or ipc(2) and its first argument, when this ABI has another way to make the call.
fn multiplexer(call: Syscall, abi: Abi) -> Option<(u32, u64)> {
    let (multiplexer, operation) = call.multiplexer().filter(|_| abi.multiplexes())?;
    let number = match multiplexer {
        Multiplexer::Socketcall => 102,
        Multiplexer::Ipc => 117,
    };
    Some((number, operation))
}

impl Rule {
    fn is_unconditional(&self, abi: Abi) -> bool {
        let always_holds = |condition: &Condition| match condition.comparison {
            Comparison::Masked(mask) if abi.has_32_bit_arguments() => mask as u32 == 0,
            Comparison::Masked(mask) => mask == 0,
            _ => false,
        };
        self.conditions.iter().all(always_holds)
    }

    /// The rule for a call made through a multiplexer, as in libseccomp: the operation takes the place of the first
    /// argument. The real arguments lie in memory, where no filter can read them.
    ///
    /// Unlike libseccomp only the lower half of the operation counts, as in the kernel; else a denied operation could be
    /// had by setting a bit in the upper one.
    fn multiplexed(&self, operation: u64) -> Self {
        const OPERATION: Comparison = Comparison::Masked(u32::MAX as u64);
        let operation = Condition {
            argument: 0,
            comparison: OPERATION,
            value: operation,
        };
        let others = self.conditions.iter().filter(|condition| condition.argument != 0);
        Self {
            verdict: self.verdict,
            conditions: std::iter::once(&operation).chain(others).copied().collect(),
        }
    }
}
