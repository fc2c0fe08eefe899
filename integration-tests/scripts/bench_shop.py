#!/usr/bin/env python3
"""The load test of the shop: by hand, under minirun, under Docker; in turns, in one run.

    bench_shop.py [CONTENDER...]

Every sample starts the whole shop on a host of its own (private pid, mount and network namespaces with an empty /run), asks for
/api/products through nginx, the gateway, a product replica and Redis, and takes everything down again. SHOP_ROUNDS (5) samples of
each contender; contenders whose programs are missing are left out by name.

What limits the shop is the gateway's half processor, the same for all. So beside requests a second there is what a request
costs: user and system time of all processes of the shop and of the runtime, which another load on the machine disturbs less.
"""

import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_figures import aligned, digits, machine
from measure import MINIRUN, REPOSITORY, call

SCRIPTS = REPOSITORY / "integration-tests/scripts"
ROUNDS = int(os.environ.get("SHOP_ROUNDS", "5"))
URL = "http://127.0.0.1:8080/api/products"
LOADS = [(1000, 50), (10000, 100)]  # requests, at once
ENGINE_PROFILE = Path("/usr/share/containers/seccomp.json")
# As Go and as libseccomp call the machine.
ARCHITECTURES = {"x86_64": ("amd64", ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]), "aarch64": ("arm64", ["SCMP_ARCH_AARCH64"])}
PACKAGES = ["docker.io", "apache2-utils", "golang-github-containers-common"]
# Name, script, needs, whether seccomp is on.
CONTENDERS = {
    "by hand": ("raw-shop.sh", "unshare", False),
    "minirun": ("minirun-shop.sh", MINIRUN, False),
    "minirun, seccomp": ("minirun-shop.sh", MINIRUN, True),
    "Docker": ("docker-shop.sh", "dockerd", False),
    "Docker, seccomp": ("docker-shop.sh", "dockerd", True),
}
UNITS = {"req/s": " /s", "mean": " ms", "99 %": " ms", "CPU": " us", "memory": " MiB", "start": " s"}


def engines_profile(path):
    """The profile that engines use, as a runtime gets it for a container without capabilities: linux.seccomp of config.json."""
    source = json.loads(ENGINE_PROFILE.read_text())
    here, architectures = ARCHITECTURES[platform.machine()]
    rules = []
    for rule in source["syscalls"]:
        wanted, unwanted = rule.get("includes") or {}, rule.get("excludes") or {}
        if wanted.get("caps") or here not in wanted.get("arches", [here]) or here in unwanted.get("arches", []):
            continue
        rules.append({key: rule[key] for key in ("names", "action", "errnoRet", "args") if rule.get(key)})
    profile = {"defaultAction": source["defaultAction"], "architectures": architectures, "syscalls": rules}
    if "defaultErrnoRet" in source:
        profile["defaultErrnoRet"] = source["defaultErrnoRet"]
    path.write_text(json.dumps(profile))


# --- one sample, in namespaces of its own ---------------------------------------------------------------------------


def processes():
    """Process ids by part: the shop's (they have a root of their own) and the runtime's; neither ours nor our children."""
    here, mine = os.stat("/proc/self/root"), os.getpid()
    parts = {"shop": [], "runtime": []}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            root, name = os.stat(entry / "root"), (entry / "comm").read_text().strip()
        except OSError:
            continue
        pid = int(entry.name)
        if pid == mine:
            continue
        # netd has an empty root of its own.
        outside = name.startswith("minirun") or (root.st_dev, root.st_ino) == (here.st_dev, here.st_ino)
        parts["runtime" if outside else "shop"].append(pid)
    return parts


def cpu_seconds(pids):
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(pids):
    """MiB, shared pages counted in parts."""
    total = 0
    for pid in pids:
        try:
            total += int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])
        except OSError:
            continue
    return total / 1024


def load(requests, at_once):
    before = {part: cpu_seconds(pids) for part, pids in processes().items()}
    command = ["ab", "-q", "-n", str(requests), "-c", str(at_once), URL]
    report = subprocess.run(command, capture_output=True, text=True, timeout=600)
    after = {part: cpu_seconds(pids) for part, pids in processes().items()}

    def figure(pattern):
        found = re.search(pattern, report.stdout, re.M)
        return float(found[1]) if found else 0.0

    if report.returncode != 0 or figure(r"^Complete requests:\s+(\d+)") != requests:
        raise RuntimeError(f"ab: {report.stderr.strip()} {report.stdout.strip()}")
    label = f"{at_once} at once"
    return {
        f"{label}, req/s": figure(r"^Requests per second:\s+([\d.]+)"),
        f"{label}, mean": figure(r"^Time per request:\s+([\d.]+) \[ms\] \(mean\)$"),
        f"{label}, 99 %": figure(r"^\s+99%\s+(\d+)"),
        f"{label}, CPU of the shop": (after["shop"] - before["shop"]) / requests * 1e6,
        f"{label}, CPU of the runtime": (after["runtime"] - before["runtime"]) / requests * 1e6,
        # A length that differs is none: answers of replicas do not.
        "failed": figure(r"^Failed requests:\s+(\d+)") + figure(r"^Non-2xx responses:\s+(\d+)"),
    }


def sample(script):
    for command in ("mount -t tmpfs -o mode=0755 tmpfs /run", "ip link set lo up", "mkdir -p /run/lock /run/minirun"):
        call(*command.split())
    Path("/var/lib/minirun").mkdir(exist_ok=True)
    call("mount", "-t", "tmpfs", "tmpfs", "/var/lib/minirun")
    figures, started = {"failed": 0.0}, time.perf_counter()
    try:
        subprocess.run([SCRIPTS / script, "up"], check=True, stdout=subprocess.DEVNULL, timeout=300)
        figures["start"] = time.perf_counter() - started
        call("ab", "-q", "-n", "500", "-c", "20", URL)
        for requests, at_once in LOADS:
            measured = load(requests, at_once)
            figures["failed"] += measured.pop("failed")
            figures |= measured
        figures["memory of the runtime"] = memory(processes()["runtime"])
    finally:
        subprocess.run([SCRIPTS / script, "down"], check=False, stdout=subprocess.DEVNULL, timeout=300)
    print(json.dumps(figures))


# --- the run --------------------------------------------------------------------------------------------------------


def sample_apart(name, work):
    script, _, seccomp = CONTENDERS[name]
    environment = {**os.environ, "DOCKER_SHOP_STATE": str(work / "docker"), "SHOP_SECCOMP": ""}
    if script.startswith("minirun") and seccomp:
        environment["SHOP_SECCOMP"] = str(work / "seccomp.json")
    if script.startswith("docker") and not seccomp:
        environment["SHOP_SECCOMP"] = "unconfined"
    apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--mount", "--net", "--propagation", "private"]
    command = [*apart, sys.executable, __file__, "--sample", script]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{name}: exit status {done.returncode}")
    return json.loads(done.stdout)


def chosen(arguments):
    unknown = [name for name in arguments if name not in CONTENDERS]
    if unknown:
        sys.exit(f"bench_shop: unknown contender {unknown[0]!r} (known: {', '.join(map(repr, CONTENDERS))})")
    for name in arguments or CONTENDERS:
        _, program, seccomp = CONTENDERS[name]
        if shutil.which(program) is None:
            print(f"SKIPPED {name}: there is no {program}")
        elif seccomp and program == MINIRUN and not ENGINE_PROFILE.exists():
            print(f"SKIPPED {name}: there is no {ENGINE_PROFILE}")
        else:
            yield name


def unit(what):
    return next((text for part, text in UNITS.items() if part in what), "")


def rows(samples):
    first = next(iter(samples))
    for what in samples[first][0]:
        row = [what]
        for taken in samples.values():
            values = [figures[what] for figures in taken]
            row.append(f"{sum(values):.0f}" if what == "failed" else f"{digits(statistics.median(values))}{unit(what)}")
        yield row


def ratios(samples):
    """Requests a second, round by round, one contender against another: the median and the quartiles."""
    for one, other in (("minirun", "by hand"), ("minirun, seccomp", "Docker, seccomp"), ("minirun", "Docker")):
        for _, at_once in LOADS:
            what = f"{at_once} at once, req/s"
            if one not in samples or other not in samples:
                continue
            pairs = [mine[what] / theirs[what] for mine, theirs in zip(samples[one], samples[other])]
            spread = " ".join(f"{quartile:.2f}" for quartile in statistics.quantiles(pairs, n=4)) if len(pairs) > 3 else ""
            yield [what, f"{one} / {other}", f"{statistics.median(pairs):.3f}", spread]


def main():
    if sys.argv[1:2] == ["--sample"]:
        sample(sys.argv[2])
        return
    if os.geteuid() != 0:
        sys.exit("bench_shop: namespaces and networks need root")
    # Not in /tmp or /run, which may be memory: images go here.
    work = Path(tempfile.mkdtemp(prefix="bench-shop-", dir="/var/tmp"))
    try:
        if ENGINE_PROFILE.exists():
            engines_profile(work / "seccomp.json")
        contenders = list(chosen(sys.argv[1:]))
        samples = {name: [] for name in contenders}
        for number in range(ROUNDS):
            # Each begins a round in turn.
            turn = number % len(contenders)
            for name in contenders[turn:] + contenders[:turn]:
                samples[name].append(sample_apart(name, work))
                print(f"round {number + 1} of {ROUNDS}: {name}: {json.dumps(samples[name][-1])}", flush=True)
        print("\n" + "\n".join(machine(PACKAGES)))
        print("\n" + aligned(["median of the rounds", *contenders], list(rows(samples))))
        print("\n" + aligned(["figure", "of", "ratio", "quartiles"], list(ratios(samples))))
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
