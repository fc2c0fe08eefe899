//! A server for names in a network namespace of the scenario's choice, which tells what it was asked.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use super::host::Host;

/// Answers every question for an address with one address, and others with none.
pub(crate) struct NameServer {
    asked: Receiver<String>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Listens on this address in the network namespace of process `pid`.
    pub(crate) fn start(pid: i32, address: &str, answer: [u8; 4]) -> NameServer {
        let (tell, asked) = channel();
        let (ready, is_ready) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let netns = File::open(format!("/proc/{pid}/ns/net")).unwrap();
        let address: Ipv4Addr = address.parse().unwrap();
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            setns(&netns, CloneFlags::CLONE_NEWNET).unwrap();
            drop(netns);
            let socket = UdpSocket::bind((address, 53)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            ready.send(()).unwrap();
            serve(&socket, answer, &stopped, &tell);
        });
        is_ready.recv().expect("the name server did not start");
        NameServer {
            asked,
            stop,
            thread: Some(thread),
        }
    }

    /// The names that it was asked for since the last call. Whoever has its answer has been counted.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.try_iter().collect()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Its panic has been printed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(socket: &UdpSocket, address: [u8; 4], stop: &AtomicBool, tell: &mpsc::Sender<String>) {
    let mut packet = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        let (length, from) = match socket.recv_from(&mut packet) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            result => result.unwrap(),
        };
        let (name, end) = question(&packet[..length]);
        let is_address = packet[end - 4..end] == [0, 1, 0, 1];
        // Header and question, as an answer with so many records and no EDNS.
        let mut answer = packet[..end].to_vec();
        answer[2] |= 0x80;
        (answer[7], answer[11]) = (u8::from(is_address), 0);
        if is_address {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            answer.extend(address);
        }
        let _ = tell.send(name);
        let _ = socket.send_to(&answer, from);
    }
}

/// The name in a question, and where the question ends.
fn question(packet: &[u8]) -> (String, usize) {
    let mut labels = Vec::new();
    let mut at = 12;
    while packet[at] != 0 {
        let end = at + 1 + usize::from(packet[at]);
        labels.push(String::from_utf8_lossy(&packet[at + 1..end]).into_owned());
        at = end;
    }
    (labels.join("."), at + 5)
}

/// The host's /etc/resolv.conf, for as long as this lives.
pub(crate) struct ResolvConf<'h> {
    host: &'h Host,
}

impl<'h> ResolvConf<'h> {
    pub(crate) fn new(host: &'h Host, text: &str) -> Self {
        let this = ResolvConf { host };
        this.write(text);
        let file = host.dir().join("resolv.conf");
        host.sh(&format!("mount --bind {} /etc/resolv.conf", file.display()));
        this
    }

    /// Replaces its contents.
    pub(crate) fn write(&self, text: &str) {
        std::fs::write(self.host.dir().join("resolv.conf"), text).unwrap();
    }
}

impl Drop for ResolvConf<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.host.sh("umount /etc/resolv.conf");
        }
    }
}
