"""The figures of `make bench`, the bars they are held against, and how both read."""

import bench_figures
from bench_figures import DETAIL_HEAD, VERDICT_HEAD, aligned, details, markdown, verdicts

UNITS = [("wall", "ms"), ("CPU", "ms"), ("peak RSS", "MiB"), ("smallest memory limit", "KiB"), ("filter, compile", "us"),
         ("filter, load", "us"), ("filter, ", "ns")]

# Figures that are held against crun (each crun that takes part), and the bound of the ratio.
AGAINST_CRUN = [
    ("run", 0.45), ("create, start, delete", 0.45), ("create, start, delete -f", 0.45), ("exec", 0.30), ("state", 0.35),
    ("--version", 0.35), ("50 at once", 0.45), ("run, filtered", 0.45),
]

# Where the kernel runs neither filter, the two loops are the same code; "minirun, again" shows how far they differ anyway.
NO_SLOWER = 1.05


def bars(figures):
    """What is asked of us: the figure, who is compared with whom, and the bound of the ratio first / second. Every runtime is
    held against Debian's peers; newer ones where they take part."""
    def peers(name):
        found = [who for who in (name, f"{name} sid") if any(who in samples for samples in figures.samples.values())]
        return found or [name]

    for what, bound in AGAINST_CRUN:
        for peer in peers("crun"):
            for kind in ("CPU", "wall"):
                yield f"{what}, {kind}", "minirun", peer, "<=", bound
    for peer in peers("runc"):
        for kind in ("CPU", "wall"):
            yield f"run, {kind}", "minirun", peer, "<=", 0.12
    for kind in ("CPU", "wall"):
        yield f"run, {kind}", "minirun", "floor", "<=", 1.5
    for peer in peers("crun"):
        for what in ("run", "run, filtered", "exec", "state"):
            yield f"{what}, peak RSS", "minirun", peer, "<=", 1.0
        yield "smallest memory limit", "minirun", peer, "<=", 1.0
    for kind in ("CPU", "wall"):
        yield f"in sequence, {kind}", "minirun, last tenth", "minirun, first tenth", "<=", 1.2
    for what in ("compile", "load"):
        for other in ("libseccomp", "libseccomp, tree"):
            yield f"filter, {what}", "minirun", other, "<=", 1.0
    for what in ("getpid", "read", "accept", "personality"):
        yield f"filter, {what}", "minirun, again", "minirun", "", "control: 1.0"
        for other in ("libseccomp", "libseccomp, tree"):
            yield f"filter, {what}", "minirun", other, "<=", NO_SLOWER


def terminal(figures, notes):
    verdict = aligned(VERDICT_HEAD, [row for row in verdicts(figures, bars(figures)) if row[-1] != "not measured"])
    return "\n".join(["", aligned(DETAIL_HEAD, details(figures)), "", verdict, "", *notes])


def machine(runtimes):
    lines = bench_figures.machine(["crun", "runc", "libseccomp-dev", "golang-github-containers-common"])
    return [*lines, *(f"{runtime.name}: {runtime.version}" for runtime in runtimes)]


# Figures for the chart.
CHART = ["run, CPU", "run, wall", "create, start, delete, CPU", "create, start, delete -f, wall", "exec, CPU", "state, CPU",
         "run, filtered, CPU", "50 at once, wall", "run, peak RSS", "smallest memory limit"]

METHOD = """
One bundle for all: the default configuration that runc and minirun write, with busybox's `true` or `sleep`, a read-only root
and state directories on a tmpfs. Everyone takes part in every round, each round begins with another one, {rounds} rounds. It
all happens in one private mount and network namespace, from which a v2 tree beside the v1 controllers is unmounted: crun
refuses a host that has both.

Wall time is from vfork to the end of the command; CPU time is user and system of the runtime, of all that it started, and of
the container's processes, whose parent this script becomes. "starting any command" is what both contain for a command that
does nothing. Peak RSS is of the runtime's largest process. The best tenth is the 10th percentile. Verdicts go by the ratio of
the medians; the quartiles of the ratios round by round say how much the machine wavered meanwhile. CPU is the one to trust on
a noisy machine.

- **floor** is `examples/floor.rs`: the same namespaces, mounts, masks, devices, pivot_root, capabilities and control groups by
  bare system calls in one program, with nothing parsed, planned, checked or recorded. A runtime cannot reach it.
- **create, start, delete** waits for the container's end in between; with **-f** the container is still running.
- **filtered**: with the profile that engines write into config.json, from Debian's golang-github-containers-common, for the
  capabilities that Docker gives.
- **run, on a network** is minirun alone, beside itself without: the others leave networks to their engine, and `make bench-net`
  compares those.
- **50 at once**: fifty creates started together, then fifty starts; {at_once} rounds.
- **in sequence**: {sequence} containers that stay, one after the other, minirun and crun in turns; first and last tenth.
- **smallest memory limit**: the smallest `linux.resources.memory.limit` with which `run` succeeds, by halving in steps of a page.
- **filter**: `examples/seccomp-cost.rs` compiles and loads the engines' profile and calls system calls behind it, each program
  in a process of its own, each figure the best of ten short loops; libseccomp as crun asks for it and with the binary tree that runc asks for. `personality` is the
  call that the profile decides by an argument; the kernel sees by itself that it need not run the program for the others, so
  those take as long behind one filter as behind another. "No slower" is therefore 5 %, and a control row measures minirun's
  own program twice.

`make bench` renews this page. `PEERS="debian sid youki"` takes Debian sid's newest runc and crun and youki from crates.io in,
`BENCH_ROUNDS` sets the rounds, `BENCH_SEQUENCE` the containers in sequence, and `BENCH_ROWS="bare filters"` measures some rows
without writing.
"""


def document(figures, machine_lines, stage, rounds, at_once, seconds):
    parts = ["# What a container costs", "", "Written by `make bench`; not edited by hand.", "", "![Medians](runtime.svg)", "",
             "## Bars", "", markdown(VERDICT_HEAD, verdicts(figures, bars(figures))), "", "Left out:", "",
             *(f"- {what}: {' '.join(why.split())}" for what, why in stage.skipped or [("nothing", "all took part")]),
             "", "## All figures", "", markdown(DETAIL_HEAD, details(figures)), "", "## Machine", "",
             *(f"- {line}" for line in [*machine_lines, *stage.notes]), f"- the run took {seconds:.0f} s", "", "## Method",
             METHOD.format(rounds=rounds, at_once=at_once, sequence=stage.sequence).rstrip()]
    return "\n".join(parts) + "\n"
