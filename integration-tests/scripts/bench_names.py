"""What a name costs: answers a second and the latency of one, beside aardvark-dns, in a network of a hundred containers.

Both answer a client in a container's namespace over UDP: minirun on the container's own 127.0.0.11, aardvark-dns on the
bridge's address, as Podman arranges it. The questions are the same: names of all hundred containers, in a fixed mix.
"""

import re
from pathlib import Path

from bench_attach import Minirun as Attach
from bench_host import Failed, Missing
from bench_traffic import bridge

CONTAINERS = 100
# Of ten questions: addresses mostly, then IPv6 addresses that nobody has (every getaddrinfo asks for one).
MIX = ["A"] * 7 + ["AAAA"] * 3
PARALLEL = 20


class Minirun:
    name = "minirun"
    process = "minirun-netd"
    address = "127.0.0.11"

    def __init__(self, host):
        self.host = host
        network = Attach(host)
        for number in range(1, CONTAINERS + 1):
            network.attach(f"service-{number}", host.namespace(f"n{number}"), 10000 + number)
        self.client = ["nsenter", "--net=/run/netns/n1"]


class Aardvark:
    name = "aardvark-dns"
    process = "aardvark-dns"
    program = "/usr/lib/podman/aardvark-dns"
    address = "10.90.0.1"

    def __init__(self, host):
        self.host = host
        if not Path(self.program).exists():
            raise Missing("aardvark-dns is not installed")
        bridge(host)
        namespace = host.namespace("n1")
        host.run("ip", "link", "add", "veth2", "master", "byhand0", "up", "type", "veth", "peer", "eth0", "netns", "n1")
        host.run("ip", "-n", "n1", "address", "add", "10.90.0.2/24", "dev", "eth0")
        host.run("ip", "-n", "n1", "link", "set", "eth0", "up")
        self.client = ["nsenter", f"--net={namespace}"]
        directory = host.work / "aardvark"
        directory.mkdir()
        containers = [f"{number:064x} 10.90.0.{number + 1}  service-{number}" for number in range(1, CONTAINERS + 1)]
        (directory / "bench").write_text("\n".join([self.address, *containers]) + "\n")
        host.run(self.program, "--config", directory, "-p", "53", "run")


def ask(contender, questions, outstanding):
    """Answers a second, and the mean latency in microseconds, with so many questions under way."""
    output = contender.host.run(*contender.client, "dnsperf", "-s", contender.address, "-d", questions, "-q", outstanding,
                                "-l", "1", "-c", "1", "-T", "1", "-t", "1")
    lost = int(re.search(r"Queries lost:\s*(\d+)", output)[1])
    codes = re.search(r"Response codes:\s*(.*)", output)[1]
    if lost or not codes.startswith("NOERROR") or "," in codes:
        raise Failed(f"{contender.name}: {lost} questions without an answer, answers {codes}")
    rate = float(re.search(r"Queries per second:\s*([0-9.]+)", output)[1])
    return rate, float(re.search(r"Average Latency \(s\):\s*([0-9.]+)", output)[1]) * 1e6


def names(stage, figures, rounds):
    questions = stage.work / "questions"
    lines = [f"service-{1 + number * 37 % CONTAINERS} {MIX[number % len(MIX)]}\n" for number in range(1000)]
    questions.write_text("".join(lines))
    contenders = []
    for kind in (Minirun, Aardvark):
        with stage.optional(kind.name):
            contender = kind(stage.host(f"names-{kind.name}"))
            ask(contender, questions, 1)
            contenders.append(contender)
    for contender in contenders:
        memory = contender.host.usage(contender.process)["resident"]
        figures.add("names, memory before the questions", contender.name, memory / 1024)
    for number in range(rounds):
        for contender in stage.in_turns(contenders, number):
            before = contender.host.usage(contender.process)["cpu"]
            rate, _ = ask(contender, questions, PARALLEL)
            figures.add("names, answers a second", contender.name, rate)
            used = contender.host.usage(contender.process)["cpu"] - before
            figures.add("names, CPU of an answer", contender.name, used / rate * 1e6)
            figures.add("names, latency", contender.name, ask(contender, questions, 1)[1])
    for contender in contenders:
        memory = contender.host.usage(contender.process)["resident"]
        figures.add("names, memory after them", contender.name, memory / 1024)
