//! How netd comes, what it holds and may do, and how it goes.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Command;
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};

use super::host::{Container, Host, SOON, host, station, status, wait_until};
use crate::netd::client::{self, Descriptors, Netd};

#[test]
fn it_starts_with_the_first_station_and_ends_with_the_last() {
    host(|host| {
        assert!(!client::is_running(&host.dir));
        assert_eq!(
            host.station(&station("a", "shop", "10.186.0.2", &[])),
            Netd::Started
        );
        let first = host.netd().unwrap();
        assert_eq!(
            host.station(&station("b", "shop", "10.186.0.3", &[])),
            Netd::Running
        );
        client::unregister(&host.dir, "a", "shop").unwrap();
        assert!(client::is_running(&host.dir));
        client::unregister(&host.dir, "b", "shop").unwrap();
        wait_until("netd has ended", || host.netd().is_none());
        assert!(!client::is_running(&host.dir));
        assert_eq!(
            host.station(&station("a", "shop", "10.186.0.2", &[])),
            Netd::Started
        );
        assert_ne!(host.netd().unwrap(), first);
    });
}

#[test]
fn many_at_once_share_one() {
    host(|host| {
        for round in 0..5 {
            let started = thread::scope(|scope| {
                let threads: Vec<_> = (0..20)
                    .map(|number| {
                        scope.spawn(move || {
                            host.station(&station(&format!("c{number}"), "shop", "10.186.0.2", &["all"]))
                        })
                    })
                    .collect();
                let outcomes = threads.into_iter().map(|thread| thread.join().unwrap());
                outcomes.filter(|outcome| *outcome == Netd::Started).count()
            });
            // From the second round on, those who leave and those who come meet a netd that may be about to end.
            assert!(started <= 1, "round {round}: {started} started");
            assert_eq!(host.stations().len(), 20);
            thread::scope(|scope| {
                for (container, network) in host.stations() {
                    scope.spawn(move || client::unregister(&host.dir, &container, &network).unwrap());
                }
            });
        }
    });
}

#[test]
fn a_long_list_of_stations_comes_whole() {
    host(|host| {
        for number in 0..300 {
            host.station(&station(&format!("c{number}"), "shop", "10.186.0.2", &[]));
        }
        let expected: Vec<_> = (0..300)
            .map(|number| (format!("c{number}"), "shop".to_owned()))
            .collect();
        assert_eq!(host.stations(), expected);
    });
}

#[test]
fn it_runs_without_privileges() {
    host(|host| {
        let _web = host.container("web", "shop", "10.186.0.2", &[]);
        let netd = host.netd().unwrap();
        let nobody = "65534 65534 65534 65534";
        assert_eq!(status(netd, "Uid"), nobody);
        assert_eq!(status(netd, "Gid"), nobody);
        assert_eq!(status(netd, "Groups"), "");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(netd, set), "0000000000000000", "{set}");
        }
        assert_eq!(status(netd, "NoNewPrivs"), "1");
        assert_eq!(status(netd, "Seccomp"), "2");
        assert_eq!(status(netd, "Name"), "minirun-netd");
        assert_eq!(status(netd, "Threads"), "1");
        assert_eq!(
            fs::read_link(format!("/proc/{netd}/cwd")).unwrap().to_str(),
            Some("/")
        );
    });
}

#[test]
fn signals_of_a_terminal_do_not_end_it() {
    host(|host| {
        let web = host.container("web", "shop", "10.186.0.2", &[]);
        let netd = host.netd().unwrap();
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
            kill(netd, signal).unwrap();
        }
        assert_eq!(web.addresses("web"), ["10.186.0.2"]);
        assert_eq!(host.netd(), Some(netd));
    });
}

#[test]
fn killed_it_is_replaced_at_the_next_registration() {
    host(|host| {
        let web = host.container("web", "shop", "10.186.0.2", &[]);
        kill(host.netd().unwrap(), Signal::SIGKILL).unwrap();
        wait_until("it is gone", || host.netd().is_none());
        assert!(host.stations().is_empty());
        client::unregister(&host.dir, "web", "shop").unwrap();
        // The runtime is told, so that it can register the others again; their sockets are opened anew.
        assert_eq!(
            host.station(&station("api", "shop", "10.186.0.3", &[])),
            Netd::Started
        );
        assert_eq!(
            web.register(host, &station("web", "shop", "10.186.0.2", &[])),
            Netd::Running
        );
        assert_eq!(web.addresses("api"), ["10.186.0.3"]);
    });
}

#[test]
fn who_watches_it_learns_of_its_end() {
    let has_ended = |watch: &OwnedFd, patience: PollTimeout| {
        let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, patience).unwrap() == 1
    };
    let soon = PollTimeout::try_from(SOON).unwrap();
    host(move |host| {
        assert!(client::watch(&host.dir).unwrap().is_none());
        host.station(&station("a", "shop", "10.186.0.2", &[]));
        let watch = client::watch(&host.dir).unwrap().unwrap();
        assert!(!has_ended(&watch, PollTimeout::ZERO));
        kill(host.netd().unwrap(), Signal::SIGKILL).unwrap();
        assert!(has_ended(&watch, soon));
        host.station(&station("a", "shop", "10.186.0.2", &[]));
        let watch = client::watch(&host.dir).unwrap().unwrap();
        client::unregister(&host.dir, "a", "shop").unwrap();
        assert!(has_ended(&watch, soon));
    });
}

#[test]
fn many_that_tell_it_of_one_container_while_it_is_killed_open_one_resolver() {
    host(|host| {
        let web = Container::new();
        for round in 0..50 {
            thread::scope(|scope| {
                let threads: Vec<_> = (0..4)
                    .map(|network| {
                        let web = &web;
                        let station = station("web", &format!("n{network}"), "10.186.0.2", &[]);
                        scope.spawn(move || web.register(host, &station))
                    })
                    .collect();
                // While they come in some rounds, after they came in the others.
                if let (Some(netd), true) = (host.netd(), round % 2 == 0) {
                    let _ = kill(netd, Signal::SIGKILL);
                }
                for thread in threads {
                    thread.join().unwrap();
                }
            });
            if round % 2 == 1 {
                let known = client::stations(&host.dir).unwrap();
                assert!(
                    known.len() == 4 && known.iter().all(|known| known.resolver),
                    "{known:?}"
                );
                assert_eq!(web.addresses("web.n0"), ["10.186.0.2"]);
                kill(host.netd().unwrap(), Signal::SIGKILL).unwrap();
            }
        }
    });
}

#[test]
fn a_dead_container_is_forgotten_and_its_network_namespace_goes() {
    host(|host| {
        let _other = host.container("other", "shop", "10.186.0.3", &[]);
        let mut web = host.container("web", "shop", "10.186.0.2", &[]);
        // The pair goes with the container's end.
        ip_pair(&web);
        assert!(has_pair());
        web.end();
        wait_until("it is forgotten", || {
            host.stations() == [("other".to_owned(), "shop".to_owned())]
        });
        drop(web);
        wait_until("its namespace is gone", || !has_pair());
    });
}

/// A pair of links, one end of which is in the container's namespace.
fn ip_pair(container: &Container) {
    let run = |args: &str| {
        let done = Command::new("ip").args(args.split(' ')).status().unwrap();
        assert!(done.success(), "ip {args}");
    };
    run("link add pair0 type veth peer name pair1");
    // A process in the namespace, to name it by.
    let mut inside = container.inside(|| Command::new("sleep").arg("1000").spawn().unwrap());
    run(&format!("link set pair1 netns {}", inside.id()));
    inside.kill().unwrap();
    inside.wait().unwrap();
}

fn has_pair() -> bool {
    // Not /sys, which shows the namespace that it was mounted in.
    let links = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    links.contains("pair0")
}

#[test]
fn the_last_container_dies_without_a_word_and_netd_goes_too() {
    host(|host| {
        let mut web = host.container("web", "shop", "10.186.0.2", &[]);
        web.end();
        wait_until("netd has ended", || host.netd().is_none());
    });
}

/// Binds so many ports of the host, and has netd hold them.
fn publish(host: &Host, count: usize) -> (Vec<u16>, Vec<u16>) {
    let udp: Vec<_> = (0..count)
        .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
        .collect();
    let tcp: Vec<_> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
        .collect();
    let numbers = (
        udp.iter()
            .map(|socket| socket.local_addr().unwrap().port())
            .collect(),
        tcp.iter()
            .map(|socket| socket.local_addr().unwrap().port())
            .collect(),
    );
    let udp = udp.into_iter().map(OwnedFd::from);
    let descriptors = Descriptors {
        ports: udp.chain(tcp.into_iter().map(OwnedFd::from)).collect(),
        ..Descriptors::default()
    };
    client::register(&host.dir, &station("web", "shop", "10.186.0.2", &[]), descriptors).unwrap();
    numbers
}

#[test]
fn published_ports_are_held_until_their_container_leaves() {
    host(|host| {
        // More than fit into one message.
        let (udp, tcp) = publish(host, 300);
        let taken = Some(Errno::EADDRINUSE as i32);
        for port in &udp {
            assert_eq!(
                UdpSocket::bind((Ipv4Addr::LOCALHOST, *port))
                    .unwrap_err()
                    .raw_os_error(),
                taken
            );
        }
        for port in &tcp {
            assert_eq!(
                TcpListener::bind((Ipv4Addr::LOCALHOST, *port))
                    .unwrap_err()
                    .raw_os_error(),
                taken
            );
        }
        assert_eq!(client::stations(&host.dir).unwrap()[0].ports, 600);
        host.station(&station("other", "shop", "10.186.0.3", &[]));
        client::unregister(&host.dir, "web", "shop").unwrap();
        for port in &udp {
            UdpSocket::bind((Ipv4Addr::LOCALHOST, *port)).unwrap();
        }
        for port in &tcp {
            TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).unwrap();
        }
    });
}
