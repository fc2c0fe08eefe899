#!/usr/bin/env python3
"""`make bench`: what minirun itself costs, beside runc and crun and beside the bare kernel.

Runs in a sandbox of its own (sandbox.sh). Rows: bare, filtered, networked, at_once, sequence, smallest_limit, filters (see
bench_rows.py); BENCH_ROWS="bare filters" takes only these. BENCH_ROUNDS sets the rounds, BENCH_SEQUENCE the containers in
sequence. PEERS names who takes part: debian (its runc and crun), sid (the newest), youki. Who is not there is left out and
named. Only a run with all rows writes docs/benchmarks/runtime.md and its chart.
"""

import ctypes
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import bench_report
import bench_rows
import bench_svg
from bench_figures import Figures
from bench_profile import engines_profile
from bench_runtimes import KNOWN, Failed, contenders, reap, write_bundles
from measure import REPOSITORY, call

ROUNDS = int(os.environ.get("BENCH_ROUNDS") or "30")
DOCUMENT = REPOSITORY / "docs/benchmarks/runtime.md"
PR_SET_CHILD_SUBREAPER = 36
ROWS = {name: getattr(bench_rows, name)
        for name in ("bare", "filtered", "networked", "at_once", "smallest_limit", "filters", "sequence")}


class Stage:
    """What the rows share."""

    def __init__(self, work):
        self.work = work
        self.rootfs = REPOSITORY / "rootfs-examples/build/busybox/rootfs"
        self.profile = engines_profile()
        self.sequence = int(os.environ.get("BENCH_SEQUENCE") or "1000")
        self.skipped, self.notes = [], []
        self.runtimes = contenders(work, chosen("PEERS", KNOWN, ["debian"]), self.skip)
        write_bundles(work, self.rootfs, self.profile)

    def skip(self, what, why):
        self.skipped.append((what, str(why)))
        print(f"SKIPPED {what}: {why}", flush=True)

    def note(self, text):
        self.notes.append(text)


def chosen(variable, known, default):
    names = os.environ.get(variable, "").replace(",", " ").split()
    if unknown := set(names) - set(known):
        sys.exit(f"{variable}: no {', '.join(sorted(unknown))} (known: {' '.join(known)})")
    return names or default


def host_for_all():
    """Containers outlive `create`: as their parent we can wait for their end, and their CPU time is counted. crun refuses a
    host with cgroup v1 and v2 side by side."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.path.ismount("/sys/fs/cgroup/unified"):
        call("umount", "/sys/fs/cgroup/unified")


def measure(stage, rows):
    figures = Figures(bench_report.UNITS)
    for name in rows:
        begun = time.monotonic()
        try:
            ROWS[name](stage, figures, ROUNDS)
        except Failed as error:
            stage.skip(f"the rest of row {name}", error)
        reap()
        print(f"  {name}: done in {time.monotonic() - begun:.0f} s", flush=True)
    return figures


def main():
    if os.geteuid() != 0:
        sys.exit("make bench needs root")
    # Ended from outside, it cleans up as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rows, started = chosen("BENCH_ROWS", ROWS, list(ROWS)), time.monotonic()
    host_for_all()
    work = Path(tempfile.mkdtemp(prefix="bench-"))
    # As /run is for engines.
    call("mount", "-t", "tmpfs", "tmpfs", work)
    try:
        stage = Stage(work)
        machine = bench_report.machine(stage.runtimes)
        print("\n".join(machine), flush=True)
        figures = measure(stage, rows)
    finally:
        call("umount", work)
        shutil.rmtree(work, ignore_errors=True)
    print(bench_report.terminal(figures, stage.notes))
    if rows == list(ROWS):
        DOCUMENT.parent.mkdir(parents=True, exist_ok=True)
        seconds = time.monotonic() - started
        DOCUMENT.write_text(bench_report.document(figures, machine, stage, ROUNDS, max(3, ROUNDS // 6), seconds))
        DOCUMENT.with_suffix(".svg").write_text(bench_svg.chart("What a container costs, medians", figures, bench_report.CHART))
        print(f"\nwritten to {DOCUMENT.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
