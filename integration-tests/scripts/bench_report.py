"""The figures of `make bench-net`, the bars they are held against, and how both read."""

import os
import platform
import statistics
import subprocess
from collections import defaultdict
from pathlib import Path

from measure import MINIRUN, REPOSITORY, call

# What is asked of us: the figure, who is compared with whom, and the bound of the ratio first / second.
BARS = [
    ("attach, CPU", "minirun", "netavark", "<=", 0.20),
    ("attach, CPU", "minirun", "CNI", "<=", 0.20),
    ("published, localhost, keep-alive", "minirun", "Docker", ">=", 1.3),
    ("published, localhost, new connections", "minirun", "Docker", ">=", 1.3),
    ("published, neighbour, keep-alive", "minirun", "docker-proxy", ">=", 1.3),
    ("published, neighbour, new connections", "minirun", "docker-proxy", ">=", 1.3),
    ("published, neighbour, keep-alive", "minirun", "Docker", ">=", 1.0),
    ("published, neighbour, new connections", "minirun", "Docker", ">=", 1.0),
    ("published, localhost, keep-alive", "minirun", "nft by hand", ">=", 0.98),
    ("published, localhost, new connections", "minirun", "nft by hand", ">=", 0.98),
    ("published, neighbour, keep-alive", "minirun", "nft by hand", ">=", 0.98),
    ("published, neighbour, new connections", "minirun", "nft by hand", ">=", 0.98),
    ("bridged, keep-alive, br_netfilter off", "by hand again", "bridge by hand", "", 1.0),
    ("bridged, keep-alive, br_netfilter off", "minirun", "bridge by hand", ">=", 0.98),
    ("bridged, new connections, br_netfilter off", "minirun", "bridge by hand", ">=", 0.98),
    ("bridged, throughput, br_netfilter off", "minirun", "bridge by hand", ">=", 0.98),
    ("bridged, keep-alive, br_netfilter on", "minirun", "bridge by hand", ">=", 0.98),
    ("bridged, new connections, br_netfilter on", "minirun", "bridge by hand", ">=", 0.98),
    ("bridged, throughput, br_netfilter on", "minirun", "bridge by hand", ">=", 0.98),
    ("names, answers a second", "minirun", "aardvark-dns", ">=", 1.0),
    ("names, latency", "minirun", "aardvark-dns", "<=", 1.0),
    ("attach by number, CPU", "at 1000", "at 10", "<=", 2.0),
    ("attach by number, wall", "at 1000", "at 10", "<=", 2.0),
]
# A figure alone, and its bound.
LIMITS = [("names, memory after them", "minirun", "<=", 8.0)]

UNITS = [("CPU of a", "us"), ("latency", "us"), ("CPU", "ms"), ("wall", "ms"), ("memory", "MiB"), ("throughput", "Gbit/s"),
         ("answers", "/s"), ("", "req/s")]


def unit(what):
    return next(name for part, name in UNITS if part in what)


def more_is_better(what):
    return unit(what) in ("Gbit/s", "/s", "req/s")


def digits(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


class Figures:
    """Samples by what was measured and of whom, in the order in which they came."""

    def __init__(self):
        self.samples = defaultdict(lambda: defaultdict(list))

    def add(self, what, who, value):
        self.samples[what][who].append(value)

    def median(self, what, who):
        return statistics.median(self.samples[what][who])

    def best(self, what, who):
        """The tenth of the samples that the machine disturbed least: 10th percentile of a cost, 90th of a rate."""
        ordered = sorted(self.samples[what][who], reverse=more_is_better(what))
        return ordered[len(ordered) // 10]

    def has(self, what, *who):
        return what in self.samples and all(self.samples[what].get(name) for name in who)

    def spread(self, what, first, second):
        """Quartiles of the ratios round by round: how far the machine wavered."""
        pairs = [a / b for a, b in zip(self.samples[what][first], self.samples[what][second]) if b]
        if len(pairs) < 4:
            return ""
        return " ".join(f"{quartile:.2f}" for quartile in statistics.quantiles(pairs, n=4))


SIGNS = {"<=": "≤", ">=": "≥", "": "control:"}


def verdict(value, sign, bound):
    return {"<=": "ok" if value <= bound else "short", ">=": "ok" if value >= bound else "short", "": ""}[sign]


def verdicts(figures):
    """One row per bar: what, whom with whom, bar, ratio of medians, of the best tenth, spread, verdict."""
    for what, first, second, sign, bound in BARS:
        row = [what, f"{first} / {second}", f"{SIGNS[sign]} {bound}"]
        if not figures.has(what, first, second):
            yield [*row, "-", "-", "-", "not measured"]
            continue
        ratio = figures.median(what, first) / figures.median(what, second)
        best = figures.best(what, first) / figures.best(what, second)
        yield [*row, f"{ratio:.3f}", f"{best:.3f}", figures.spread(what, first, second), verdict(ratio, sign, bound)]
    for what, who, sign, bound in LIMITS:
        row = [what, who, f"{SIGNS[sign]} {bound:g} {unit(what)}"]
        if not figures.has(what, who):
            yield [*row, "-", "-", "-", "not measured"]
            continue
        value = figures.median(what, who)
        yield [*row, digits(value), digits(figures.best(what, who)), "", verdict(value, sign, bound)]


def details(figures):
    """One row per figure and contender; the ratio is minirun to this one."""
    for what, contenders in figures.samples.items():
        first = "minirun" if "minirun" in contenders else next(iter(contenders))
        for who in contenders:
            median, best = figures.median(what, who), figures.best(what, who)
            row = [what, who, f"{digits(median)} {unit(what)}", f"{digits(best)} {unit(what)}", str(len(contenders[who]))]
            if who == first:
                yield [*row, "", ""]
            else:
                yield [*row, f"{figures.median(what, first) / median:.3f}" if median else "-",
                       f"{figures.best(what, first) / best:.3f}" if best else "-"]


VERDICT_HEAD = ["figure", "of", "bar", "ratio of medians", "of the best tenth", "quartiles of the rounds", "verdict"]
DETAIL_HEAD = ["figure", "contender", "median", "best tenth", "samples", "minirun / it", "best tenth"]


def aligned(head, rows):
    rows = [head, *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def markdown(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def terminal(figures):
    verdict = aligned(VERDICT_HEAD, [row for row in verdicts(figures) if row[-1] != "not measured"])
    return f"\n{aligned(DETAIL_HEAD, details(figures))}\n\n{verdict}"


def version(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}", package], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else f"{package} missing"


def machine():
    """What the figures depend on, a line each."""
    processor = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                      if line.startswith("model name")), platform.machine())
    release = dict(line.rstrip().split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    packages = ["netavark", "aardvark-dns", "containernetworking-plugins", "docker.io", "nftables", "iptables", "wrk", "iperf3",
                "dnsperf"]
    return [
        f"{os.cpu_count()} processors: {processor}",
        f"kernel {platform.release().split(chr(45))[0]}, {release.get('PRETTY_NAME', 'unknown system').strip(chr(34))}",
        call(MINIRUN, "--version").splitlines()[0],
        ", ".join(version(package) for package in packages),
        f"load average before the run: {os.getloadavg()[0]:.2f}",
    ]


METHOD = """
Everything runs in turns within one run, each contender on a host of its own (private pid, mount and network namespaces), so
that nobody's rules slow down another's packets. Wall time is of the process that attaches, from vfork to its end; CPU time is
user and system of that process, of all that it waited for, and of the contender's daemon meanwhile. The best tenth is the
10th percentile of a cost and the 90th of a rate. Verdicts go by the ratio of the medians; the quartiles of the ratios round
by round say how much the machine wavered meanwhile, and so does "by hand again", which is the same thing measured twice.

- **attach**: a fresh, bare network namespace joins a network that is in use, with one published port: {attach} rounds.
  minirun's part is `examples/attach.rs`, the library's `net::attach` in a static program, which also registers names and
  takes hold of the port; netavark runs without its name server, which is a program of its own; CNI is bridge (with
  host-local) and portmap.
- **create**: `minirun create` of one bundle without and with network and port.
- **published**: the web server `examples/http-server.rs` in a container, asked for a second by wrk with one thread and eight
  connections, kept or new for each request: {rounds} rounds. The same container without a filter of system calls for all;
  Docker's with `seccomp=unconfined`. "Docker" is dockerd as it comes (iptables for the neighbour, docker-proxy for
  localhost), "docker-proxy" has `"iptables": false`, "nft by hand" is a bridge, a veth pair and one DNAT rule for each way,
  without anything that forbids. The neighbour is a namespace behind a veth pair of the host.
- **bridged**: the same between two containers of one network, and one TCP connection of iperf3; beside two containers on a
  bridge made with `ip`, without any firewall. With and without `net.bridge.bridge-nf-call-iptables`, with which packets
  inside of a bridge pass the host's firewall.
- **names**: dnsperf in a container of a network of a hundred, 7 of 10 questions for A, 3 for AAAA: 20 questions under way for
  answers a second, one for the latency.
- **attach by number**: a thousand namespaces with a port each join one network; the attaches around number 10, 100 and 1000.

`make bench-net` renews this page. `BENCH_ROWS="attach names"` measures some rows without writing, `BENCH_ROUNDS` sets the
rounds.
"""


def document(figures, machine_lines, skipped, rounds, attach_rounds, seconds):
    parts = ["# What networks cost", "", "Written by `make bench-net`; not edited by hand.", "", "## Bars", "",
             markdown(VERDICT_HEAD, verdicts(figures))]
    if skipped:
        parts += ["", "Left out:", "", *(f"- {what}: {' '.join(why.split())}" for what, why in skipped)]
    parts += ["", "## All figures", "", markdown(DETAIL_HEAD, details(figures)), "", "## Machine", "",
              *(f"- {line}" for line in machine_lines), f"- the run took {seconds:.0f} s", "", "## Method",
              METHOD.format(rounds=rounds, attach=attach_rounds).rstrip()]
    return "\n".join(parts) + "\n"
