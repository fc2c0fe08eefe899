#!/usr/bin/env python3
"""`make bench-net`: what minirun's networks cost, beside what others have and beside the bare kernel.

Every figure is taken in turns on hosts of its own (bench_host.py), so that whatever else the machine does meets all. Rows:
attach, create, published, bridged, names, many; BENCH_ROWS="attach names" takes only these. BENCH_ROUNDS sets the rounds of
traffic. What is not installed is left out and named. Only a run with all rows writes docs/benchmarks/network.md.
"""

import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import bench_attach
import bench_names
import bench_network_report
import bench_svg
import bench_traffic
from bench_figures import Figures
from bench_host import Bundle, Failed, Host, Missing, remove_cgroups
from measure import REPOSITORY

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "8"))
# Attaching takes milliseconds, a sample of traffic a second.
ATTACH_ROUNDS = ROUNDS * 4
DOCUMENT = REPOSITORY / "docs/benchmarks/network.md"

ROWS = {
    "attach": lambda stage, figures: bench_attach.one_attach(stage, figures, ATTACH_ROUNDS),
    "create": lambda stage, figures: bench_attach.in_create(stage, figures, ATTACH_ROUNDS),
    "published": lambda stage, figures: bench_traffic.published(stage, figures, ROUNDS),
    "bridged": lambda stage, figures: bench_traffic.bridged(stage, figures, ROUNDS),
    "names": lambda stage, figures: bench_names.names(stage, figures, ROUNDS),
    # Last: a thousand namespaces take a while to go.
    "many": bench_attach.many,
}


class Stage:
    """What the rows share: where files go, the bundle, hosts and what has to be ended before them."""

    def __init__(self):
        self.work = Path(tempfile.mkdtemp(prefix="bench-"))
        self.bundle = Bundle(self.work)
        self.hosts, self.ends, self.skipped = [], [], []

    def host(self, name):
        self.hosts.append(Host(name, self.work))
        return self.hosts[-1]

    def at_end(self, action):
        self.ends.append(action)

    def skip(self, what, why):
        self.skipped.append((what, str(why)))
        print(f"SKIPPED {what}: {why}", flush=True)

    @contextmanager
    def optional(self, name):
        """A contender that may not be there, or may not come up."""
        try:
            yield
        except (Missing, Failed) as error:
            self.skip(name, error)

    @staticmethod
    def in_turns(contenders, number):
        """Every round begins with another one."""
        turn = number % len(contenders) if contenders else 0
        return contenders[turn:] + contenders[:turn]

    def clear(self):
        """Ends what the row has started; nothing of it disturbs the next one."""
        for end in reversed(self.ends):
            try:
                end()
            except Failed as error:
                print(error, file=sys.stderr)
        for host in self.hosts:
            host.close()
        for host in self.hosts:
            shutil.rmtree(host.work, ignore_errors=True)
        self.ends, self.hosts = [], []


def chosen():
    names = os.environ.get("BENCH_ROWS", "").replace(",", " ").split()
    if unknown := set(names) - set(ROWS):
        sys.exit(f"BENCH_ROWS: no row {', '.join(sorted(unknown))} (known: {' '.join(ROWS)})")
    return names or list(ROWS)


def main():
    if os.geteuid() != 0:
        sys.exit("make bench-net needs root")
    # Ended from outside, it cleans up as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rows = chosen()
    machine = bench_network_report.machine()
    print("\n".join(machine), flush=True)
    figures, stage, started = Figures(bench_network_report.UNITS), Stage(), time.monotonic()
    try:
        for row in rows:
            begun = time.monotonic()
            try:
                ROWS[row](stage, figures)
            except (Missing, Failed) as error:
                stage.skip(f"the rest of row {row}", error)
            finally:
                stage.clear()
            print(f"  {row}: done in {time.monotonic() - begun:.0f} s", flush=True)
    finally:
        remove_cgroups()
        shutil.rmtree(stage.work, ignore_errors=True)
    print(bench_network_report.terminal(figures))
    if rows == list(ROWS):
        DOCUMENT.parent.mkdir(parents=True, exist_ok=True)
        seconds = time.monotonic() - started
        DOCUMENT.write_text(bench_network_report.document(figures, machine, stage.skipped, ROUNDS, ATTACH_ROUNDS, seconds))
        chart = bench_svg.chart("What networks cost, medians", figures, bench_network_report.CHART)
        DOCUMENT.with_suffix(".svg").write_text(chart)
        print(f"\nwritten to {DOCUMENT.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
