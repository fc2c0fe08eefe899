"""The figures of `make bench-shop`, the bars they are held against, and how both read."""

import subprocess

import bench_figures
from bench_figures import DETAIL_HEAD, VERDICT_HEAD, aligned, details, markdown, verdicts

LOADS = ["50 at once", "100 at once"]

# What is asked of us: the figure, who is compared with whom, and the bound of the ratio first / second.
BARS = [
    *((f"{load}, requests", "minirun", "by hand", ">=", 0.97) for load in LOADS),
    *((f"{load}, requests", "minirun, seccomp", "Docker, seccomp", ">=", 1.25) for load in LOADS),
    *((f"{load}, requests", "minirun", "Docker", ">=", 1.25) for load in LOADS),
    *((f"{load}, CPU of the shop for a request", "minirun", "by hand", "", "what a request costs") for load in LOADS),
    ("start", "minirun, seccomp", "Docker Compose", "<=", 0.5),
]
# A figure alone, and its bound.
LIMITS = [
    ("failed requests", "minirun", "<=", 0),
    ("failed requests", "minirun, seccomp", "<=", 0),
    ("memory of the runtime, idle", "minirun", "<=", 12),
]

UNITS = [("failed", "failures"), ("requests", "req/s"), ("latency", "ms"), ("CPU", "us"), ("memory", "MiB"), ("start", "s")]

# Figures for the chart.
CHART = ["50 at once, requests", "100 at once, requests", "100 at once, 99 % latency", "100 at once, CPU of the shop for a request",
         "memory of the runtime, idle", "start"]


def machine(compose):
    """What the figures depend on; `compose` is the path of Docker's compose, which need not be there."""
    lines = bench_figures.machine(["docker.io", "containerd", "runc", "apache2-utils", "golang-github-containers-common"])
    if compose.exists():
        lines.append(subprocess.run([compose, "version"], capture_output=True, text=True).stdout.strip())
    return lines


def terminal(figures):
    verdict = aligned(VERDICT_HEAD, [row for row in verdicts(figures, BARS, LIMITS, paired=True) if row[-1] != "not measured"])
    return f"\n{aligned(DETAIL_HEAD, details(figures))}\n\n{verdict}"


METHOD = """
The shop of `bundles/shop`: nginx, a gateway, three replicas of the product service on Redis, the order service on PostgreSQL and
the registry, with the limits of their bundles (half a processor and 128 MiB for most). ab asks for
http://127.0.0.1:8080/api/products: 1000 requests, 50 at once, then 10,000, 100 at once. Contenders take turns, {rounds} rounds, each
round begins with another one; every sample starts the whole shop on a host of its own (private pid, mount and network
namespaces) and takes it down again. Verdicts go by the median of the ratios round by round; their quartiles say how much the
machine wavered.

- **by hand** is `integration-tests/scripts/raw-shop.sh`: the same root file systems, users, mounts and limits by `unshare`, `ip`, `nft` and
  `chroot`; names in /etc/hosts, no name server, no filter of system calls, nobody who watches.
- **minirun** is `minirun compose up` of `bundles/shop/compose.yaml`, with names, policies between the tiers, health checks and restarts;
  only the limit of new connections is out of reach. **seccomp**: with the profile that engines use.
- **Docker** is a dockerd with images of the same root file systems: `docker run` with the same limits, mounts and privileges, names by
  its name server, no health checks; without and with its seccomp profile.
- **Docker Compose** starts the same compose.yaml on the same images, with health checks as often as ours ask while a
  service starts; it is measured at starting only.
- **start** is from the command to the first answers of products and orders through nginx and the gateway, the
  services' own start included. By hand nobody waits for anybody, and all start at once. Docker's daemon runs already.
- **CPU** is user and system time of all processes of the shop, for a request. What the load test waits for is the gateway's half
  processor, the same for all contenders.
- **memory of the runtime** is the proportional set size of all processes that are not the services' own: supervisor and netd; dockerd,
  containerd, shims and proxies.

`make bench-shop` renews this page; `SHOP_ROUNDS` sets the rounds, and names of contenders after `bench_shop.py` measure some without
writing.
"""


def document(figures, machine_lines, skipped, rounds, seconds):
    parts = ["# The shop under load", "", "Written by `make bench-shop`; not edited by hand.", "", "![Medians](shop.svg)", "",
             "## Bars", "", markdown(VERDICT_HEAD, verdicts(figures, BARS, LIMITS, paired=True))]
    if skipped:
        parts += ["", "Left out:", "", *(f"- {what}: {why}" for what, why in skipped)]
    parts += ["", "## All figures", "", markdown(DETAIL_HEAD, details(figures)), "", "## Machine", "",
              *(f"- {line}" for line in machine_lines), f"- the run took {seconds:.0f} s", "", "## Method",
              METHOD.format(rounds=rounds).rstrip()]
    return "\n".join(parts) + "\n"
