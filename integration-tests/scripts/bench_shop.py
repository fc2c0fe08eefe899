#!/usr/bin/env python3
"""The load test of the shop: by hand, under minirun, under Docker; in turns, in one run.

    bench_shop.py [CONTENDER...]

Every sample starts the whole shop on a host of its own (private pid, mount and network namespaces with an empty /run), asks for
/api/products through nginx, the gateway, a product replica and Redis, and takes everything down again. SHOP_ROUNDS (5) samples of
each contender; contenders whose programs are missing are left out by name. With all contenders it writes
docs/benchmarks/shop.md; what is measured and held against what is in bench_shop_report.py.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench_shop_report
import bench_svg
from bench_figures import Figures
from measure import MINIRUN, REPOSITORY, call

SCRIPTS = REPOSITORY / "integration-tests/scripts"
ROUNDS = int(os.environ.get("SHOP_ROUNDS", "5"))
URL = "http://127.0.0.1:8080/api/products"
LOADS = [(1000, 50), (10000, 100)]  # requests, at once
ENGINE_PROFILE = Path("/usr/share/containers/seccomp.json")
# As Go and as libseccomp call the machine.
ARCHITECTURES = {"x86_64": ("amd64", ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]), "aarch64": ("arm64", ["SCMP_ARCH_AARCH64"])}
DOCUMENT = REPOSITORY / "docs/benchmarks/shop.md"
# The newest that peers.sh can get.
COMPOSE = REPOSITORY / "target/peers/sid/bin/docker-compose"
# Name: script, what it needs, whether seccomp is on.
CONTENDERS = {
    "by hand": ("raw-shop.sh", "unshare", False),
    "minirun": ("minirun-shop.sh", MINIRUN, False),
    "minirun, seccomp": ("minirun-shop.sh", MINIRUN, True),
    "Docker": ("docker-shop.sh", "dockerd", False),
    "Docker, seccomp": ("docker-shop.sh", "dockerd", True),
    # How long it takes to start, no more: the load test is for containers alone, without anybody asking for their health.
    "Docker Compose": ("docker-shop.sh", COMPOSE, True),
}


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
        f"{label}, requests": figure(r"^Requests per second:\s+([\d.]+)"),
        f"{label}, mean latency": figure(r"^Time per request:\s+([\d.]+) \[ms\] \(mean\)$"),
        f"{label}, 99 % latency": figure(r"^\s+99%\s+(\d+)"),
        f"{label}, CPU of the shop for a request": (after["shop"] - before["shop"]) / requests * 1e6,
        f"{label}, CPU of the runtime for a request": (after["runtime"] - before["runtime"]) / requests * 1e6,
        # A length that differs is none: answers of replicas do not.
        "failed requests": figure(r"^Failed requests:\s+(\d+)") + figure(r"^Non-2xx responses:\s+(\d+)"),
    }


def sample(script):
    for command in ("mount -t tmpfs -o mode=0755 tmpfs /run", "ip link set lo up", "mkdir -p /run/lock /run/minirun"):
        call(*command.split())
    Path("/var/lib/minirun").mkdir(exist_ok=True)
    call("mount", "-t", "tmpfs", "tmpfs", "/var/lib/minirun")
    figures = {}
    try:
        if script.startswith("docker"):
            subprocess.run([SCRIPTS / script, "daemon"], check=True, stdout=subprocess.DEVNULL, timeout=100)
        started = time.perf_counter()
        subprocess.run([SCRIPTS / script, "up"], check=True, stdout=subprocess.DEVNULL, timeout=300)
        figures["start"] = time.perf_counter() - started
        if "DOCKER_COMPOSE" not in os.environ:
            figures |= loads()
    finally:
        subprocess.run([SCRIPTS / script, "down"], check=False, stdout=subprocess.DEVNULL, timeout=300)
    print(json.dumps(figures))


def loads():
    figures = {"memory of the runtime, idle": memory(processes()["runtime"]), "failed requests": 0.0}
    call("ab", "-q", "-n", "500", "-c", "20", URL)
    for requests, at_once in LOADS:
        measured = load(requests, at_once)
        measured["failed requests"] += figures["failed requests"]
        figures |= measured
    return {**figures, "memory of the runtime, after the load": memory(processes()["runtime"])}


# --- the run --------------------------------------------------------------------------------------------------------


APART = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--mount", "--net", "--propagation", "private"]


def sample_apart(name, work):
    script, program, seccomp = CONTENDERS[name]
    environment = {**os.environ, "DOCKER_SHOP_STATE": str(work / "docker"), "SHOP_SECCOMP": ""}
    environment.pop("DOCKER_COMPOSE", None)
    if program == COMPOSE:
        environment["DOCKER_COMPOSE"] = str(COMPOSE)
    if script.startswith("minirun") and seccomp:
        environment["SHOP_SECCOMP"] = str(work / "seccomp.json")
    if script.startswith("docker") and not seccomp:
        environment["SHOP_SECCOMP"] = "unconfined"
    command = [*APART, sys.executable, __file__, "--sample", script]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{name}: exit status {done.returncode}")
    return json.loads(done.stdout)


def make_images(work):
    """Before the first round, or its start would have them to make."""
    environment = {**os.environ, "DOCKER_SHOP_STATE": str(work / "docker")}
    prepare = "mount -t tmpfs -o mode=0755 tmpfs /run && ip link set lo up && exec \"$0\" images"
    subprocess.run([*APART, "sh", "-c", prepare, SCRIPTS / "docker-shop.sh"], env=environment, check=True,
                   stdout=subprocess.DEVNULL, timeout=600)


def chosen(arguments, skipped):
    unknown = [name for name in arguments if name not in CONTENDERS]
    if unknown:
        sys.exit(f"bench_shop: unknown contender {unknown[0]!r} (known: {', '.join(map(repr, CONTENDERS))})")
    for name in arguments or CONTENDERS:
        script, program, seccomp = CONTENDERS[name]
        missing = next((one for one in (program, *(["dockerd"] if script.startswith("docker") else []))
                        if shutil.which(one) is None), None)
        if missing:
            skipped.append((name, f"there is no {missing}"))
        elif seccomp and program == MINIRUN and not ENGINE_PROFILE.exists():
            skipped.append((name, f"there is no {ENGINE_PROFILE}"))
        else:
            yield name


def main():
    if sys.argv[1:2] == ["--sample"]:
        sample(sys.argv[2])
        return
    if os.geteuid() != 0:
        sys.exit("bench_shop: namespaces and networks need root")
    # Not in /tmp or /run, which may be memory: images go here.
    work = Path(tempfile.mkdtemp(prefix="bench-shop-", dir="/var/tmp"))
    began, machine, skipped = time.monotonic(), bench_shop_report.machine(COMPOSE), []
    try:
        if ENGINE_PROFILE.exists():
            engines_profile(work / "seccomp.json")
        contenders = list(chosen(sys.argv[1:], skipped))
        for what, why in skipped:
            print(f"SKIPPED {what}: {why}")
        if any(name.startswith("Docker") for name in contenders):
            make_images(work)
        figures = Figures(bench_shop_report.UNITS)
        for number in range(ROUNDS):
            # Each begins a round in turn.
            turn, samples = number % len(contenders), {}
            for name in contenders[turn:] + contenders[:turn]:
                samples[name] = sample_apart(name, work)
                print(f"round {number + 1} of {ROUNDS}: {name}: {json.dumps(samples[name])}", flush=True)
            for name in contenders:
                for what, value in samples[name].items():
                    figures.add(what, name, value)
        print("\n".join(["", *machine, bench_shop_report.terminal(figures)]))
        if not sys.argv[1:]:
            seconds = time.monotonic() - began
            DOCUMENT.write_text(bench_shop_report.document(figures, machine, skipped, ROUNDS, seconds))
            chart = bench_svg.chart("The shop under load, medians", figures, bench_shop_report.CHART)
            DOCUMENT.with_suffix(".svg").write_text(chart)
            print(f"written: {DOCUMENT.relative_to(REPOSITORY)} and its chart")
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
