"""Figures of a benchmark and how they read: what the reports of `make bench` and `make bench-net` share."""

import math
import os
import platform
import statistics
import subprocess
from collections import defaultdict
from pathlib import Path

from measure import MINIRUN, call


def digits(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


class Figures:
    """Samples by what was measured and of whom, in the order in which they came. `units` is a list of pairs: what a figure's
    name has in it, and the unit of such figures; the first that fits holds."""

    def __init__(self, units):
        self.units = units
        self.samples = defaultdict(lambda: defaultdict(list))

    def unit(self, what):
        return next(name for part, name in self.units if part in what)

    def more_is_better(self, what):
        return self.unit(what) in ("Gbit/s", "/s", "req/s")

    def add(self, what, who, value):
        self.samples[what][who].append(value)

    def median(self, what, who):
        return statistics.median(self.samples[what][who])

    def best(self, what, who):
        """The tenth of the samples that the machine disturbed least: 10th percentile of a cost, 90th of a rate."""
        ordered = sorted(self.samples[what][who], reverse=self.more_is_better(what))
        return ordered[len(ordered) // 10]

    def has(self, what, *who):
        return what in self.samples and all(self.samples[what].get(name) for name in who)

    def of(self, what, names):
        """The samples of one contender, or, of several that are the same thing, the mean of each turn."""
        if isinstance(names, str):
            return self.samples[what][names]
        return [statistics.mean(turn) for turn in zip(*(self.samples[what][name] for name in names))]

    def ratios(self, what, first, second):
        """Turn by turn, so that what the machine did meanwhile meets both; none when they did not take turns."""
        one, other = self.of(what, first), self.of(what, second)
        return [a / b for a, b in zip(one, other) if b] if len(one) == len(other) else []

    def spread(self, what, first, second):
        """Quartiles of the ratios round by round: how far the machine wavered."""
        pairs = [a / b for a, b in zip(self.of(what, first), self.of(what, second)) if b]
        if len(pairs) < 4:
            return ""
        return " ".join(f"{quartile:.2f}" for quartile in statistics.quantiles(pairs, n=4))

    def ratio(self, what, first, second):
        """Of the medians."""
        return statistics.median(self.of(what, first)) / statistics.median(self.of(what, second))


def interval(values):
    """Where the median of all that might have been measured is, with 95 % confidence (more when there are few): between two of
    the values, found by how often a fair coin falls. It asks nothing of how the values are distributed. None for less
    than six, which say nothing so surely."""
    ordered, number = sorted(values), len(values)
    missed, rank = 0.0, 0
    while rank < number // 2:
        missed += math.comb(number, rank) / 2 ** number
        if 2 * missed > 0.05:
            break
        rank += 1
    return (ordered[rank - 1], ordered[number - rank]) if rank else None


SIGNS = {"<=": "≤ ", ">=": "≥ ", "": ""}
UNDECIDED = "not decided by this run"


def verdict(values, sign, bound):
    """Whether all of these keep the bound, or none does."""
    if not sign:
        return ""
    kept = {value <= bound if sign == "<=" else value >= bound for value in values}
    return UNDECIDED if len(kept) == 2 else "ok" if kept.pop() else "short"


def verdicts(figures, bars, limits=(), paired=False, sure=False):
    """One row per bar: what, whom with whom, bar, ratio, of the best tenth, spread, verdict.

    A bar says which figure, of whom, beside whom (or beside which two that are the same thing), and the bound of the
    ratio, or a word instead of a bound; a limit is a figure alone and its bound. `paired`: contenders took turns, and
    their ratio is the median of each turn's. `sure`: the spread is where that median is with 95 % confidence, and the
    verdict asks all of it."""
    for what, first, second, sign, bound in bars:
        beside = [second] if isinstance(second, str) else second
        row = [what, f"{first} / {' and '.join(beside)}", f"{SIGNS[sign]}{bound}"]
        if not figures.has(what, first, *beside):
            yield [*row, "-", "-", "-", "not measured"]
            continue
        best = figures.best(what, first) / statistics.mean(figures.best(what, name) for name in beside)
        ratios = figures.ratios(what, first, second) if paired else []
        ratio = statistics.median(ratios) if ratios else figures.ratio(what, first, second)
        found = interval(ratios) if sure else None
        spread = "" if sure else figures.spread(what, first, second)
        judged = verdict(found or [ratio], sign, bound)
        if found:
            spread = " to ".join(f"{end:.3f}" for end in found)
        elif sure and ratios and sign:
            judged = UNDECIDED
        yield [*row, f"{ratio:.3f}", f"{best:.3f}", spread, judged]
    for what, who, sign, bound in limits:
        row = [what, who, f"{SIGNS[sign]}{bound:g} {figures.unit(what)}"]
        if not figures.has(what, who):
            yield [*row, "-", "-", "-", "not measured"]
            continue
        value = figures.median(what, who)
        yield [*row, digits(value), digits(figures.best(what, who)), "", verdict([value], sign, bound)]


def details(figures):
    """One row per figure and contender; the ratio is minirun to this one."""
    for what, contenders in figures.samples.items():
        unit = figures.unit(what)
        first = "minirun" if "minirun" in contenders else next(iter(contenders))
        for who in contenders:
            median, best = figures.median(what, who), figures.best(what, who)
            row = [what, who, f"{digits(median)} {unit}", f"{digits(best)} {unit}", str(len(contenders[who]))]
            if who == first:
                yield [*row, "", ""]
            else:
                yield [*row, f"{figures.median(what, first) / median:.3f}" if median else "-",
                       f"{figures.best(what, first) / best:.3f}" if best else "-"]


VERDICT_HEAD = ["figure", "of", "bar", "ratio", "of the best tenth", "quartiles of the rounds", "verdict"]
PAIRED_HEAD = [*VERDICT_HEAD[:5], "95 % sure", "verdict"]
DETAIL_HEAD = ["figure", "contender", "median", "best tenth", "samples", "minirun / it", "best tenth"]


def aligned(head, rows):
    rows = [head, *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def markdown(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def version(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}", package], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else f"{package} missing"


def machine(packages):
    """What the figures depend on, a line each."""
    processor = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                      if line.startswith("model name")), platform.machine())
    release = dict(line.rstrip().split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return [
        f"{os.cpu_count()} processors: {processor}",
        f"kernel {platform.release().split(chr(45))[0]}, {release.get('PRETTY_NAME', 'unknown system').strip(chr(34))}",
        call(MINIRUN, "--version").splitlines()[0],
        ", ".join(version(package) for package in packages),
        f"load average before the run: {os.getloadavg()[0]:.2f}",
    ]
