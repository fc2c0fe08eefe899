"""Hosts for the network benchmark: each contender has one of its own, and containers that differ in nothing but the network.

A host is a set of pid, mount and network namespaces with empty /run, /var/lib/minirun and /var/lib/cni, so nobody's rules
slow down somebody else's packets, and all ends when the script ends, whatever way. Containers are minirun's, from one
bundle; how they are connected is the contender's.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from measure import MINIRUN, REPOSITORY, call

TOOLS = Path(os.environ.get("BENCH_TOOLS", REPOSITORY / "bin"))
ATTACH, SERVER, ROUND_TRIPS = (str(TOOLS / name) for name in ("attach", "http-server", "round-trips"))
CGROUPS = f"minirun-bench-{os.getpid()}"
# A closed connection is forgotten after a second. Else the connections of earlier samples fill the table of later ones.
SETTINGS = {"net.ipv4.ip_forward": 1, "net.netfilter.nf_conntrack_tcp_timeout_time_wait": 1}


class Failed(Exception):
    """A command of the benchmark failed; its words say why."""


class Missing(Exception):
    """What a contender needs is not on this machine; it is left out by name."""


class Host:
    """One host. Commands are argument lists, run inside."""

    def __init__(self, name, work):
        self.name, self.work = name, work / name
        self.work.mkdir()
        script = ("mount -t tmpfs tmpfs /run; mkdir -p /run/lock /run/netns /var/lib/minirun /var/lib/cni; "
                  "mount -t tmpfs tmpfs /var/lib/minirun; mount -t tmpfs tmpfs /var/lib/cni; ip link set lo up; "
                  'exec "$@"')
        agent = Path(__file__).with_name("bench_agent.py")
        self.agent = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--mount", "--net", "--propagation", "private",
             "sh", "-euc", script, "sh", sys.executable, "-I", "-S", agent],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.run("sysctl", "-q", "-e", "-w", *(f"{key}={value}" for key, value in SETTINGS.items()))

    def ask(self, verb, **arguments):
        self.agent.stdin.write(json.dumps({"verb": verb, **arguments}) + "\n")
        self.agent.stdin.flush()
        answer = self.agent.stdout.readline()
        if not answer:
            raise Failed(f"the agent of host {self.name} has ended")
        return json.loads(answer)

    def timed(self, *argv, given="", environment=None, timeout=None):
        """Runs a command to its end and returns its output, wall and CPU seconds."""
        argv = [str(part) for part in argv]
        done = self.ask("run", argv=argv, text=given, environment=environment or {}, timeout=timeout)
        if done["status"] != 0:
            words = (done["errors"] + done["output"]).strip()
            raise Failed(f"on host {self.name}: {' '.join(argv)}: exit status {done['status']}\n{words[-2000:]}")
        return done

    def run(self, *argv, timeout=60, **options):
        return self.timed(*argv, timeout=timeout, **options)["output"]

    def spawn(self, *argv):
        """Starts a command that stays; its output goes to a log."""
        argv = [str(part) for part in argv]
        return self.ask("spawn", argv=argv, log=str(self.work / f"{Path(argv[0]).name}.log"))["pid"]

    def usage(self, name=None):
        """CPU seconds (so far) and resident KiB of the host's processes of this name, or of all."""
        return self.ask("usage", name=name)

    def reach(self, address, port, seconds=10):
        if failure := self.ask("reach", address=address, port=port, seconds=seconds).get("failed"):
            raise Failed(f"on host {self.name}: {failure}")

    def namespace(self, name):
        """A network namespace without a process; returns its path."""
        self.run("ip", "netns", "add", name)
        return f"/run/netns/{name}"

    def neighbour(self):
        """Another machine on this host's network, with the address 198.51.100.2; the host is .1. Returns its namespace."""
        path = self.namespace("neighbour")
        self.run("ip", "link", "add", "uplink", "type", "veth", "peer", "eth0", "netns", "neighbour")
        self.run("ip", "address", "add", "198.51.100.1/24", "dev", "uplink")
        self.run("ip", "link", "set", "uplink", "up")
        self.run("ip", "-n", "neighbour", "address", "add", "198.51.100.2/24", "dev", "eth0")
        self.run("ip", "-n", "neighbour", "link", "set", "eth0", "up")
        self.run("ip", "-n", "neighbour", "link", "set", "lo", "up")
        return path

    def container(self, bundle, name, *options):
        """Creates and starts a container; returns its process id."""
        pid_file = self.work / f"{name}.pid"
        path = bundle.place(self.work / name, f"{self.name}-{name}")
        self.run(MINIRUN, "create", "-b", path, "--pid-file", pid_file, *options, name)
        self.run(MINIRUN, "start", name)
        return int(pid_file.read_text())

    def outside(self, path):
        """A path of this host as the machine itself reaches it."""
        first = Path(f"/proc/{self.agent.pid}/task/{self.agent.pid}/children").read_text().split()[0]
        return f"/proc/{first}/root{path}"

    def close(self):
        self.agent.stdin.close()
        self.agent.wait(30)


class Bundle:
    """The web server as an OCI bundle: runc's default configuration, so without a filter of system calls."""

    def __init__(self, work):
        self.rootfs = work / "rootfs"
        for directory in ("dev", "proc", "sys", "etc"):
            (self.rootfs / directory).mkdir(parents=True)
        call("cp", SERVER, self.rootfs)
        call(MINIRUN, "spec", "-b", work)
        self.config = json.loads((work / "config.json").read_text())
        self.config["root"] = {"path": str(self.rootfs), "readonly": True}
        self.config["process"]["terminal"] = False
        self.config["process"]["args"] = ["/http-server", "80"]

    def place(self, directory, cgroup):
        """Writes it for one container."""
        directory.mkdir()
        self.config["linux"]["cgroupsPath"] = f"/{CGROUPS}/{cgroup}"
        (directory / "config.json").write_text(json.dumps(self.config))
        return directory


def remove_cgroups():
    """What killed containers left of their control groups."""
    found = [path for path in Path("/sys/fs/cgroup").glob(f"**/{CGROUPS}") if path.is_dir()]
    for top in found:
        for directory, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(directory)
            except OSError as error:
                print(f"cannot remove {directory}: {error.strerror}", file=sys.stderr)
