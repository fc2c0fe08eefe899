"""What attaching costs: one container with one published port, beside netavark and CNI's plugins, and number 1000 beside
number 10.

Each contender has a host of its own on which its network is in use already. Every round makes a fresh network namespace,
attaches it and detaches it again; only the attaching process is timed, with all processes that it waits for, and what the
contender's daemon does meanwhile is added.
"""

import json
from pathlib import Path

from bench_host import ATTACH, SERVER, Missing
from measure import MINIRUN

PORT, FIRST_PORT = 8080, 8079
# The number of the container, and how many containers around it are measured.
SCALE = {10: range(3, 18), 100: range(90, 111), 1000: range(980, 1001)}


class Minirun:
    """net::attach of our library in a program of its own (examples/attach.rs), as others attach a bare namespace."""

    name = "minirun"
    daemon = "minirun-netd"

    def __init__(self, host, network="default"):
        self.host, self.network = host, network
        if not Path(ATTACH).exists():
            raise Missing(f"{ATTACH} is not built")

    def attach(self, name, netns, port):
        return self.host.timed(ATTACH, name, netns, self.network, f"{port}:80")

    def detach(self, name, netns, port):
        return self.host.timed(ATTACH, "--detach", name, self.network)


class Netavark:
    """Podman's, without its name server: that would be a second program. Debian's 1.4 speaks iptables only."""

    name = "netavark"
    daemon = None
    program = "/usr/lib/podman/netavark"

    def __init__(self, host):
        self.host = host
        if not Path(self.program).exists():
            raise Missing("netavark is not installed")

    def setup(self, verb, name, port):
        network = {"name": "podman", "id": "0" * 64, "driver": "bridge", "network_interface": "podman0",
                   "subnets": [{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}], "ipv6_enabled": False,
                   "internal": False, "dns_enabled": False, "ipam_options": {"driver": "host-local"}}
        address = f"10.88.0.{2 if port == FIRST_PORT else 3}"
        return json.dumps({
            "container_id": name, "container_name": name, "network_info": {"podman": network},
            "networks": {"podman": {"static_ips": [address], "interface_name": "eth0"}},
            "port_mappings": [{"host_ip": "", "host_port": port, "container_port": 80, "protocol": "tcp", "range": 1}]})

    def attach(self, name, netns, port):
        return self.host.timed(self.program, "--config", "/run/netavark", "setup", netns, given=self.setup("setup", name, port))

    def detach(self, name, netns, port):
        return self.host.timed(self.program, "--config", "/run/netavark", "teardown", netns,
                               given=self.setup("teardown", name, port))


class Cni:
    """The plugins bridge (which calls host-local) and portmap, one after the other, as libcni calls them."""

    name = "CNI"
    daemon = None
    programs = Path("/usr/lib/cni")
    bridge = {"cniVersion": "0.4.0", "name": "bench", "type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True,
              "hairpinMode": True,
              "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.89.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}}

    def __init__(self, host):
        self.host = host
        for plugin in ("bridge", "host-local", "portmap"):
            if not (self.programs / plugin).exists():
                raise Missing("containernetworking-plugins is not installed")

    def call(self, command, name, netns, configuration):
        environment = {"CNI_COMMAND": command, "CNI_CONTAINERID": name, "CNI_NETNS": netns, "CNI_IFNAME": "eth0",
                       "CNI_PATH": str(self.programs)}
        return self.host.timed(self.programs / configuration["type"], given=json.dumps(configuration), environment=environment)

    def portmap(self, port, result):
        mapping = {"hostPort": port, "containerPort": 80, "protocol": "tcp"}
        return {"cniVersion": "0.4.0", "name": "bench", "type": "portmap", "capabilities": {"portMappings": True},
                "runtimeConfig": {"portMappings": [mapping]}, "prevResult": result}

    def attach(self, name, netns, port):
        first = self.call("ADD", name, netns, self.bridge)
        self.result = json.loads(first["output"])
        return both(first, self.call("ADD", name, netns, self.portmap(port, self.result)))

    def detach(self, name, netns, port):
        return both(self.call("DEL", name, netns, self.portmap(port, self.result)), self.call("DEL", name, netns, self.bridge))


def both(first, second):
    return {key: first[key] + second[key] for key in ("wall", "cpu")}


def used(contender):
    return contender.host.usage(contender.daemon)["cpu"] if contender.daemon else 0


def timed(contender, verb, *arguments):
    """Wall and CPU milliseconds of attach or detach."""
    before = used(contender)
    done = getattr(contender, verb)(*arguments)
    return done["wall"] * 1000, (done["cpu"] + used(contender) - before) * 1000


def one_attach(stage, figures, rounds):
    contenders = []
    for kind in (Minirun, Netavark, Cni):
        with stage.optional(kind.name):
            contender = kind(stage.host(f"attach-{kind.name}"))
            netns = contender.host.namespace("first")
            contender.attach("first", netns, FIRST_PORT)
            # It does what it is measured for.
            contender.host.spawn("nsenter", f"--net={netns}", SERVER, "80")
            contender.host.reach("127.0.0.1", FIRST_PORT)
            contenders.append(contender)
    for number in range(rounds):
        for contender in stage.in_turns(contenders, number):
            name = f"round-{number}"
            netns = contender.host.namespace(name)
            wall, cpu = timed(contender, "attach", name, netns, PORT)
            figures.add("attach, CPU", contender.name, cpu)
            figures.add("attach, wall", contender.name, wall)
            wall, cpu = timed(contender, "detach", name, netns, PORT)
            figures.add("detach, CPU", contender.name, cpu)
            figures.add("detach, wall", contender.name, wall)
            contender.host.run("ip", "netns", "delete", name)


def in_create(stage, figures, rounds):
    """The same inside of `minirun create`: a bundle with and without a network."""
    host = stage.host("create")
    host.container(stage.bundle, "first", "--network", "default", "--publish", f"{FIRST_PORT}:80")
    path = stage.bundle.place(host.work / "round", "create-round")
    variants = {"without network": [], "with network and port": ["--network", "default", "--publish", f"{PORT}:80"]}
    for number in range(rounds):
        for name, options in stage.in_turns(list(variants.items()), number):
            before = host.usage(Minirun.daemon)["cpu"]
            done = host.timed(MINIRUN, "create", "-b", path, *options, "round")
            cpu = done["cpu"] + host.usage(Minirun.daemon)["cpu"] - before
            figures.add("create, CPU", name, cpu * 1000)
            figures.add("create, wall", name, done["wall"] * 1000)
            host.run(MINIRUN, "delete", "-f", "round")


def many(stage, figures):
    """Attaches a thousand namespaces to one network; the figures are of those around number 10, 100 and 1000."""
    host = stage.host("many")
    contender = Minirun(host, "many")
    host.run(MINIRUN, "network", "create", "many", "--subnet", "10.66.0.0/16")
    for number in range(1, max(SCALE) + 1):
        name = f"n{number}"
        netns = host.namespace(name)
        wall, cpu = timed(contender, "attach", name, netns, 10000 + number)
        for at, window in SCALE.items():
            if number in window:
                figures.add("attach by number, CPU", f"at {at}", cpu)
                figures.add("attach by number, wall", f"at {at}", wall)
