"""The figures of `make bench-net`, the bars they are held against, and how both read."""

import bench_figures
import bench_traffic
from bench_figures import DETAIL_HEAD, PAIRED_HEAD, aligned, details, markdown, verdicts

CONTROL, ALONE = "control: 1.0", "the way alone"
AGAIN = "by hand again"


def beside(what, raw):
    """Requests a second beside what is made by hand, and beside it again; and what the way costs without anything else."""
    alone = f"{what}, CPU of a round trip"
    return [*of_both(what, raw, ">=", 0.98), *of_both(alone, raw, "", ALONE)]


def of_both(what, raw, sign, bound):
    """Beside the mean of both that are made by hand; and these two beside each other, which says what that is worth."""
    return [(what, AGAIN, raw, "", CONTROL), (what, "minirun", (raw, AGAIN), sign, bound)]


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
    *beside("published, localhost, keep-alive", "nft by hand"),
    *beside("published, localhost, new connections", "nft by hand"),
    *beside("published, neighbour, keep-alive", "nft by hand"),
    *beside("published, neighbour, new connections", "nft by hand"),
    ("published, neighbour, keep-alive, CPU of a round trip", "minirun", "Docker", "", ALONE),
    ("published, neighbour, new connections, CPU of a round trip", "minirun", "Docker", "", ALONE),
    *beside("bridged, br_netfilter off, keep-alive", "bridge by hand"),
    *beside("bridged, br_netfilter off, new connections", "bridge by hand"),
    *of_both("bridged, br_netfilter off, throughput", "bridge by hand", ">=", 0.98),
    *beside("bridged, br_netfilter on, keep-alive", "bridge by hand"),
    *beside("bridged, br_netfilter on, new connections", "bridge by hand"),
    *of_both("bridged, br_netfilter on, throughput", "bridge by hand", ">=", 0.98),
    ("names, answers a second", "minirun", "aardvark-dns", ">=", 1.0),
    ("names, latency", "minirun", "aardvark-dns", "<=", 1.0),
    ("attach by number, CPU", "at 1000", "at 10", "<=", 2.0),
    ("attach by number, wall", "at 1000", "at 10", "<=", 2.0),
]
# A figure alone, and its bound.
LIMITS = [("names, memory after them", "minirun", "<=", 8.0)]

UNITS = [("CPU of a", "us"), ("latency", "us"), ("CPU", "ms"), ("wall", "ms"), ("memory", "MiB"), ("throughput", "Gbit/s"),
         ("answers", "/s"), ("", "req/s")]

# Figures for the chart.
CHART = ["attach, CPU", "detach, wall", "published, localhost, keep-alive", "published, neighbour, keep-alive",
         "bridged, br_netfilter off, keep-alive", "names, answers a second", "names, latency", "attach by number, CPU"]


def terminal(figures):
    verdict = aligned(PAIRED_HEAD, [row for row in verdicts(figures, BARS, LIMITS, paired=True, sure=True) if row[-1] != "not measured"])
    return f"\n{aligned(DETAIL_HEAD, details(figures))}\n\n{verdict}"


def machine():
    return bench_figures.machine(["netavark", "aardvark-dns", "containernetworking-plugins", "docker.io", "nftables", "iptables",
                                  "wrk", "iperf3", "dnsperf"])


METHOD = """
Everything runs in turns within one run, each contender on a host of its own (private pid, mount and network namespaces), so
that nobody's rules slow down another's packets. Wall time is of the process that attaches, from vfork to its end; CPU time is
user and system of that process, of all that it waited for, and of the contender's daemon meanwhile. The best tenth is the
10th percentile of a cost and the 90th of a rate.

A ratio is the median of the ratios turn by turn, so that what else the machine does meets both. What is made by hand is there
twice: minirun is set beside the mean of both in each turn, and the two beside each other are the control. "95 % sure" is
where the median lies with that confidence, from the order of the turns' ratios alone (the sign test). A verdict is "ok"
when all of that keeps the bar, "short" when nothing of it does, and else the bar is *not decided by this run*. Many short turns
say more than few long ones: the machine changes from one second to the next, so contenders a fifth of a second apart
have more in common. Where contenders did not take turns, the ratio is that of the medians.

- **attach**: a fresh, bare network namespace joins a network that is in use, with one published port: {attach} rounds.
  minirun's part is `examples/attach.rs`, the library's `net::attach` in a static program, which also registers names and
  takes hold of the port; netavark runs without its name server, which is a program of its own; CNI is bridge (with
  host-local) and portmap.
- **create**: `minirun create` of one bundle without and with network and port.
- **published**: the web server `examples/http-server.rs` in a container, asked for a fifth of a second by wrk with one thread
  and eight connections, kept or new for each request: {turns} turns. The same container without a filter of system calls for all;
  Docker's with `seccomp=unconfined`. "Docker" is dockerd as it comes (iptables for the neighbour, docker-proxy for
  localhost), "docker-proxy" has `"iptables": false`, "nft by hand" is a bridge, a veth pair and one DNAT rule for each way,
  without anything that forbids. The neighbour is a namespace behind a veth pair of the host.
- **CPU of a round trip**: the same ways, and nothing else: `examples/round-trips.rs` is client and server in one thread, so
  nobody is woken up and no processor waits for another. Contenders take turns every few milliseconds. A request of wrk
  costs about twice as much, so a ratio here is about twice as far from 1 as it is in requests a second.
- **bridged**: the same between two containers of one network, and 256 MiB over one TCP connection of iperf3; beside two containers on a
  bridge made with `ip`, without any firewall. With and without `net.bridge.bridge-nf-call-iptables`, with which packets
  inside of a bridge pass the host's firewall; "on" is how the containers find it when they are attached.
- **names**: dnsperf in a container of a network of a hundred, 7 of 10 questions for A, 3 for AAAA: 20 questions under way for
  answers a second, one for the latency.
- **attach by number**: a thousand namespaces with a port each join one network; the attaches around number 10, 100 and 1000.

`make bench-net` renews this page. `BENCH_ROWS="attach names"` measures some rows without writing, `BENCH_ROUNDS` sets the
rounds.
"""


def document(figures, machine_lines, skipped, rounds, attach_rounds, seconds):
    parts = ["# What networks cost", "", "Written by `make bench-net`; not edited by hand.", "", "![Medians](network.svg)", "",
             "## Bars", "", markdown(PAIRED_HEAD, verdicts(figures, BARS, LIMITS, paired=True, sure=True))]
    if skipped:
        parts += ["", "Left out:", "", *(f"- {what}: {' '.join(why.split())}" for what, why in skipped)]
    parts += ["", "## All figures", "", markdown(DETAIL_HEAD, details(figures)), "", "## Machine", "",
              *(f"- {line}" for line in machine_lines), f"- the run took {seconds:.0f} s", "", "## Method",
              METHOD.format(rounds=rounds, turns=rounds * bench_traffic.TURNS, attach=attach_rounds).rstrip()]
    return "\n".join(parts) + "\n"
