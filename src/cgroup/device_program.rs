//! The device policy on version 2: a small eBPF program that the kernel asks before every open and mknod of a device.
//!
//! The kernel hands over `struct bpf_cgroup_dev_ctx`: the wanted access in the upper half of the first word, the kind of
//! device in the lower half, then major and minor number. The program goes through the rules from the last to the first,
//! because a later rule overrides an earlier one, and keeps what is still undecided of the access:
//!
//! ```text
//! for each rule, last first, whose class, major and minor match:
//!     allow: undecided -= its access; nothing left: allowed
//!     deny:  any of undecided in its access: denied
//! at the end: the default
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use super::devices::{Class, EVERYTHING, Policy, Rule};
use crate::error::{Error, OsContext, Result};
use crate::sys::bpf::{self, Instruction};

/// Registers. The context arrives in r1, the verdict leaves in r0.
const VERDICT: u8 = 0;
const CONTEXT: u8 = 1;
const CLASS: u8 = 2;
const UNDECIDED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// `BPF_DEVCG_DEV_BLOCK`, `BPF_DEVCG_DEV_CHAR`.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

/// Operation codes, named as in the kernel's documentation of the instruction set.
pub(super) const LOAD_WORD: u8 = 0x61; // LDX | MEM | W
pub(super) const MOVE: u8 = 0xb7; // ALU64 | MOV | K
pub(super) const COPY: u8 = 0xbf; // ALU64 | MOV | X
pub(super) const AND: u8 = 0x54; // ALU | AND | K
pub(super) const SHIFT_RIGHT: u8 = 0x74; // ALU | RSH | K
pub(super) const JUMP_IF_EQUAL: u8 = 0x15; // JMP | JEQ | K
pub(super) const JUMP_IF_NOT_EQUAL: u8 = 0x55; // JMP | JNE | K
pub(super) const EXIT: u8 = 0x95; // JMP | EXIT

/// Makes the policy hold in the cgroup, taking the place of what is attached there without a moment in between.
pub(super) fn apply(policy: &Policy, cgroup: BorrowedFd<'_>) -> Result<()> {
    const SUBJECT: &str = "for linux.resources.devices";
    let attached = bpf::device_programs(cgroup).os("list device programs", SUBJECT)?;
    let unrestricted = policy.allow && policy.rules.is_empty();
    if !unrestricted {
        let program = load(&compile(policy)).map_err(|errno| {
            let error = Error::os("load the device program", SUBJECT, errno);
            if errno == Errno::EPERM {
                error.hint("it takes CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN")
            } else {
                error
            }
        })?;
        let replaced = attached.first().map(AsFd::as_fd);
        bpf::attach_device_program(cgroup, program.as_fd(), replaced)
            .os("attach the device program", SUBJECT)?;
    }
    for old in attached.iter().skip(usize::from(!unrestricted)) {
        bpf::detach_device_program(cgroup, old.as_fd()).os("detach a device program", SUBJECT)?;
    }
    Ok(())
}

/// Before Linux 5.11 programs count against RLIMIT_MEMLOCK, and everything that ran on the host may have used it up.
fn load(program: &[Instruction]) -> nix::Result<OwnedFd> {
    match bpf::load_device_program(program) {
        Err(Errno::EPERM) => {}
        result => return result,
    }
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY)?;
    let result = bpf::load_device_program(program);
    // The container's process inherits it.
    setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard)?;
    result
}

pub(super) fn compile(policy: &Policy) -> Vec<Instruction> {
    let mut program = vec![
        load_word(CLASS, 0),
        instruction(COPY, UNDECIDED, CLASS, 0, 0),
        instruction(AND, CLASS, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, UNDECIDED, 0, 0, 16),
        load_word(MAJOR, 4),
        load_word(MINOR, 8),
    ];
    for rule in policy.rules.iter().rev() {
        emit(&mut program, rule);
    }
    program.extend(verdict(policy.allow));
    program
}

fn emit(program: &mut Vec<Instruction>, rule: &Rule) {
    let class = match rule.class {
        Class::Block => BLOCK,
        Class::Character => CHARACTER,
    };
    let access = i32::from(rule.access);
    let body = match (rule.allow, rule.access) {
        (allow, EVERYTHING) => verdict(allow).to_vec(),
        (true, access) => {
            let [set, exit] = verdict(true);
            let undecided = i32::from(EVERYTHING & !access);
            vec![
                instruction(AND, UNDECIDED, 0, 0, undecided),
                instruction(JUMP_IF_NOT_EQUAL, UNDECIDED, 0, 2, 0),
                set,
                exit,
            ]
        }
        (false, _) => {
            let [set, exit] = verdict(false);
            vec![
                instruction(COPY, SCRATCH, UNDECIDED, 0, 0),
                instruction(AND, SCRATCH, 0, 0, access),
                instruction(JUMP_IF_EQUAL, SCRATCH, 0, 2, 0),
                set,
                exit,
            ]
        }
    };
    let numbers = [
        (CLASS, Some(class)),
        (MAJOR, rule.major.map(bits)),
        (MINOR, rule.minor.map(bits)),
    ];
    let mut tests: Vec<_> = numbers
        .into_iter()
        .filter_map(|(register, value)| Some((register, value?)))
        .collect();
    while !tests.is_empty() {
        let (register, value) = tests.remove(0);
        let to_the_next_rule = tests.len() + body.len();
        // At most 2 tests and 5 instructions.
        program.push(instruction(
            JUMP_IF_NOT_EQUAL,
            register,
            0,
            to_the_next_rule as i16,
            value,
        ));
    }
    program.extend(body);
}

/// The immediate is sign-extended, so a number from 2^31 on equals nothing; no device has one (20 bits at most).
fn bits(number: u32) -> i32 {
    number.cast_signed()
}

fn verdict(allow: bool) -> [Instruction; 2] {
    [
        instruction(MOVE, VERDICT, 0, 0, i32::from(allow)),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

fn load_word(register: u8, offset: i16) -> Instruction {
    instruction(LOAD_WORD, register, CONTEXT, offset, 0)
}

fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: source << 4 | destination,
        offset,
        immediate,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::devices::tests::rule;
    use super::super::devices::{DefaultDevices, MKNOD, READ, WRITE};
    use super::*;

    /// What a program says to a request; the few instructions that [`compile`] emits.
    fn run(program: &[Instruction], class: i32, access: u8, major: u32, minor: u32) -> bool {
        let context = [u32::from(access) << 16 | class as u32, major, minor];
        let mut registers = [0_u64; 11];
        let mut next = 0_usize;
        loop {
            let Instruction {
                code,
                registers: names,
                offset,
                immediate,
            } = program[next];
            let (destination, source) = (usize::from(names & 15), usize::from(names >> 4));
            let sign_extended = i64::from(immediate) as u64;
            let jump = match code {
                JUMP_IF_EQUAL => registers[destination] == sign_extended,
                JUMP_IF_NOT_EQUAL => registers[destination] != sign_extended,
                _ => false,
            };
            match code {
                LOAD_WORD => registers[destination] = u64::from(context[offset as usize / 4]),
                MOVE => registers[destination] = sign_extended,
                COPY => registers[destination] = registers[source],
                AND => registers[destination] = u64::from(registers[destination] as u32 & immediate as u32),
                SHIFT_RIGHT => registers[destination] = u64::from(registers[destination] as u32 >> immediate),
                JUMP_IF_EQUAL | JUMP_IF_NOT_EQUAL => {}
                EXIT => return registers[0] == 1,
                _ => panic!("unknown instruction {code:#x}"),
            }
            next += 1 + if jump { offset as usize } else { 0 };
        }
    }

    fn compiled(rules: &[&str], defaults: DefaultDevices) -> Vec<Instruction> {
        let rules: Vec<_> = rules.iter().map(|text| rule(text)).collect();
        compile(&Policy::plan(&rules, defaults).unwrap())
    }

    #[test]
    fn a_container_without_rules_may_use_null_but_not_the_disk() {
        let program = compiled(&["deny a *:* rwm"], DefaultDevices::Allow);
        assert!(run(&program, CHARACTER, READ | WRITE, 1, 3));
        assert!(run(&program, CHARACTER, READ | WRITE, 136, 7));
        assert!(run(&program, BLOCK, MKNOD, 8, 0));
        assert!(!run(&program, BLOCK, READ, 8, 0));
        assert!(!run(&program, BLOCK, READ, 1, 3));
        assert!(!run(&program, CHARACTER, READ, 1, 1));
    }

    #[test]
    fn two_rules_together_grant_what_neither_grants_alone() {
        let program = compiled(&["allow c 1:1 r", "allow c *:* w"], DefaultDevices::Omit);
        assert!(run(&program, CHARACTER, READ | WRITE, 1, 1));
        assert!(!run(&program, CHARACTER, READ | WRITE, 1, 2));
        assert!(!run(&program, CHARACTER, WRITE | MKNOD, 1, 1));
    }

    #[test]
    fn a_later_deny_overrides_an_earlier_allow() {
        let program = compiled(
            &["allow a *:* rwm", "deny b *:* w", "allow b 7:* w"],
            DefaultDevices::Omit,
        );
        assert!(run(&program, BLOCK, READ, 8, 0));
        assert!(!run(&program, BLOCK, READ | WRITE, 8, 0));
        assert!(run(&program, BLOCK, WRITE, 7, 3));
    }

    /// Allow, classes, major, minor, access.
    type Plain = (bool, Vec<i32>, Option<u32>, Option<u32>, u8);

    /// The specification's meaning: each bit is decided by the last rule that names it.
    fn meaning(rules: &[Plain], class: i32, access: u8, major: u32, minor: u32) -> bool {
        [MKNOD, READ, WRITE]
            .iter()
            .filter(|bit| access & **bit != 0)
            .all(|bit| {
                let last = rules
                    .iter()
                    .rev()
                    .find(|(_, classes, wanted_major, wanted_minor, granted)| {
                        classes.contains(&class)
                            && wanted_major.is_none_or(|wanted| wanted == major)
                            && wanted_minor.is_none_or(|wanted| wanted == minor)
                            && granted & bit != 0
                    });
                last.is_some_and(|(allow, ..)| *allow)
            })
    }

    proptest! {
        #[test]
        fn any_list_of_rules_compiles_to_its_meaning(
            rules in prop::collection::vec(
                (any::<bool>(), 0..3_usize, prop::option::of(0..3_u32), prop::option::of(0..3_u32), 1..8_u8), 0..8),
        ) {
            let json: Vec<_> = rules.iter().map(|(allow, class, major, minor, access)| {
                let number = |n: &Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
                let letters: String = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')].iter()
                    .filter(|(bit, _)| access & bit != 0).map(|(_, letter)| letter).collect();
                let verdict = if *allow { "allow" } else { "deny" };
                rule(&format!("{verdict} {} {}:{} {letters}", ["a", "b", "c"][*class], number(major), number(minor)))
            }).collect();
            let program = compile(&Policy::plan(&json, DefaultDevices::Omit).unwrap());
            let plain: Vec<_> = rules.iter().map(|(allow, class, major, minor, access)| {
                let classes = [vec![BLOCK, CHARACTER], vec![BLOCK], vec![CHARACTER]][*class].clone();
                (*allow, classes, *major, *minor, *access)
            }).collect();
            for class in [BLOCK, CHARACTER] {
                for access in 1..8 {
                    for (major, minor) in [(0, 0), (1, 0), (0, 2), (2, 1), (7, 7)] {
                        prop_assert_eq!(
                            run(&program, class, access, major, minor),
                            meaning(&plain, class, access, major, minor),
                            "class {} access {} device {}:{}", class, access, major, minor
                        );
                    }
                }
            }
        }
    }
}
