//! A host of one's own for a test: a thread in a new network namespace, and state in a directory of its own.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};

use crate::net::kernel::namespace;
use crate::net::{Attachment, Dirs, Dns, Endpoint, Request, attach};

pub(super) struct Sandbox {
    pub(super) dirs: Dirs,
    root: PathBuf,
}

/// Runs the test on a host of its own, and checks that the host is as it was when the test is done.
pub(super) fn sandbox(test: impl FnOnce(&Sandbox) + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return;
    }
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let root = std::env::temp_dir().join(format!("minirun-net-{}-{count}", std::process::id()));
    let this = Sandbox {
        dirs: Dirs {
            run: root.join("run"),
            lib: root.join("lib"),
        },
        root,
    };
    let outcome = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        test(&this);
        this
    })
    .join();
    match outcome {
        Ok(this) => fs::remove_dir_all(this.root).unwrap_or_default(),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

impl Sandbox {
    pub(super) fn attach(
        &self,
        id: &str,
        netns: &File,
        endpoints: &[&str],
    ) -> crate::error::Result<Attachment> {
        attach(&self.dirs, &request(id, id, netns, &parse(endpoints)))
    }

    /// As the verbs do it: the namespace dies with the container, then everything is given back.
    pub(super) fn delete(&self, id: &str, netns: File, networks: &[&str]) {
        drop(netns);
        self.detach(id, networks);
    }

    pub(super) fn detach(&self, id: &str, networks: &[&str]) {
        let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
        crate::net::detach(&self.dirs, id, &networks).unwrap();
    }

    /// Writes a definition as a person would.
    pub(super) fn define(&self, name: &str, bridge: &str, subnet: &str, gateway: &str) {
        let ipv4 = serde_json::json!({"subnet": subnet, "gateway": gateway});
        self.define_more(name, serde_json::json!({"bridge": bridge, "ipv4": ipv4}));
    }

    /// The same with further fields. The bridge has the network's name unless said otherwise.
    pub(super) fn define_more(&self, name: &str, fields: serde_json::Value) {
        let mut json = serde_json::json!({"name": name, "driver": "bridge", "bridge": name});
        let serde_json::Value::Object(fields) = fields else {
            panic!("{fields} are no fields")
        };
        json.as_object_mut().unwrap().extend(fields);
        fs::create_dir_all(&self.dirs.lib).unwrap();
        fs::write(self.dirs.lib.join(format!("{name}.json")), json.to_string()).unwrap();
    }

    pub(super) fn leases(&self, network: &str) -> Vec<String> {
        names_in(&self.dirs.run.join(network).join("leases"))
    }

    /// Nothing of a network is left: no bridge, no table, no lease, no link that does not vanish by itself.
    pub(super) fn assert_nothing_left(&self) {
        assert_eq!(tables(), "", "firewall tables");
        assert_eq!(ip("-o link show type bridge"), "", "bridges");
        for network in names_in(&self.dirs.run) {
            assert_eq!(self.leases(&network), Vec::<String>::new(), "leases of {network}");
            let containers = self.dirs.run.join(&network).join("containers");
            assert_eq!(
                names_in(&containers),
                Vec::<String>::new(),
                "containers of {network}"
            );
        }
        // Their names start with "mr"; a test's own do not.
        let pairs = || {
            ip("-o link show type veth")
                .lines()
                .filter(|line| line.contains(": mr"))
                .count()
        };
        wait_until("the kernel removed the veth pairs", || pairs() == 0);
    }
}

/// What a container whose first process nobody knows asks for.
pub(super) fn request<'a>(
    container: &'a str,
    hostname: &'a str,
    netns: &'a File,
    endpoints: &'a [Endpoint],
) -> Request<'a> {
    const DNS: &Dns = &Dns {
        servers: Vec::new(),
        search: Vec::new(),
    };
    Request {
        container,
        hostname,
        netns: netns.as_fd(),
        process: None,
        pidfd: None,
        endpoints,
        attached: &[],
        publish: &[],
        dns: DNS,
        ready: true,
    }
}

pub(super) fn parse(endpoints: &[&str]) -> Vec<Endpoint> {
    endpoints.iter().map(|text| text.parse().unwrap()).collect()
}

/// There is no event for "the namespace's cleanup is through", so this asks again and again, for a generous time.
pub(super) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("waited in vain until {what}");
}

fn names_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A new network namespace, as a container has one. It lives as long as the file is open.
pub(super) fn namespace() -> File {
    thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        namespace::current().unwrap()
    })
    .join()
    .unwrap()
}

/// Runs `work` on a thread inside the namespace.
pub(super) fn inside<T: Send>(netns: &File, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        scope
            .spawn(|| {
                setns(netns, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            })
            .join()
            .unwrap()
    })
}

/// Runs `ip` in the calling thread's namespace.
pub(super) fn ip(arguments: &str) -> String {
    run("ip", arguments)
}

/// The firewall tables of the calling thread's namespace.
pub(super) fn tables() -> String {
    run("/usr/sbin/nft", "list tables")
}

pub(super) fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// A namespace that stands for the world outside, behind 192.0.2.1 of the calling thread's host.
pub(super) fn outside() -> File {
    let netns = namespace();
    let path = format!("/proc/{}/fd/{}", std::process::id(), netns.as_raw_fd());
    ip(&format!("link add uplink type veth peer name eth0 netns {path}"));
    ip("addr add 192.0.2.1/24 dev uplink");
    ip("link set uplink up");
    ip("route add default via 192.0.2.2");
    inside(&netns, || {
        ip("link set lo up");
        ip("addr add 192.0.2.2/24 dev eth0");
        ip("link set eth0 up");
    });
    netns
}

/// Connects from one namespace to a server in another and says under which address the server saw the client.
pub(super) fn call(from: &File, to: &File, address: impl Into<IpAddr>) -> IpAddr {
    let address = address.into();
    let server = listen(to, address);
    // Long enough for repeated first packets: a link carries none until the kernel's workers have seen it come up.
    let mut client = connect(from, &server, address, Duration::from_secs(20)).unwrap();
    let (mut accepted, peer) = server.accept().unwrap();
    accepted.write_all(b"hello").unwrap();
    drop(accepted);
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello");
    peer.ip()
}

/// Whether a server in one namespace cannot be reached from the other. To be asked when the links are known to work:
/// a packet that was dropped and one that is late look the same.
pub(super) fn is_cut_off(from: &File, to: &File, address: impl Into<IpAddr>) -> bool {
    let address = address.into();
    let server = listen(to, address);
    connect(from, &server, address, Duration::from_millis(1500)).is_err()
}

/// A server on all addresses of the family.
fn listen(on: &File, family: IpAddr) -> TcpListener {
    let everywhere: IpAddr = match family {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    inside(on, || TcpListener::bind((everywhere, 0)).unwrap())
}

fn connect(
    from: &File,
    server: &TcpListener,
    address: IpAddr,
    patience: Duration,
) -> std::io::Result<TcpStream> {
    let target = SocketAddr::from((address, server.local_addr()?.port()));
    inside(from, || TcpStream::connect_timeout(&target, patience))
}
