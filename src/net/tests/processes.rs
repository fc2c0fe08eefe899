//! A hundred containers attached at once by a hundred processes.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::sandbox::{Sandbox, ip, namespace, parse, request, sandbox, wait_until};
use crate::net::{Dirs, attach};

/// Where the processes keep their state: the parent's test directory.
const STATE: &str = "MINIRUN_TEST_NET_STATE";
const ID: &str = "MINIRUN_TEST_NET_ID";
const COUNT: usize = 100;

#[test]
fn a_hundred_processes_get_addresses_of_their_own_and_the_next_hundred_get_those_of_the_dead() {
    sandbox(|host| {
        // Room for 125, so that the second hundred cannot live without the addresses of the first.
        host.define_more(
            "busy",
            json!({
                "ipv4": {"subnet": "10.1.0.0/25", "gateway": "10.1.0.1"},
                "ipv6": {"subnet": "fd00:1::/121", "gateway": "fd00:1::1"},
            }),
        );
        for generation in ["first", "second"] {
            let (mut processes, addresses) = all_at_once(host, generation);
            let different: HashSet<&String> = addresses.iter().flatten().collect();
            assert_eq!(different.len(), 2 * COUNT, "{addresses:?}");
            for address in different {
                assert!(host.leases("busy").contains(address), "{address}");
            }
            for process in &mut processes {
                process.kill().unwrap();
                process.wait().unwrap();
            }
            wait_until("the kernel removed their links", || {
                !ip("-o link show type veth").contains(": mr")
            });
        }
        assert!(host.leases("busy").len() >= 2 * COUNT);
        for generation in ["first", "second"] {
            for number in 0..COUNT {
                host.detach(&format!("{generation}{number}"), &["busy"]);
            }
        }
        host.assert_nothing_left();
    });
}

/// Runs this test program so many times, lets all of them attach at the same moment, and says what each one got.
fn all_at_once(host: &Sandbox, generation: &str) -> (Vec<Child>, Vec<Vec<String>>) {
    let mut processes: Vec<Child> = (0..COUNT)
        .map(|number| {
            Command::new(std::env::current_exe().unwrap())
                .args([
                    "--ignored",
                    "--exact",
                    "--nocapture",
                    "net::tests::processes::one_of_many",
                ])
                .env(STATE, host.dirs.run.parent().unwrap())
                .env(ID, format!("{generation}{number}"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut outputs: Vec<_> = processes
        .iter_mut()
        .map(|process| {
            BufReader::new(process.stdout.take().unwrap())
                .lines()
                .map(Result::unwrap)
        })
        .collect();
    for output in &mut outputs {
        output.find(|line| line.ends_with("ready")).unwrap();
    }
    for process in &mut processes {
        process.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }
    let addresses = outputs
        .iter_mut()
        .map(|output| {
            let line = output.find(|line| line.starts_with("attached ")).unwrap();
            line.split(' ').skip(1).map(str::to_owned).collect()
        })
        .collect();
    (processes, addresses)
}

#[test]
#[ignore = "one of the processes of the test above"]
fn one_of_many() {
    let root = PathBuf::from(std::env::var_os(STATE).unwrap());
    let id = std::env::var(ID).unwrap();
    let dirs = Dirs {
        run: root.join("run"),
        lib: root.join("lib"),
    };
    let (netns, endpoints) = (namespace(), parse(&["busy"]));
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let on = attach(&dirs, &request(&id, "", &netns, &endpoints)).unwrap();
    let on = &on.networks[0];
    println!("attached {} {}", on.address, on.address6.unwrap());
    loop {
        std::thread::park();
    }
}
