#!/usr/bin/env python3
"""`make bench`: what minirun itself costs, beside runc and crun, in one table.

The same bundle (runc's default configuration, busybox) under each runtime, in turns, so that whatever else the machine does
meets all of them. crun refuses a host that has cgroup v1 and v2 side by side, so for everyone the v2 tree is unmounted in this
sandbox (sandbox.sh). BENCH_ROUNDS sets the rounds; a runtime that is not installed is left out and named.
"""

import ctypes
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import MINIRUN, REPOSITORY, call, peak_memory

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "30"))
MEMORY_ROUNDS = 3
PR_SET_CHILD_SUBREAPER = 36


class Runtime:
    """A runtime with a state directory of its own, and bundles that differ in their process."""

    def __init__(self, name, program, work):
        self.name, self.work = name, work
        self.command = [program, "--root", str(work / f"{name}-root")]
        self.ready = f"bench-{name}-ready"

    def bundle(self, process):
        return str(self.work / process)

    def quiet(self, *arguments):
        """Runs a command to its end. Its container's output goes nowhere, so no pipe outlives the command."""
        command = [*self.command, *map(str, arguments)]
        status = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=60)
        if status != 0:
            raise RuntimeError(f"{' '.join(command)}: exit status {status}")

    def create(self, process, container):
        """Creates a container and returns its process id. Being a subreaper, we are its parent once the command has ended."""
        pid_file = self.work / f"{container}.pid"
        self.quiet("create", "-b", self.bundle(process), "--pid-file", pid_file, container)
        return int(pid_file.read_text())

    def run(self):
        self.quiet("run", "-b", self.bundle("true"), f"bench-{self.name}")

    def life(self):
        container = f"bench-{self.name}"
        pid = self.create("true", container)
        self.quiet("start", container)
        os.waitpid(pid, 0)
        self.quiet("delete", container)

    def life_by_force(self):
        container = f"bench-{self.name}"
        pid = self.create("sleep", container)
        self.quiet("start", container)
        self.quiet("delete", "-f", container)
        os.waitpid(pid, 0)

    def exec(self):
        self.quiet("exec", self.ready, "true")

    def state(self):
        self.quiet("state", self.ready)

    def version(self):
        self.quiet("--version")


# What is measured: title, the action, and the command whose peak memory stands for it.
OPERATIONS = [
    ("run true", Runtime.run, lambda r: ["run", "-b", r.bundle("true"), f"bench-{r.name}-rss"]),
    ("create, start, delete", Runtime.life, None),
    ("create, start, delete -f", Runtime.life_by_force, None),
    ("exec true", Runtime.exec, lambda r: ["exec", r.ready, "true"]),
    ("state", Runtime.state, lambda r: ["state", r.ready]),
    ("--version", Runtime.version, lambda r: ["--version"]),
]


def cpu():
    """CPU seconds, user and system, of all children that have been waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(operation, runtime):
    started, before = time.perf_counter(), cpu()
    operation(runtime)
    return (time.perf_counter() - started) * 1000, (cpu() - before) * 1000


def cost_of_measuring(rootfs):
    """Milliseconds of starting and ending the smallest command; every command's figures contain them."""
    walls = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        subprocess.call([str(rootfs / "bin/busybox"), "true"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        walls.append((time.perf_counter() - started) * 1000)
    return statistics.median(walls)


def write_bundles(work, rootfs):
    call(MINIRUN, "spec", "-b", work)
    config = json.loads((work / "config.json").read_text())
    config["ociVersion"] = "1.0.2"  # the newest that Debian's crun knows
    config["root"] = {"path": str(rootfs), "readonly": True}
    config["process"]["terminal"] = False
    for name, arguments in {"true": ["true"], "sleep": ["sleep", "1000"]}.items():
        config["process"]["args"] = arguments
        (work / name).mkdir()
        (work / name / "config.json").write_text(json.dumps(config))


def print_table(runtimes, figures, floor):
    print(f"\n{'':26}{'wall':>9}{'p10':>9}{'CPU':>9}{'peak RSS':>10}     minirun / it: wall   CPU   RSS")
    ours = runtimes[0].name
    for title, _, _ in OPERATIONS:
        print(title)
        rows = {}
        for runtime in runtimes:
            walls, cpus, memory = figures[title, runtime.name]
            p10 = sorted(walls)[len(walls) // 10]
            rows[runtime.name] = row = (statistics.median(walls), p10, statistics.mean(cpus),
                                        statistics.median(memory) if memory else None)
            line = f"  {runtime.name:24}{row[0]:6.1f} ms{row[1]:6.1f} ms{row[2]:6.1f} ms"
            line += f"{row[3]:6.1f} MiB" if memory else f"{'-':>10}"
            if runtime.name != ours:
                ratios = [f"{rows[ours][i] / row[i]:.2f}" if row[i] else "-" for i in (0, 2, 3)]
                line += f"{'':17}{ratios[0]:>5}{ratios[1]:>6}{ratios[2]:>6}"
            print(line)
    print(f"\n{ROUNDS} rounds each, in turns. Wall: median and 10th percentile. CPU: user and system of the runtime, its children"
          "\nand the container's processes, mean (the kernel counts it coarsely). Peak RSS: of the runtime's largest process."
          f"\nStarting any command at all (busybox true on the host) took {floor:.1f} ms of wall time in this script.")


def main():
    if os.geteuid() != 0:
        sys.exit("make bench needs root")
    # Containers outlive `create`; as their parent we can wait for their end, and their CPU time is counted.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.path.ismount("/sys/fs/cgroup/unified"):
        call("umount", "/sys/fs/cgroup/unified")
    rootfs = REPOSITORY / "rootfs-examples/build/busybox/rootfs"
    work = Path(tempfile.mkdtemp(prefix="bench-"))
    runtimes = []
    for name, program in (("minirun", MINIRUN), ("runc", "runc"), ("crun", "crun")):
        if shutil.which(program):
            runtimes.append(Runtime(name, program, work))
            print(call(program, "--version").splitlines()[0])
        else:
            print(f"SKIPPED {name}: not installed")
    print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    figures = {(title, runtime.name): ([], [], []) for title, _, _ in OPERATIONS for runtime in runtimes}
    ready = []
    try:
        write_bundles(work, rootfs)
        for runtime in runtimes:
            ready.append((runtime, runtime.create("sleep", runtime.ready)))
            runtime.quiet("start", runtime.ready)
        for title, operation, command in OPERATIONS:
            for number in range(ROUNDS):
                turn = number % len(runtimes)
                for runtime in runtimes[turn:] + runtimes[:turn]:
                    wall, used = measure(operation, runtime)
                    figures[title, runtime.name][0].append(wall)
                    figures[title, runtime.name][1].append(used)
            for runtime in runtimes if command else ():
                for _ in range(MEMORY_ROUNDS):
                    figures[title, runtime.name][2].append(peak_memory(*runtime.command, *command(runtime)))
            print(f"  {title}: done", flush=True)
    finally:
        for runtime, pid in ready:
            runtime.quiet("delete", "-f", runtime.ready)
            os.waitpid(pid, 0)
        shutil.rmtree(work, ignore_errors=True)
    print_table(runtimes, figures, cost_of_measuring(rootfs))


if __name__ == "__main__":
    main()
