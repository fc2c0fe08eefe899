//! A host of one's own: a network namespace with state in a directory, containers that ask, servers that are asked.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;

use crate::netd::client::{self, Descriptors, Netd};
use crate::netd::dns::tests::asking;
use crate::netd::{RESOLVER, Resolver, Station};
use crate::sys::{net::loopback_up, pidfd};

/// For what happens soon or never.
pub(super) const SOON: Duration = Duration::from_secs(10);

pub(super) struct Host {
    pub(super) dir: PathBuf,
}

/// Runs the test on a host of its own, which has a loopback interface and no netd; afterwards it has none either.
pub(super) fn host(test: impl FnOnce(&Host) + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return;
    }
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("minirun-netd-{}-{count}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let host = Host { dir };
    let outcome = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        loopback_up().unwrap();
        test(&host);
        for known in client::stations(&host.dir).unwrap() {
            client::unregister(&host.dir, &known.container, &known.network).unwrap();
        }
        wait_until("netd has ended", || host.netd().is_none());
        host
    })
    .join();
    match outcome {
        Ok(host) => drop(host),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

impl Drop for Host {
    /// After a failed test there may be a netd.
    fn drop(&mut self) {
        if let Some(netd) = self.netd() {
            let _ = kill(netd, Signal::SIGKILL);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Host {
    /// netd's process for this host.
    pub(super) fn netd(&self) -> Option<Pid> {
        let dir = self.dir.to_str().unwrap();
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let found = pids.find(|pid: &i32| {
            let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            // A zombie has no command line.
            read("comm") == "minirun-netd\n" && read("cmdline").split('\0').any(|word| word == dir)
        });
        found.map(Pid::from_raw)
    }

    /// A container on one network, with a resolver, under its id and these aliases.
    pub(super) fn container(&self, id: &str, network: &str, address: &str, aliases: &[&str]) -> Container {
        let station = station(id, network, address, aliases);
        let container = Container::new();
        container.register(self, &station);
        container
    }

    /// A station without sockets.
    pub(super) fn station(&self, station: &Station) -> Netd {
        client::register(&self.dir, station, Descriptors::default()).unwrap()
    }

    pub(super) fn stations(&self) -> Vec<(String, String)> {
        let known = client::stations(&self.dir).unwrap().into_iter();
        known.map(|known| (known.container, known.network)).collect()
    }

    /// A server for names at this address of the host, which handles one packet after the other.
    pub(super) fn server(
        &self,
        address: &str,
        handle: impl Fn(&UdpSocket, &[u8], SocketAddr) + Send + 'static,
    ) {
        let socket = UdpSocket::bind((address.parse::<IpAddr>().unwrap(), 53)).unwrap();
        // Ends with the test program, at the latest.
        thread::spawn(move || {
            let mut packet = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                handle(&socket, &packet[..length], from);
            }
        });
    }
}

/// A container: a network namespace and a process in it.
pub(super) struct Container {
    pub(super) netns: File,
    pub(super) process: Child,
}

impl Drop for Container {
    fn drop(&mut self) {
        self.end();
    }
}

impl Container {
    pub(super) fn new() -> Self {
        let netns = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            loopback_up().unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let process = Command::new("sleep")
            .arg("1000")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            netns: netns.join().unwrap(),
            process,
        }
    }

    pub(super) fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    pub(super) fn pidfd(&self) -> OwnedFd {
        pidfd::open(Pid::from_raw(self.process.id() as i32)).unwrap()
    }

    pub(super) fn register(&self, host: &Host, station: &Station) -> Netd {
        let pidfd = self.pidfd();
        let descriptors = Descriptors {
            pidfd: Some(pidfd.as_fd()),
            resolver: Some(&|| self.inside(Resolver::open)),
            ports: Vec::new(),
        };
        client::register(&host.dir, station, descriptors).unwrap()
    }

    /// Runs `work` on a thread in the container's network namespace.
    pub(super) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.netns, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    /// A socket to the resolver.
    pub(super) fn socket(&self) -> UdpSocket {
        self.inside(|| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.connect(RESOLVER).unwrap();
            socket.set_read_timeout(Some(SOON)).unwrap();
            socket
        })
    }

    /// A connection to the resolver.
    pub(super) fn connection(&self) -> TcpStream {
        self.inside(|| {
            let stream = TcpStream::connect(RESOLVER).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream
        })
    }

    pub(super) fn ask(&self, name: &str, kind: u16) -> Answer {
        self.ask_packet(&asking(name, kind, None))
    }

    pub(super) fn ask_packet(&self, packet: &[u8]) -> Answer {
        let socket = self.socket();
        socket.send(packet).unwrap();
        let mut answer = [0; 4096];
        let length = socket.recv(&mut answer).expect("no answer");
        Answer(answer[..length].to_vec())
    }

    /// The addresses of a name.
    pub(super) fn addresses(&self, name: &str) -> Vec<String> {
        self.ask(name, 1).addresses()
    }
}

/// Writes a question to a connection.
pub(super) fn write_question(mut stream: &TcpStream, packet: &[u8]) {
    let length = (packet.len() as u16).to_be_bytes();
    stream.write_all(&[&length, packet].concat()).unwrap();
}

/// Reads an answer from a connection; `None` when it was closed.
pub(super) fn read_answer(mut stream: &TcpStream) -> Option<Answer> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).ok()?;
    Some(Answer(answer))
}

/// Closes a connection with a reset.
pub(super) fn reset(stream: TcpStream) {
    let linger = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&stream, sockopt::Linger, &linger).unwrap();
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer(pub(super) Vec<u8>);

impl Answer {
    pub(super) fn code(&self) -> u8 {
        self.0[3] & 0x0f
    }

    pub(super) fn is_truncated(&self) -> bool {
        self.0[2] & 2 != 0
    }

    /// The addresses in it, whose records all begin with a pointer to the question.
    pub(super) fn addresses(&self) -> Vec<String> {
        assert_eq!(self.code(), 0, "{self:?}");
        let question = 12 + self.0[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
        let mut records = &self.0[question..];
        let mut found = Vec::new();
        while let [0xc0, 12, _, kind, _, _, _, _, _, _, _, length, rest @ ..] = records {
            let (data, rest) = rest.split_at(usize::from(*length));
            found.push(match *kind {
                1 => Ipv4Addr::from(<[u8; 4]>::try_from(data).unwrap()).to_string(),
                28 => Ipv6Addr::from(<[u8; 16]>::try_from(data).unwrap()).to_string(),
                _ => String::from_utf8_lossy(data).into_owned(),
            });
            records = rest;
        }
        found
    }
}

/// A server's answer to this question: this address, or none.
pub(super) fn answer_to(question: &[u8], address: Option<[u8; 4]>) -> Vec<u8> {
    // Without the EDNS record.
    let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let mut answer = question[..end].to_vec();
    answer[2] |= 0x80;
    (answer[7], answer[11]) = (u8::from(address.is_some()), 0);
    if let Some(address) = address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address);
    }
    answer
}

/// The name in a question, as text.
pub(super) fn name_in(question: &[u8]) -> String {
    let mut rest = &question[12..];
    let mut labels = Vec::new();
    while let [length, label @ ..] = rest
        && *length > 0
    {
        let (label, after) = label.split_at(usize::from(*length));
        labels.push(String::from_utf8_lossy(label).into_owned());
        rest = after;
    }
    labels.join(".")
}

pub(super) fn station(id: &str, network: &str, address: &str, aliases: &[&str]) -> Station {
    let names = [&id].into_iter().chain(aliases).map(ToString::to_string);
    Station {
        container: id.to_owned(),
        network: network.to_owned(),
        internal: false,
        names: names.collect(),
        unready: Vec::new(),
        addresses: vec![address.parse().unwrap()],
        pools: vec!["10.186.0.0/16".parse().unwrap()],
        // Nobody is there, unless a test makes a server.
        upstream: vec!["127.0.0.1".parse().unwrap()],
    }
}

/// There is no event for what another process has done, so this asks again and again, for a generous time.
pub(super) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("waited in vain until {what}");
}

/// A field of /proc/PID/status.
pub(super) fn status(pid: Pid, field: &str) -> String {
    let text = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap();
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| *name == field).unwrap();
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}
