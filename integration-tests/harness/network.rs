//! Network scenarios: what a container is asked for over the network, its address, and an outside world.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;

use super::container::Container;
use super::host::{Host, Running, find_in_path};
use super::output::Output;
use super::rootfs::busybox;
use super::wait_until;

/// A process that answers on port 8080, and on `/cgi-bin/who` with the address of the one who asks. It has written
/// "serving" when it listens.
const WHO: &str = "mkdir -p /tmp/www/cgi-bin; echo hello >/tmp/www/index.html
printf '#!/bin/sh\\necho; echo $REMOTE_ADDR\\n' >/tmp/www/cgi-bin/who; chmod +x /tmp/www/cgi-bin/who
httpd -p 0.0.0.0:8080 -h /tmp/www; echo serving; trap 'exit 143' TERM; sleep 1000 & wait";

impl Container<'_> {
    /// Makes the process the server of [`WHO`].
    pub(crate) fn serving(self) -> Self {
        self.sh(WHO)
    }

    /// Waits until the server of [`WHO`] listens.
    #[track_caller]
    pub(crate) fn listens(self) -> Self {
        self.wait_for_stdout("serving");
        self
    }

    /// The address on the first network, as `inspect` tells it.
    #[track_caller]
    pub(crate) fn address(&self) -> String {
        let inspected = self.inspect();
        let address = inspected["networks"][0]["address"].as_str();
        address
            .unwrap_or_else(|| panic!("no address in {inspected:#}"))
            .to_owned()
    }

    /// As whom the container reaches the server of [`WHO`] at `address`.
    #[track_caller]
    pub(crate) fn known_at(&self, address: &str) -> String {
        let url = format!("http://{address}:8080/cgi-bin/who");
        self.exec(["wget", "-qO-", &url])
            .succeeds()
            .stdout
            .trim()
            .to_owned()
    }
}

impl Host {
    /// As whom the host reaches the server of [`WHO`] at `address`.
    #[track_caller]
    pub(crate) fn known_at(&self, address: &str) -> String {
        let script = format!("wget -qO- http://{address}:8080/cgi-bin/who");
        self.sh(&script).stdout.trim().to_owned()
    }

    /// iproute2's `ip` in the sandbox (busybox has one of its own that knows less).
    #[track_caller]
    pub(crate) fn ip(&self, args: &str) -> Output {
        let program = find_in_path("ip").expect("the network scenarios need the package iproute2");
        self.command(&program).args(args.split(' ')).output().succeeds()
    }

    /// `nft` in the sandbox; its standard output.
    #[track_caller]
    pub(crate) fn nft(&self, args: &str) -> String {
        let program = find_in_path("nft").expect("the network scenarios need the package nftables");
        let nft = self.command(&program).args(args.split(' '));
        nft.output().succeeds().stdout
    }

    /// Writes the definition of a network, whose bridge has the network's name.
    pub(crate) fn define_network(&self, name: &str, ipv4: &serde_json::Value) {
        let definition = serde_json::json!({"name": name, "driver": "bridge", "bridge": name, "ipv4": ipv4});
        self.write_network(name, &definition.to_string());
    }

    /// Writes a file where definitions of networks are looked for.
    pub(crate) fn write_network(&self, name: &str, text: &str) {
        let dir = self.path("/var/lib/minirun/net");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("{name}.json")), text).unwrap();
    }
}

/// The world outside: the sandbox is 192.0.2.1 there, and 192.0.2.2, the way to everywhere, has the server of [`WHO`]. It
/// knows no way back to containers.
pub(crate) struct Uplink<'h> {
    host: &'h Host,
    world: Option<Running>,
}

impl<'h> Uplink<'h> {
    pub(crate) fn of(host: &'h Host) -> Self {
        let www = host.dir().join("www");
        let who = www.join("cgi-bin/who");
        fs::create_dir_all(who.parent().unwrap()).unwrap();
        fs::write(&who, "#!/bin/sh\necho; echo $REMOTE_ADDR\n").unwrap();
        fs::set_permissions(&who, fs::Permissions::from_mode(0o755)).unwrap();
        let server = format!(
            "echo ready; exec busybox httpd -f -p 0.0.0.0:8080 -h {}",
            www.display()
        );
        let world = host
            .command(&busybox())
            .args(["unshare", "-n", "--", "sh", "-c", &server])
            .spawn();
        wait_until("the world has a network namespace", || {
            world.stdout().contains("ready")
        });
        let pid = world.pid();
        host.ip(&format!("link add uplink type veth peer name eth0 netns {pid}"));
        host.ip("addr add 192.0.2.1/24 dev uplink");
        host.ip("link set uplink up");
        host.ip("route add default via 192.0.2.2");
        host.sh(&format!(
            "nsenter -t {pid} -n ip addr add 192.0.2.2/24 dev eth0; nsenter -t {pid} -n ip link set eth0 up"
        ));
        wait_until("the world answers", || {
            let request = ["wget", "-qO-", "http://192.0.2.2:8080/cgi-bin/who"];
            host.command(&busybox()).args(request).output().code == 0
        });
        Uplink {
            host,
            world: Some(world),
        }
    }
}

impl Uplink<'_> {
    /// A process of the world outside.
    pub(crate) fn pid(&self) -> i32 {
        self.world.as_ref().unwrap().pid()
    }
}

impl Uplink<'_> {
    /// A command line for the shell, out there.
    pub(crate) fn sh(&self, script: &str) -> Output {
        let pid = self.world.as_ref().unwrap().pid().to_string();
        let args = ["nsenter", "-t", &pid, "-n", "--", "sh", "-ec", script];
        self.host.command(&busybox()).args(args).output()
    }

    /// As whom the outside reaches the server of [`WHO`] at this address and port; `None` when it does not.
    pub(crate) fn known_at(&self, at: &str) -> Option<String> {
        let out = self.sh(&format!("timeout 5 wget -qO- http://{at}/cgi-bin/who"));
        (out.code == 0).then(|| out.stdout.trim().to_owned())
    }
}

impl Drop for Uplink<'_> {
    fn drop(&mut self) {
        // After a failed scenario the host removes what it finds.
        if let Some(world) = self.world.take().filter(|_| !std::thread::panicking()) {
            self.host.ip("link del uplink");
            world.signal(Signal::SIGKILL);
            world.wait();
        }
    }
}
