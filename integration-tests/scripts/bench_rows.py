"""The rows of `make bench`: what is done with each runtime, in which turns, and which figures come of it."""

import json
import os
import subprocess

from bench_runtimes import Cost, Failed, Runtime, floors, in_turns, kept, reap, spawn, wait, write_bundle
from measure import REPOSITORY, peak_memory

MEMORY_ROUNDS = 3
AT_ONCE = 50
KIB = 1024


def row(figures, title, contestants, rounds, action):
    """One action of all in turns."""
    for number in range(rounds):
        for contestant in in_turns(contestants, number):
            with Cost() as cost:
                action(contestant)
            figures.add(f"{title}, wall", contestant.name, cost.wall)
            figures.add(f"{title}, CPU", contestant.name, cost.cpu)


def memory(figures, title, runtimes, command):
    for runtime in runtimes:
        for _ in range(MEMORY_ROUNDS):
            figures.add(f"{title}, peak RSS", runtime.name, peak_memory(*runtime.command, *command(runtime)))
            reap()


def can_run(runtimes):
    """youki's `run` and `exec` hang now and then, so it is asked for the parts of a container's life only."""
    return [runtime for runtime in runtimes if runtime.name != "youki"]


def bare(stage, figures, rounds):
    """Without a filter: run, both lives, exec, state, --version; their peaks of memory."""
    able = can_run(stage.runtimes)
    row(figures, "run", [*able, *floors(stage.rootfs)], rounds, lambda it: it.run("true"))
    memory(figures, "run", able, lambda it: ["run", "-b", it.work / "true", it.id("memory")])
    row(figures, "create, start, delete", stage.runtimes, rounds, lambda it: it.life("true"))
    row(figures, "create, start, delete -f", stage.runtimes, rounds, lambda it: it.life_by_force("sleep"))
    with kept(able, "sleep", "ready"):
        row(figures, "exec", able, rounds, lambda it: it.exec("ready"))
        memory(figures, "exec", able, lambda it: ["exec", it.id("ready"), "true"])
        row(figures, "state", able, rounds, Runtime.state)
        memory(figures, "state", able, lambda it: ["state", it.id("ready")])
    row(figures, "--version", able, rounds, Runtime.version_only)
    start = [str(stage.rootfs / "bin/busybox"), "true"]
    row(figures, "starting any command", [Command("busybox true on the host", start)], rounds, Command.run)


class Command:
    def __init__(self, name, command):
        self.name, self.command = name, command

    def run(self):
        wait(spawn(self.command))


def filtered(stage, figures, rounds):
    """The same with the filter that engines give."""
    if not stage.profile:
        raise Failed("golang-github-containers-common, which has the engines' profile, is not installed")
    able = can_run(stage.runtimes)
    row(figures, "run, filtered", able, rounds, lambda it: it.run("true-filtered"))
    memory(figures, "run, filtered", able, lambda it: ["run", "-b", it.work / "true-filtered", it.id("memory")])
    row(figures, "create, start, delete, filtered", stage.runtimes, rounds, lambda it: it.life("true-filtered"))
    row(figures, "create, start, delete -f, filtered", stage.runtimes, rounds, lambda it: it.life_by_force("sleep-filtered"))
    with kept(able, "sleep-filtered", "ready"):
        row(figures, "exec, filtered", able, rounds, lambda it: it.exec("ready"))


def networked(stage, figures, rounds):
    """minirun alone: the others leave the network to their engine, which `make bench-net` measures."""
    ours = stage.runtimes[0]
    pid = None

    def run(network, suffix):
        ours.quiet("run", "--network", network, "-b", stage.work / "true", ours.id(suffix))

    # A network that somebody is on: the first container on it also makes the bridge.
    try:
        ours.quiet("run", "-d", "--network", "default", "--pid-file", stage.work / "kept.pid", "-b", stage.work / "sleep",
                   ours.id("kept"))
        pid = int((stage.work / "kept.pid").read_text())
        without, on = Command("minirun, no network", None), Command("minirun", None)
        without.run, on.run = lambda: run("none", "without"), lambda: run("default", "on")
        row(figures, "run, on a network", [on, without], rounds, lambda it: it.run())
    finally:
        if pid:
            ours.remove("kept", pid)


def at_once(stage, figures, rounds):
    """Fifty creates started together, then fifty starts; all are deleted outside of the measurement."""
    for number in range(max(3, rounds // 6)):
        for runtime in in_turns(stage.runtimes, number):
            names = [runtime.id(f"once-{index}") for index in range(AT_ONCE)]
            creating = [runtime.creating("sleep", name) for name in names]
            try:
                with Cost() as cost:
                    together([command for command, _ in creating])
                    together([[*runtime.command, "start", name] for name in names])
                figures.add(f"{AT_ONCE} at once, wall", runtime.name, cost.wall)
                figures.add(f"{AT_ONCE} at once, CPU", runtime.name, cost.cpu)
            finally:
                clear(runtime, names)


def together(commands):
    statuses = [wait(pid) for pid in [spawn(command) for command in commands]]
    if any(statuses):
        raise Failed(f"{sum(map(bool, statuses))} of {len(commands)} failed, such as {' '.join(map(str, commands[0]))}")


def clear(runtime, names):
    """Deletes containers, a few at a time."""
    for first in range(0, len(names), 8):
        pids = [spawn([*runtime.command, "delete", "-f", name]) for name in names[first:first + 8]]
        if any([wait(pid) for pid in pids]):
            raise Failed(f"{runtime.name} could not delete all of its containers")
    reap()


def sequence(stage, figures, _rounds):
    """One container after the other, all of which stay: is the last as cheap as the first?"""
    count = stage.sequence
    tenth = max(1, count // 10)
    runtimes = [runtime for runtime in stage.runtimes if runtime.name in ("minirun", "crun")]
    started = {runtime.name: [] for runtime in runtimes}
    try:
        for index in range(count):
            for runtime in in_turns(runtimes, index):
                name = f"seq-{index}"
                started[runtime.name].append(runtime.id(name))
                with Cost() as cost:
                    runtime.running("sleep", name)
                for part, of_it in (("first tenth", index < tenth), ("last tenth", index >= count - tenth)):
                    if of_it:
                        figures.add("in sequence, wall", f"{runtime.name}, {part}", cost.wall)
                        figures.add("in sequence, CPU", f"{runtime.name}, {part}", cost.cpu)
    finally:
        for runtime in runtimes:
            clear(runtime, started[runtime.name])


def smallest_limit(stage, figures, _rounds):
    """The smallest memory limit under which a container starts and ends well, found by halving, in steps of a page."""
    page = os.sysconf("SC_PAGE_SIZE")
    for _ in range(MEMORY_ROUNDS):
        for runtime in can_run(stage.runtimes):
            fails, works = 0, 16 * KIB * KIB // page
            if not starts(stage, runtime, works * page):
                stage.skip(f"smallest memory limit of {runtime.name}", "does not start in 16 MiB")
                continue
            while works - fails > 1:
                middle = (fails + works) // 2
                if starts(stage, runtime, middle * page):
                    works = middle
                else:
                    fails = middle
            figures.add("smallest memory limit", runtime.name, works * page / KIB)


def starts(stage, runtime, limit):
    config = json.loads((stage.work / "true/config.json").read_text())
    config["linux"].setdefault("resources", {})["memory"] = {"limit": limit}
    write_bundle(stage.work / "limited", config)
    name = runtime.id("limited")
    status = wait(spawn([*runtime.command, "run", "-b", stage.work / "limited", name], silent=True))
    if status != 0:
        # What a killed runtime could not take back. There may be nothing.
        wait(spawn([*runtime.command, "delete", "-f", name], silent=True))
    reap()
    return status == 0


def filters(stage, figures, rounds):
    """`examples/seccomp-cost.rs`: the filter itself, and the system calls behind it."""
    if not stage.profile:
        raise Failed("golang-github-containers-common, which has the engines' profile, is not installed")
    # Set by the Makefile: the switch is only to be seen in the host's own network namespace.
    jit = {"": "unknown", "0": "interpreted"}.get(os.environ.get("BPF_JIT", ""), "compiled to machine code")
    stage.note(f"filters in the kernel: {jit} (net.core.bpf_jit_enable)")
    profile = stage.work / "profile.json"
    profile.write_text(json.dumps(stage.profile))
    done = subprocess.run([REPOSITORY / "bin/seccomp-cost", profile, str(rounds)], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise Failed(f"seccomp-cost: exit status {done.returncode}: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    lengths = ", ".join(f"{who} {count}" for who, count in result["instructions"].items())
    stage.note(f"instructions of the engines' profile: {lengths}")
    for what, samples in result["samples"].items():
        for who in sorted(samples, key=lambda name: (name != "minirun", name)):
            for value in samples[who]:
                figures.add(f"filter, {what}", who, value)
