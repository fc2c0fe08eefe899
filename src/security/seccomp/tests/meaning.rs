//! What a profile means, straight from its text and as slow as it likes: the third opinion in tests, for the profiles
//! that libseccomp misunderstands (several ranges of one argument, contradictions).

use std::collections::HashMap;

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompOperator as Operator,
    LinuxSyscall,
};

use super::interpret::Call;
use crate::security::seccomp::arch::Abi;
use crate::security::seccomp::syscalls::{Multiplexer, Syscall};

/// A profile read for one ABI that the filter knows.
pub(super) struct Meaning<'a> {
    abi: Abi,
    default: u32,
    /// Above this number, ENOSYS.
    newest: Option<u32>,
    /// For each number the entries that name it, in order, with the operation if the number is a multiplexer's.
    entries: HashMap<u32, Vec<(&'a LinuxSyscall, Option<u64>)>>,
}

impl<'a> Meaning<'a> {
    /// `listed`: the profile names the architecture.
    pub(super) fn new(seccomp: &'a LinuxSeccomp, abi: Abi, listed: bool) -> Self {
        let default = seccomp.default_action().as_u32(seccomp.default_errno_ret());
        let (mut newest, mut entries) = (0, HashMap::<_, Vec<_>>::new());
        for entry in seccomp.syscalls().iter().flatten() {
            let applies = entry.action().as_u32(entry.errno_ret()) != default;
            for call in entry.names().iter().filter_map(|name| Syscall::named(name)) {
                let multiplexer = call.multiplexer().filter(|_| abi.multiplexes());
                let direct = call.number(abi);
                newest = newest.max(direct.filter(|_| multiplexer.is_none()).unwrap_or(0));
                let multiplexer = multiplexer.map(|(by, operation)| match by {
                    Multiplexer::Socketcall => (102, Some(operation)),
                    Multiplexer::Ipc => (117, Some(operation)),
                });
                for (number, operation) in direct.map(|number| (number, None)).into_iter().chain(multiplexer)
                {
                    entries
                        .entry(number)
                        .or_default()
                        .extend(applies.then_some((entry, operation)));
                }
            }
        }
        let open = matches!(
            seccomp.default_action(),
            Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace
        );
        let newest = (listed && !open && newest > 0).then_some(newest);
        Self {
            abi,
            default,
            newest,
            entries,
        }
    }

    pub(super) fn verdict(&self, call: &Call) -> u32 {
        let is_hidden = |newest| call.number > newest || (self.abi == Abi::S390x && call.number == 0);
        if self.newest.is_some_and(is_hidden) {
            return Action::ScmpActErrno.as_u32(Some(libc::ENOSYS as u32));
        }
        let mut strictest = None;
        for (entry, operation) in self.entries.get(&call.number).into_iter().flatten() {
            let verdict = entry.action().as_u32(entry.errno_ret());
            let conditions = entry.args().as_deref().unwrap_or_default();
            if operation.is_none() && is_unconditional(conditions, self.abi) {
                return verdict;
            }
            let is_operation = operation.is_none_or(|operation| operation as u32 == call.arguments[0] as u32);
            let is_replaced = |condition: &LinuxSeccompArg| operation.is_some() && condition.index() == 0;
            if is_operation && holds(conditions, self.abi, &call.arguments, is_replaced) {
                let is_stricter =
                    |other: u32| ((verdict & 0xffff_0000) as i32) < (other & 0xffff_0000) as i32;
                strictest = Some(strictest.filter(|other| !is_stricter(*other)).unwrap_or(verdict));
            }
        }
        strictest.unwrap_or(self.default)
    }
}

fn is_repeated(conditions: &[LinuxSeccompArg]) -> bool {
    (0..6).any(|index| {
        conditions
            .iter()
            .filter(|condition| condition.index() == index)
            .count()
            > 1
    })
}

fn is_unconditional(conditions: &[LinuxSeccompArg], abi: Abi) -> bool {
    let is_empty = |condition: &LinuxSeccompArg| {
        condition.op() == Operator::ScmpCmpMaskedEq && cut(condition.value(), abi) == 0
    };
    match is_repeated(conditions) {
        true => conditions.iter().any(is_empty),
        false => conditions.iter().all(is_empty),
    }
}

fn holds(
    conditions: &[LinuxSeccompArg],
    abi: Abi,
    arguments: &[u64; 6],
    is_replaced: impl Fn(&LinuxSeccompArg) -> bool,
) -> bool {
    let mut conditions_hold = conditions
        .iter()
        .map(|condition| is_replaced(condition) || compare(condition, abi, arguments));
    match is_repeated(conditions) {
        true => conditions_hold.any(|holds| holds),
        false => conditions_hold.all(|holds| holds),
    }
}

fn compare(condition: &LinuxSeccompArg, abi: Abi, arguments: &[u64; 6]) -> bool {
    let argument = cut(arguments[condition.index()], abi);
    let value = cut(condition.value(), abi);
    match condition.op() {
        Operator::ScmpCmpNe => argument != value,
        Operator::ScmpCmpLt => argument < value,
        Operator::ScmpCmpLe => argument <= value,
        Operator::ScmpCmpEq => argument == value,
        Operator::ScmpCmpGe => argument >= value,
        Operator::ScmpCmpGt => argument > value,
        Operator::ScmpCmpMaskedEq => {
            argument & value == cut(condition.value_two().unwrap_or_default(), abi) & value
        }
    }
}

fn cut(value: u64, abi: Abi) -> u64 {
    if abi.has_32_bit_arguments() {
        u64::from(value as u32)
    } else {
        value
    }
}
