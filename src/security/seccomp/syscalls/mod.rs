//! System call numbers by name, for every architecture that minirun has tables for.
//!
//! `table.rs` is the readable source. The binary holds it as three flat arrays without pointers, so that a static
//! position-independent executable has nothing to relocate at start.

mod table;
#[cfg(test)]
mod tests;

use super::arch::Abi;
use table::{NO, ROWS};

const NAMES_LENGTH: usize = {
    let mut length = 0;
    let mut row = 0;
    while row < ROWS.len() {
        length += ROWS[row].0.len();
        row += 1;
    }
    length
};

/// A system call that carries others, told apart by its first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Multiplexer {
    /// socketcall(2); operations of linux/net.h.
    Socketcall,
    /// ipc(2); operations of linux/ipc.h.
    Ipc,
}

#[rustfmt::skip]
const MULTIPLEXED: [(&str, Multiplexer, u8); 32] = {
    use Multiplexer::{Ipc, Socketcall};
    [
        ("socket", Socketcall, 1), ("bind", Socketcall, 2), ("connect", Socketcall, 3), ("listen", Socketcall, 4),
        ("accept", Socketcall, 5), ("getsockname", Socketcall, 6), ("getpeername", Socketcall, 7),
        ("socketpair", Socketcall, 8), ("send", Socketcall, 9), ("recv", Socketcall, 10), ("sendto", Socketcall, 11),
        ("recvfrom", Socketcall, 12), ("shutdown", Socketcall, 13), ("setsockopt", Socketcall, 14),
        ("getsockopt", Socketcall, 15), ("sendmsg", Socketcall, 16), ("recvmsg", Socketcall, 17),
        ("accept4", Socketcall, 18), ("recvmmsg", Socketcall, 19), ("sendmmsg", Socketcall, 20),
        ("semop", Ipc, 1), ("semget", Ipc, 2), ("semctl", Ipc, 3), ("semtimedop", Ipc, 4), ("msgsnd", Ipc, 11),
        ("msgrcv", Ipc, 12), ("msgget", Ipc, 13), ("msgctl", Ipc, 14), ("shmat", Ipc, 21), ("shmdt", Ipc, 22),
        ("shmget", Ipc, 23), ("shmctl", Ipc, 24),
    ]
};

/// All names one after another, in order.
static NAMES: [u8; NAMES_LENGTH] = {
    let mut names = [0; NAMES_LENGTH];
    let (mut row, mut end) = (0, 0);
    while row < ROWS.len() {
        let name = ROWS[row].0.as_bytes();
        let mut byte = 0;
        while byte < name.len() {
            names[end] = name[byte];
            byte += 1;
            end += 1;
        }
        row += 1;
    }
    names
};

/// Where each name starts, and after the last one where it ends.
static STARTS: [u16; ROWS.len() + 1] = {
    let mut starts = [0; ROWS.len() + 1];
    let mut row = 0;
    while row < ROWS.len() {
        starts[row + 1] = starts[row] + ROWS[row].0.len() as u16;
        row += 1;
    }
    starts
};

static NUMBERS: [[u16; 9]; ROWS.len()] = {
    let mut numbers = [[0; 9]; ROWS.len()];
    let mut row = 0;
    while row < ROWS.len() {
        numbers[row] = ROWS[row].1;
        row += 1;
    }
    numbers
};

/// Which multiplexed call a row is: 0 none, n the n-th of [`MULTIPLEXED`] counted from 1.
static MULTIPLEXED_ROWS: [u8; ROWS.len()] = {
    let mut rows = [0; ROWS.len()];
    let mut call = 0;
    while call < MULTIPLEXED.len() {
        let name = MULTIPLEXED[call].0.as_bytes();
        let (mut low, mut high) = (0, ROWS.len());
        while low < high {
            let middle = (low + high) / 2;
            if is_less(ROWS[middle].0.as_bytes(), name) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        call += 1;
        rows[low] = call as u8;
    }
    rows
};

const fn is_less(left: &[u8], right: &[u8]) -> bool {
    let mut byte = 0;
    while byte < left.len() && byte < right.len() && left[byte] == right[byte] {
        byte += 1;
    }
    byte < right.len() && (byte == left.len() || left[byte] < right[byte])
}

/// A system call that at least one architecture has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Syscall(usize);

impl Syscall {
    /// Finds a system call by name, in about nine comparisons.
    pub(super) fn named(name: &str) -> Option<Self> {
        let (mut low, mut high) = (0, ROWS.len());
        while low < high {
            let middle = (low + high) / 2;
            match row_name(middle).cmp(name.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(Self(middle)),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The number that a process of this ABI uses, with x32's bit; `None` when the ABI lacks the call.
    pub(super) fn number(self, abi: Abi) -> Option<u32> {
        /// In the table arm's private calls, 0xf0000 + n, are 0xf000 + n.
        const ARM_PRIVATE: u32 = 0xf000;
        match (NUMBERS[self.0][abi as usize], abi) {
            (NO, _) => None,
            (number, Abi::X32) => Some(u32::from(number) | super::arch::X32_BIT),
            (number, _) if u32::from(number) >= ARM_PRIVATE => {
                Some(u32::from(number) - ARM_PRIVATE + 0xf_0000)
            }
            (number, _) => Some(u32::from(number)),
        }
    }

    /// How some architectures can make the call without a number of its own: the multiplexer and its first argument.
    pub(super) fn multiplexer(self) -> Option<(Multiplexer, u64)> {
        let call = usize::from(MULTIPLEXED_ROWS[self.0]).checked_sub(1)?;
        MULTIPLEXED
            .get(call)
            .map(|(_, multiplexer, operation)| (*multiplexer, u64::from(*operation)))
    }

    #[cfg(test)]
    pub(super) fn all() -> impl Iterator<Item = (&'static str, Self)> {
        ROWS.iter().enumerate().map(|(row, (name, _))| (*name, Self(row)))
    }
}

fn row_name(row: usize) -> &'static [u8] {
    &NAMES[usize::from(STARTS[row])..usize::from(STARTS[row + 1])]
}
