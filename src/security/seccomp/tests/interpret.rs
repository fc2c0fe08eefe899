//! A classic BPF interpreter for tests, for the instructions that seccomp allows and compilers use.

use libc::sock_filter;

/// What a filter sees of a system call (`struct seccomp_data`).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) audit: u32,
    pub(super) arguments: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32, big_endian: bool) -> u32 {
        match offset {
            0 => self.number,
            4 => self.audit,
            // The address of the instruction; no profile can ask for it.
            8 | 12 => panic!("the filter loads the instruction pointer"),
            16..64 if offset.is_multiple_of(4) => {
                let argument = self.arguments[(offset as usize - 16) / 8];
                let is_high = offset.is_multiple_of(8) == big_endian;
                if is_high {
                    (argument >> 32) as u32
                } else {
                    argument as u32
                }
            }
            _ => panic!("the filter loads from offset {offset}"),
        }
    }
}

/// Runs a filter and returns its verdict.
pub(super) fn run(program: &[sock_filter], call: &Call, big_endian: bool) -> u32 {
    interpret(program, |offset| Some(call.word(offset, big_endian))).unwrap()
}

/// The verdict of a filter that looks at nothing but number and architecture to reach it. This is how the kernel finds, when
/// a filter is loaded, which calls it need not run it for (`seccomp_is_const_allow` in kernel/seccomp.c).
pub(super) fn run_without_arguments(program: &[sock_filter], number: u32, audit: u32) -> Option<u32> {
    interpret(program, |offset| match offset {
        0 => Some(number),
        4 => Some(audit),
        _ => None,
    })
}

fn interpret(program: &[sock_filter], load: impl Fn(u32) -> Option<u32>) -> Option<u32> {
    let (mut accumulator, mut at) = (0_u32, 0_usize);
    loop {
        let sock_filter { code, jt, jf, k } = program[at];
        at += 1;
        let mut jump = |condition: bool| at += usize::from(if condition { jt } else { jf });
        match code {
            0x20 => accumulator = load(k)?,
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => jump(accumulator == k),
            0x25 => jump(accumulator > k),
            0x35 => jump(accumulator >= k),
            0x45 => jump(accumulator & k != 0),
            0x06 => return Some(k),
            _ => panic!("unknown instruction {code:#x}"),
        }
    }
}
