//! Puts a bare network namespace on a network of minirun, as `netavark setup` and CNI plugins do: what `make bench-net`
//! compares with them, one process against another.
//!
//! ```sh
//! ip netns add web
//! attach web /run/netns/web default 8080:80
//! attach --detach web default
//! ```
//!
//! A namespace does not end by itself as a container does. The caller stands in for the container's process: its names are
//! forgotten when the caller ends.

use std::env;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::process::parent_id;
use std::path::Path;

use minirun::error::{Error, Kind, OsContext as _, Result};
use minirun::net::{self, Dirs, Dns, Publish, Request};
use minirun::netd;
use minirun::process::Process;
use nix::unistd::Pid;

const USAGE: &str = "usage: attach CONTAINER NETNS NETWORK [PORT...], or attach --detach CONTAINER NETWORK";

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        // What the library starts to answer questions for names: this program again.
        ["netd", directory] => netd::process::run(Path::new(directory)),
        ["--detach", container, network] => net::detach(&Dirs::default(), container, &[network.to_owned()]),
        [container, path, network, ref ports @ ..] => attach(container, path, network, ports),
        _ => Err(Error::new(Kind::InvalidConfig, USAGE)),
    }
}

fn attach(container: &str, path: &str, network: &str, ports: &[&str]) -> Result<()> {
    let netns = File::open(path).os("open", path)?;
    let publish: Vec<Publish> = ports.iter().map(|port| port.parse()).collect::<Result<_>>()?;
    let caller = Process::of(Pid::from_raw(parent_id().cast_signed()))?;
    let pidfd = caller.open()?;
    let request = Request {
        container,
        hostname: container,
        netns: netns.as_fd(),
        process: Some(caller),
        pidfd: pidfd.as_ref().map(|pidfd| pidfd.as_fd()),
        endpoints: &[network.parse()?],
        attached: &[],
        publish: &publish,
        dns: &Dns::default(),
        ready: true,
    };
    net::attach(&Dirs::default(), &request).map(drop)
}
