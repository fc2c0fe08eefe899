//! The targets of `make fuzz` for a moment, without its search for new code: each begins with good inputs and is given
//! what becomes of them by cutting, doubling and changing. Always the same ones, so a failure repeats itself.

#[path = "fuzz/src/seeds.rs"]
mod seeds;
#[path = "fuzz/src/targets.rs"]
mod targets;

const FRAGMENTS: [&str; 14] = [
    "null",
    "{}",
    "[]",
    "-1",
    "1e400",
    "\"\"",
    "\"\\u0000\"",
    "18446744073709551616",
    ",",
    ":",
    "/..",
    "0",
    "\n",
    "ü",
];

const ROUNDS: u64 = 60;

/// splitmix64.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as usize
}

fn change(input: &mut Vec<u8>, state: &mut u64) {
    let start = next(state) % (input.len() + 1);
    let end = (start + next(state) % 40).min(input.len());
    match next(state) % 4 {
        0 => drop(input.drain(start..end)),
        1 => drop(input.splice(start..end, FRAGMENTS[next(state) % FRAGMENTS.len()].bytes())),
        2 => {
            let doubled = input[start..end].to_vec();
            drop(input.splice(start..start, doubled));
        }
        _ => {
            if let Some(byte) = input.get_mut(start) {
                *byte ^= 1 << (next(state) % 8);
            }
        }
    }
}

#[test]
fn no_target_panics_whatever_becomes_of_a_good_input() {
    for (name, target) in targets::TARGETS {
        let mut state = 1;
        for (_, seed) in seeds::SEEDS {
            target(seed);
            for round in 0..ROUNDS {
                let mut input = seed.to_vec();
                for _ in 0..=round % 4 {
                    change(&mut input, &mut state);
                }
                let result = std::panic::catch_unwind(|| target(&input));
                assert!(result.is_ok(), "{name} panics on {}", input.escape_ascii());
            }
        }
    }
}
