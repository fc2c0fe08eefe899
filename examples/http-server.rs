//! The web server that `make bench-net` puts into every container: one small answer, as fast as it can be given.
//!
//! ```sh
//! cargo build --release --example http-server && target/release/examples/http-server 8080
//! ```
//!
//! A fixed number of threads wait in accept(2), of which the kernel wakes one for a connection. A request costs one read
//! and one write, so what the benchmark sees is the way to the server and not the server. It listens until it is killed.

use std::env;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

/// More than the benchmark has connections at a time.
const THREADS: usize = 64;
const STACK: usize = 64 * 1024;
const LONGEST_REQUEST: usize = 4096;

const KEEP: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n";
const CLOSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n";

fn main() -> io::Result<()> {
    let port = env::args()
        .nth(1)
        .and_then(|port| port.parse::<u16>().ok())
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "usage: http-server PORT"))?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    for _ in 1..THREADS {
        let listener = listener.try_clone()?;
        thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || accept(&listener))?;
    }
    accept(&listener)
}

fn accept(listener: &TcpListener) -> io::Result<()> {
    loop {
        if let Ok((connection, _)) = listener.accept() {
            // A client that goes away in the middle is no reason to stop.
            let _ = serve(connection);
        }
    }
}

/// Answers one request after the other, as long as the client wants.
fn serve(mut connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut buffer = [0; LONGEST_REQUEST];
    let mut filled = 0;
    loop {
        let room = buffer.get_mut(filled..).unwrap_or_default();
        let count = connection.read(room)?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        let request = buffer.get(..filled).unwrap_or_default();
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        let last = wants_close(request);
        connection.write_all(if last { CLOSE } else { KEEP })?;
        if last {
            return Ok(());
        }
        filled = 0;
    }
}

fn wants_close(request: &[u8]) -> bool {
    const HEADER: &[u8] = b"connection: close";
    request
        .windows(HEADER.len())
        .any(|window| window.eq_ignore_ascii_case(HEADER))
}
