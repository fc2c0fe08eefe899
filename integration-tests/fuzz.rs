//! The targets of `make fuzz` for a moment, without its search for new code: each begins with good inputs and is given
//! what becomes of them by cutting, doubling and changing. Always the same ones, so a failure repeats itself.

#[path = "fuzz/src/targets.rs"]
mod targets;

/// Inputs that mean something, of one kind or another: every target gets them all.
const SEEDS: [&str; 9] = [
    include_str!("../src/spec/default.json"),
    include_str!("../src/spec/load/full.json"),
    include_str!("fixtures/docker-config.json"),
    include_str!("../bundles/shop/compose.yaml"),
    "{\"args\": [\"sh\"], \"cwd\": \"/\", \"env\": [\"PATH=/bin\"], \"rlimits\": [{\"type\": \"RLIMIT_NOFILE\", \"soft\": 1, \"hard\": 2}]}",
    "/tmp tmpfs tmpfs nosuid,mode=1777,size=1m\n/mnt none /srv rbind,ro,rslave,rnoatime\n/x bind a bind,idmap,tmpcopyup",
    "app:1000\nroot:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/tmp:/bin/sh\n\nroot:x:0:\napp:x:1000:app,root",
    "{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"architectures\": [\"SCMP_ARCH_X86_64\"], \"syscalls\": [{\"names\": [\"read\"], \
     \"action\": \"SCMP_ACT_ALLOW\", \"args\": [{\"index\": 0, \"value\": 1, \"op\": \"SCMP_CMP_EQ\"}]}]}",
    "default:ip=10.0.0.2,alias=web,mac=02:00:00:00:00:01,priority=7",
];

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
        for seed in SEEDS {
            target(seed.as_bytes());
            for round in 0..ROUNDS {
                let mut input = seed.as_bytes().to_vec();
                for _ in 0..=round % 4 {
                    change(&mut input, &mut state);
                }
                let result = std::panic::catch_unwind(|| target(&input));
                assert!(result.is_ok(), "{name} panics on {}", input.escape_ascii());
            }
        }
    }
}
