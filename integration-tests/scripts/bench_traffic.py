"""What the network costs while it is used: requests a second to a published port and between containers.

The same web server in the same kind of container everywhere (Docker's is started by Docker, without its filter of system
calls, which the others do not have either), and the same client. Only the network between them differs.
"""

import json
import re
import subprocess

from bench_host import CGROUPS, ROUND_TRIPS, Failed
from measure import MINIRUN, call

PORT = 8080
# Published beside it, where round-trips listens in the container's namespace.
SECOND, SECOND_INSIDE = 8081, 81
BATCHES = 25
# Of wrk and iperf3 in each round: many short ones, for the machine changes from one second to the next.
TURNS = 4
SECONDS = 0.2
CONNECTIONS = 8
# From where the port is asked, and the host's address there.
PATHS = {"localhost": "127.0.0.1", "neighbour": "198.51.100.1"}
BRIDGED_TO_FIREWALL = "net.bridge.bridge-nf-call-iptables"


class Published:
    """A contender with its web server behind port 8080 of its host."""

    def __init__(self, host, bundle):
        self.host, self.bundle = host, bundle
        self.neighbour = host.neighbour()
        self.start()
        host.reach("127.0.0.1", PORT)
        for path in PATHS:
            self.requests(path, keep=True)

    def round_trips(self, path):
        """The way to the container as an argument of round-trips."""
        client = self.neighbour if path == "neighbour" else "/proc/1/ns/net"
        return way(self, client, f"/proc/{self.pid}/ns/net", SECOND_INSIDE, f"{PATHS[path]}:{SECOND}")

    def requests(self, path, keep):
        inside = ["nsenter", f"--net={self.neighbour}"] if path == "neighbour" else []
        return requests(self.host, f"http://{PATHS[path]}:{PORT}/", keep, inside)


class Minirun(Published):
    name = "minirun"

    def start(self):
        self.pid = self.host.container(self.bundle, "web", "--network", "default", "--publish", f"{PORT}:80",
                                       "--publish", f"{SECOND}:{SECOND_INSIDE}")

    def stop(self):
        self.host.run(MINIRUN, "delete", "-f", "web")


class ByHand(Published):
    """A bridge, a veth pair and one DNAT rule a port and way: what any runtime's network consists of at least."""

    name = "nft by hand"
    rules = f"""
        table ip byhand {{
            chain prerouting {{
                type nat hook prerouting priority dstnat
                ip daddr 198.51.100.1 tcp dport {PORT} dnat to 10.90.0.2:80
                ip daddr 198.51.100.1 tcp dport {SECOND} dnat to 10.90.0.2:{SECOND_INSIDE}
            }}
            chain output {{
                type nat hook output priority -100
                ip daddr 127.0.0.1 tcp dport {PORT} dnat to 10.90.0.2:80
                ip daddr 127.0.0.1 tcp dport {SECOND} dnat to 10.90.0.2:{SECOND_INSIDE}
            }}
            chain postrouting {{
                type nat hook postrouting priority srcnat
                ip saddr 127.0.0.1 oifname "byhand0" masquerade
            }}
        }}"""

    def start(self):
        bridge(self.host)
        self.pid = self.host.container(self.bundle, "web")
        connect(self.host, self.pid, 2)
        self.host.run("sysctl", "-q", "-w", "net.ipv4.conf.byhand0.route_localnet=1")
        self.host.run("nft", "-f", "-", given=self.rules)

    def stop(self):
        self.host.run(MINIRUN, "delete", "-f", "web")


class ByHandAgain(ByHand):
    """The same once more: how far its ratio is from 1 says what a ratio is worth."""

    name = "by hand again"


class Docker(Published):
    """Debian's dockerd as it comes: iptables for the neighbour, docker-proxy for localhost."""

    name = "Docker"
    iptables = True

    def docker(self, *arguments, **options):
        return self.host.run("docker", "--config", self.host.work, "-H", f"unix://{self.socket}", *arguments, **options)

    def start(self):
        work = self.host.work
        self.socket = work / "docker.sock"
        configuration = {
            "data-root": str(work / "data"), "exec-root": "/run/docker", "pidfile": "/run/docker.pid",
            "hosts": [f"unix://{self.socket}"], "storage-driver": "vfs", "bip": "10.91.0.1/24", "userland-proxy": True,
            "iptables": self.iptables, "ip6tables": False, "ip-masq": self.iptables, "cgroup-parent": f"/{CGROUPS}",
            "exec-opts": ["native.cgroupdriver=cgroupfs"]}
        (work / "daemon.json").write_text(json.dumps(configuration))
        self.host.spawn("dockerd", "--config-file", work / "daemon.json")
        self.host.run("sh", "-c", 'until docker -H "unix://$0" version; do sleep 0.1; done', self.socket)
        image = work / "image.tar"
        subprocess.run(["tar", "-C", self.bundle.rootfs, "-cf", image, "."], check=True)
        self.docker("import", image, "web")
        self.docker("run", "-d", "--name", "web", "--security-opt", "seccomp=unconfined", "--publish", f"{PORT}:80", "--publish",
                    f"{SECOND}:{SECOND_INSIDE}", "web", "/http-server", "80")
        self.pid = int(self.docker("inspect", "-f", "{{.State.Pid}}", "web"))

    def stop(self):
        self.docker("rm", "-f", "web")


class DockerProxy(Docker):
    """dockerd with "iptables": false: docker-proxy carries everything."""

    name = "docker-proxy"
    iptables = False


def bridge(host):
    host.run("ip", "link", "add", "byhand0", "type", "bridge")
    host.run("ip", "address", "add", "10.90.0.1/24", "dev", "byhand0")
    host.run("ip", "link", "set", "byhand0", "up")


def connect(host, pid, number):
    """Connects the container's namespace with the bridge, as 10.90.0.NUMBER."""
    inside = ["nsenter", "-t", pid, "-n", "ip"]
    host.run("ip", "link", "add", f"veth{number}", "master", "byhand0", "up", "type", "veth", "peer", "eth0", "netns", pid)
    host.run(*inside, "address", "add", f"10.90.0.{number}/24", "dev", "eth0")
    host.run(*inside, "link", "set", "eth0", "up")
    host.run(*inside, "route", "add", "default", "via", "10.90.0.1")


def for_a_moment(host, *wrk):
    """wrk knows whole seconds only. Interrupted, it reports what it did until then, unless it had not even begun: again."""
    for patience in (1, 2, 4, 8):
        try:
            return host.timed("timeout", "--preserve-status", "--signal=INT", SECONDS * patience, *wrk)
        except Failed as error:
            if "exit status 130" not in str(error):
                raise
            last = error
    raise last


def requests(host, url, keep, inside=()):
    """What one client gets answered for a moment over eight connections, or over a new one each: requests a second, and
    the CPU microseconds that each took of the host's processes (client, server and what stands between them)."""
    header = [] if keep else ["-H", "Connection: close"]
    before = host.usage()["cpu"]
    done = for_a_moment(host, *inside, "wrk", "-t1", f"-c{CONNECTIONS}", "-d10s", *header, url)
    cpu = done["cpu"] + host.usage()["cpu"] - before
    if errors := re.search(r"Socket errors:.*|Non-2xx.*", done["output"]):
        raise Failed(f"on host {host.name}: wrk {url}: {errors[0]}")
    answered = int(re.search(r"(\d+) requests in", done["output"])[1])
    return float(re.search(r"Requests/sec:\s*([0-9.]+)", done["output"])[1]), cpu / answered * 1e6


def way(contender, client, server, port, target):
    """Two namespaces of the contender's host, and where in the one the other is found, as round-trips wants to be told."""
    client, server = (contender.host.outside(path) for path in (client, server))
    return f"{contender.name}={client},{server},{port},{target}"


def round_trips(figures, what, ways):
    """Client and server in one thread, contenders in turns within milliseconds: examples/round-trips.rs."""
    modes = {"keep-alive": f"{what}, keep-alive, CPU of a round trip", "new": f"{what}, new connections, CPU of a round trip"}
    for line in call(ROUND_TRIPS, BATCHES, *ways).splitlines():
        name, mode, cost = line.rsplit(" ", 2)
        figures.add(modes[mode], name, float(cost))


def turns(number, measures):
    """The number of each of a round's turns, and what is measured in it."""
    return [(number * TURNS + turn, measure) for turn in range(TURNS) for measure in measures]


def published(stage, figures, rounds):
    contenders = []
    for kind in (Minirun, ByHand, ByHandAgain, Docker, DockerProxy):
        with stage.optional(kind.name):
            contender = kind(stage.host(kind.name.replace(" ", "-")), stage.bundle)
            stage.at_end(contender.stop)
            contenders.append(contender)
    for number in range(rounds):
        for path in PATHS:
            in_turns = stage.in_turns(contenders, number)
            # docker-proxy is a process between the two, and on localhost it is Docker's way anyhow.
            passed_through = [each for each in in_turns
                              if not isinstance(each, Docker) or (path == "neighbour" and each.iptables)]
            round_trips(figures, f"published, {path}", [each.round_trips(path) for each in passed_through])
            for turn, (mode, keep) in turns(number, (("keep-alive", True), ("new connections", False))):
                for contender in stage.in_turns(contenders, turn):
                    if not (path == "localhost" and isinstance(contender, DockerProxy)):
                        rate, cpu = contender.requests(path, keep)
                        figures.add(f"published, {path}, {mode}", contender.name, rate)
                        figures.add(f"published, {path}, {mode}, CPU of a request", contender.name, cpu)


class MinirunPair:
    """Two containers on minirun's network, which nothing else on this host keeps from having its first subnet."""

    name = "minirun"
    address = "10.186.0.2"

    def __init__(self, host, bundle):
        self.host = host
        self.pids = [host.container(bundle, name, "--network", network)
                     for name, network in (("web", f"default:ip={self.address}"), ("client", "default"))]
        self.inside = [["nsenter", "-t", pid, "-n"] for pid in self.pids]

    def stop(self):
        for name in ("web", "client"):
            self.host.run(MINIRUN, "delete", "-f", name)


class PairByHand:
    """Two containers on a bridge that was made with ip, without any firewall."""

    name = "bridge by hand"
    address = "10.90.0.2"

    def __init__(self, host, bundle):
        self.host = host
        bridge(host)
        self.pids = [host.container(bundle, name) for name in ("web", "client")]
        for number, pid in enumerate(self.pids, start=2):
            connect(host, pid, number)
        self.inside = [["nsenter", "-t", pid, "-n"] for pid in self.pids]

    stop = MinirunPair.stop


class Control(PairByHand):
    """The same once more: how far its ratio is from 1 says what a ratio is worth."""

    name = "by hand again"


def throughput(host, address, inside):
    """Gigabits a second of one TCP connection."""
    report = json.loads(host.run(*inside, "iperf3", "-c", address, "-n", "256M", "-J"))
    return report["end"]["sum_received"]["bits_per_second"] / 1e9


def bridged(stage, figures, rounds):
    contenders = []
    for kind in (MinirunPair, PairByHand, Control):
        with stage.optional(kind.name):
            contender = kind(stage.host(f"pair-{kind.name.replace(' ', '-')}"), stage.bundle)
            stage.at_end(contender.stop)
            server, client = contender.inside
            contender.host.spawn(*server, "iperf3", "-s")
            requests(contender.host, f"http://{contender.address}/", True, client)
            contenders.append(contender)
    # Whether packets inside of a bridge pass the firewall is the host's choice; both are common.
    settings = {"br_netfilter on": 1, "br_netfilter off": 0}
    for number in range(rounds):
        for setting, value in settings.items():
            for contender in contenders:
                contender.host.run("sysctl", "-q", "-e", "-w", f"{BRIDGED_TO_FIREWALL}={value}")
            ways = [way(each, f"/proc/{each.pids[1]}/ns/net", f"/proc/{each.pids[0]}/ns/net", SECOND_INSIDE,
                        f"{each.address}:{SECOND_INSIDE}") for each in stage.in_turns(contenders, number)]
            round_trips(figures, f"bridged, {setting}", ways)
            for turn, measure in turns(number, ("keep-alive", "new connections", "throughput")):
                for contender in stage.in_turns(contenders, turn):
                    client, what = contender.inside[1], f"bridged, {setting}, {measure}"
                    if measure == "throughput":
                        figures.add(what, contender.name, throughput(contender.host, contender.address, client))
                        continue
                    rate, cpu = requests(contender.host, f"http://{contender.address}/", measure == "keep-alive", client)
                    figures.add(what, contender.name, rate)
                    figures.add(f"{what}, CPU of a request", contender.name, cpu)
