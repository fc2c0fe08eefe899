//! What the way between two network namespaces costs, without anything else: client and server are one thread, which asks
//! and answers itself. So no processor waits for another, nobody is woken up, and the CPU time of the thread is that of the
//! packets' way, of both ends' stacks and of a dozen system calls. `make bench-net` compares networks by it.
//!
//! ```sh
//! round-trips BATCHES NAME=CLIENT,SERVER,PORT,TARGET...
//! round-trips 100 raw=/run/netns/a,/run/netns/b,80,10.0.0.2:80 published=/run/netns/c,/run/netns/d,80,192.0.2.1:8080
//! ```
//!
//! CLIENT and SERVER are network namespaces, PORT is listened to in SERVER, TARGET is where CLIENT finds it. Whatever
//! else the machine does changes from one moment to the next, so all contenders take turns within a few milliseconds, each
//! turn beginning with another one, and the reader takes the median of the ratios turn by turn. One line a batch: name,
//! `keep-alive` or `new`, microseconds of CPU time for each round trip.

use std::env;
use std::fs::File;
use std::io::{self, Error, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::time::{ClockId, clock_gettime};

/// Round trips in a turn: a few milliseconds of each.
const KEPT: u32 = 200;
const NEW: u32 = 50;
/// As long as those of the web server.
const REQUEST: [u8; 44] = [b'q'; 44];
const ANSWER: [u8; 70] = [b'a'; 70];

/// One network with a connection that is kept.
struct Contender {
    name: String,
    client: File,
    listener: TcpListener,
    target: SocketAddr,
    kept: (TcpStream, TcpStream),
}

impl Contender {
    fn parse(argument: &str) -> io::Result<Self> {
        let wrong = || {
            Error::new(
                ErrorKind::InvalidInput,
                format!("{argument}: NAME=CLIENT,SERVER,PORT,TARGET"),
            )
        };
        let (name, rest) = argument.split_once('=').ok_or_else(wrong)?;
        let [client, server, port, target] = rest.split(',').collect::<Vec<_>>()[..] else {
            return Err(wrong());
        };
        let client = File::open(client)?;
        let target = target.parse().map_err(|_| wrong())?;
        setns(File::open(server)?, CloneFlags::CLONE_NEWNET)?;
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port.parse().map_err(|_| wrong())?))?;
        setns(&client, CloneFlags::CLONE_NEWNET)?;
        let kept = connect(&listener, target)?;
        Ok(Self {
            name: name.to_owned(),
            client,
            listener,
            target,
            kept,
        })
    }

    /// Microseconds of CPU time for a request and its answer, over one connection.
    fn over_one(&mut self) -> io::Result<f64> {
        let (client, server) = &mut self.kept;
        timed(KEPT, || exchange(client, server))
    }

    /// Microseconds of CPU time for a connection with one request and its answer.
    fn over_new(&self) -> io::Result<f64> {
        setns(&self.client, CloneFlags::CLONE_NEWNET)?;
        timed(NEW, || {
            let (mut client, mut server) = connect(&self.listener, self.target)?;
            exchange(&mut client, &mut server)?;
            // As a web server does: it closes first.
            drop(server);
            match client.read(&mut [0; 1])? {
                0 => Ok(()),
                _ => Err(Error::other("more than the answer came")),
            }
        })
    }
}

/// The handshake is the kernel's alone, so the one thread need not accept before it has connected.
fn connect(listener: &TcpListener, target: SocketAddr) -> io::Result<(TcpStream, TcpStream)> {
    let client = TcpStream::connect_timeout(&target, Duration::from_secs(5))?;
    let (server, _) = listener.accept()?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
    }
    Ok((client, server))
}

fn exchange(client: &mut TcpStream, server: &mut TcpStream) -> io::Result<()> {
    client.write_all(&REQUEST)?;
    server.read_exact(&mut [0; REQUEST.len()])?;
    server.write_all(&ANSWER)?;
    client.read_exact(&mut [0; ANSWER.len()])
}

fn timed(number: u32, mut trip: impl FnMut() -> io::Result<()>) -> io::Result<f64> {
    let now = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    let started = now()?;
    for _ in 0..number {
        trip()?;
    }
    Ok((now()? - started).as_secs_f64() * 1e6 / f64::from(number))
}

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let batches = arguments.next().and_then(|batches| batches.parse().ok());
    let batches: usize =
        batches.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "usage: round-trips BATCHES NAME=..."))?;
    let mut contenders = arguments
        .map(|argument| Contender::parse(&argument))
        .collect::<io::Result<Vec<_>>>()?;
    let mut output = io::stdout().lock();
    for _ in 0..batches {
        for contender in &mut contenders {
            let cost = contender.over_one()?;
            writeln!(output, "{} keep-alive {cost:.3}", contender.name)?;
        }
        for contender in &contenders {
            writeln!(output, "{} new {:.3}", contender.name, contender.over_new()?)?;
        }
        contenders.rotate_left(1);
    }
    Ok(())
}
