#!/usr/bin/env python3
"""`make compare`: the same bundles under runc and under minirun, interleaved, in one table.

Runs in a sandbox of its own (sandbox.sh). runc makes no network, so this script wires a namespace for it with `ip`, as people do
by hand; minirun makes its own. Where a figure therefore compares unlike things, the table says so.
"""

import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import MINIRUN, REPOSITORY, call, detached, free_standing, measured, peak_memory

PROBE = Path(__file__).with_name("probe.py")
HELLO_ROUNDS = int(os.environ.get("HELLO_ROUNDS", "30"))
SERVICE_ROUNDS = int(os.environ.get("SERVICE_ROUNDS", "5"))
REQUESTS, CONCURRENCY = 1500, 20
PORT = 5000

# Where a container made by minirun is meant to look different from one made by runc: the probe's field, what takes the difference
# out of its value, and the reason. integration-tests/scenarios/parity/comparable.rs has the same for the tests.
INTENDED = [
    ("mounts", lambda line: line.replace(",nr_inodes=1", ""),
     "who remounts a masked directory writable finds no room for files in it"),
    ("mounts", lambda line: line.replace("/sys/fs/cgroup tmpfs tmpfs ro,", "/sys/fs/cgroup tmpfs tmpfs rw,"),
     "the config asks for ro; runc forgets it in a cgroup namespace"),
    ("signals/SigIgn", lambda mask: int(mask, 16) & ~(1 << 31),
     "all signals have their default action; Go leaves signal 32 as its caller has it"),
]


class Runtime:
    """What both have: runc's command line, and a state directory of its own."""

    def __init__(self, name, program, work):
        self.name, self.work = name, work
        self.command = [program, "--root", str(work / f"{name}-root")]

    def run(self, bundle):
        return [*self.command, "run", "-b", bundle, f"compare-{self.name}-{bundle.name}"]

    def pid(self, container):
        return json.loads(call(*self.command, "state", container))["pid"]

    def delete(self, container):
        call(*self.command, "delete", "-f", container)


class Runc(Runtime):
    """runc, and the network that a script has to make for it."""

    bundles = ("redis-cache", "product-service")
    cache_address = "10.231.77.2"  # the first that is given, for the cache is started first
    started = 0

    def set_up(self):
        hosts = self.work / "hosts"
        hosts.write_text(f"{self.cache_address} redis-cache\n")
        call("ip", "-batch", "-", input="link add cmp-runc0 type bridge\naddr add 10.231.77.1/24 dev cmp-runc0\n"
                                        "link set cmp-runc0 up\n")

        def with_names(config):
            config["mounts"].append(
                {"destination": "/etc/hosts", "type": "bind", "source": str(hosts), "options": ["bind", "ro"]})

        for bundle in self.bundles:
            free_standing(bundle, self.work / "runc" / bundle, with_names)

    def start(self, bundle):
        # A new address each time: the bridge's neighbours remember the old container's hardware address for some seconds.
        container, link, address = f"compare-runc-{bundle}", f"cmp-{self.started}", f"10.231.77.{2 + self.started}"
        self.started += 1
        detached(*self.command, "create", "-b", self.work / "runc" / bundle, container)
        pid = self.pid(container)
        call("ip", "-batch", "-", input=f"link add {link} type veth peer name eth0 netns {pid}\n"
                                        f"link set {link} master cmp-runc0 up\n")
        call("nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-batch", "-",
             input=f"link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\n"
                   "route add default via 10.231.77.1\n")
        call(*self.command, "start", container)
        return container, address

    def tear_down(self):
        subprocess.run(["ip", "link", "del", "cmp-runc0"], check=False, capture_output=True)


class Minirun(Runtime):
    def set_up(self):
        pass

    def start(self, bundle):
        detached(*self.command, "run", "-d", REPOSITORY / "bundles" / bundle)
        networks = json.loads(call(*self.command, "inspect", bundle))["networks"]
        return bundle, networks[0]["address"].split("/")[0]

    def tear_down(self):
        pass


def first_response(address, started):
    """Seconds from `started` to the first 200 from /health."""
    while time.perf_counter() - started < 30:
        connection = http.client.HTTPConnection(address, PORT, timeout=2)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return time.perf_counter() - started
        except OSError:
            time.sleep(0.002)
        finally:
            connection.close()
    raise RuntimeError(f"no answer from http://{address}:{PORT}/health in 30 seconds")


def requests_per_second(address):
    report = call("ab", "-q", "-n", REQUESTS, "-c", CONCURRENCY, f"http://{address}:{PORT}/products")
    failed = int(re.search(r"Failed requests:\s+(\d+)", report)[1])
    if failed or "Non-2xx" in report:
        raise RuntimeError(f"{failed} of {REQUESTS} requests failed\n{report}")
    return float(re.search(r"Requests per second:\s+([\d.]+)", report)[1])


def memory_of(pid):
    """MiB that the kernel charges to the container of `pid`."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return int(Path(f"/sys/fs/cgroup/memory{path}/memory.usage_in_bytes").read_text()) / 2**20
    return int(Path(f"/sys/fs/cgroup{path}/memory.current").read_text()) / 2**20


def memory_of_runtime(program):
    """MiB resident in processes of the runtime that stay while the service runs, in this sandbox."""
    here, binary, total = os.readlink("/proc/self/ns/mnt"), os.path.realpath(shutil.which(program)), 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "exe") == binary and os.readlink(process / "ns/mnt") == here:
                total += int(re.search(r"VmRSS:\s+(\d+)", (process / "status").read_text())[1]) / 1024
        except (OSError, TypeError):
            continue
    return total


def one_service_round(runtime, program, figures):
    started = time.perf_counter()
    container, address = runtime.start("product-service")
    try:
        try:
            figures["first response"].append(first_response(address, started) * 1000)
        except RuntimeError as error:
            raise RuntimeError(f"{error}; state: {call(*runtime.command, 'state', container)}") from None
        pid = runtime.pid(container)
        figures["container idle"].append(memory_of(pid))
        figures["requests"].append(requests_per_second(address))
        figures["container loaded"].append(memory_of(pid))
        figures["runtime resident"].append(memory_of_runtime(program))
    finally:
        runtime.delete(container)


def one_hello_round(runtime, bundle, figures):
    result = measured(*runtime.run(bundle))
    figures["hello wall"].append(result["wall"] * 1000)
    figures["hello cpu"].append(result["cpu"] * 1000)
    figures["hello rss"].append(peak_memory(*runtime.run(bundle)))


# --- parity -------------------------------------------------------------------------------------------------------


def probe_view(runtime, bundle):
    """What the probe saw, with the namespaces' numbers replaced by whether they are the host's."""
    view = json.loads(call(*runtime.run(bundle), stdin=subprocess.DEVNULL))
    view["namespaces"] = {
        name: "the host's" if number == os.readlink(f"/proc/self/ns/{name}") else "its own"
        for name, number in view["namespaces"].items()
    }
    return json.loads(json.dumps(view).replace(f"compare-{runtime.name}-", "compare-"))


def differences(left, right, path=""):
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted(left.keys() | right.keys()):
            yield from differences(left.get(key, "absent"), right.get(key, "absent"), f"{path}/{key}" if path else key)
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, pair in enumerate(zip(left, right)):
            yield from differences(*pair, f"{path}[{index}]")
    elif left != right:
        yield path, left, right


def parity(runc, minirun, bundle):
    """Prints what the two disagree on; true when every difference has a reason."""
    views = [probe_view(runtime, bundle) for runtime in (runc, minirun)]
    held = True
    for path, left, right in differences(*views):
        reason = next((why for field, erase, why in INTENDED if path.startswith(field) and erase(left) == erase(right)), None)
        held = held and reason is not None
        print(f"  {path}: runc {left!r}, minirun {right!r}")
        print(f"    {'intended: ' + reason if reason else 'NOT INTENDED'}")
    return held, len(views[0])


# --- the table ----------------------------------------------------------------------------------------------------

ROWS = [
    ("hello, to exit", "hello wall", "ms", 1),
    ("hello, CPU", "hello cpu", "ms", 1),
    ("hello, peak memory of the runtime", "hello rss", "MiB", 1),
    ("product-service, to first response *", "first response", "ms", 0),
    ("product-service, requests a second", "requests", "/s", 0),
    ("product-service, container idle", "container idle", "MiB", 1),
    ("product-service, container after load", "container loaded", "MiB", 1),
    ("product-service, runtime resident", "runtime resident", "MiB", 1),
]


def print_table(runc, minirun):
    print(f"\n{'median':40} {'runc':>12} {'minirun':>12}   minirun/runc")
    for title, key, unit, digits in ROWS:
        left, right = statistics.median(runc[key]), statistics.median(minirun[key])
        ratio = f"{right / left:.2f}" if left else "-"
        print(f"{title:40} {left:>8.{digits}f} {unit:3} {right:>8.{digits}f} {unit:3}   {ratio}")
    print(f"\n{HELLO_ROUNDS} rounds of hello, {SERVICE_ROUNDS} of the service, interleaved. hello runs with runc's command line on both,"
          "\nwith a network namespace and no network. * With its network: minirun makes it itself; for runc, which makes"
          "\nnone, three `ip` commands do.")


def main():
    if os.geteuid() != 0:
        sys.exit("make compare needs root")
    work = Path(tempfile.mkdtemp(prefix="compare-"))
    runc, minirun = Runc("runc", "runc", work), Minirun("minirun", MINIRUN, work)
    sides = [(runc, "runc", {row[1]: [] for row in ROWS}), (minirun, MINIRUN, {row[1]: [] for row in ROWS})]
    hello = free_standing("hello", work / "hello")

    def run_probe(config):
        config["process"]["args"] = ["python3", "-c", PROBE.read_text()]

    probe = free_standing("product-service", work / "probe", run_probe)
    caches = []
    try:
        print(call("runc", "--version").splitlines()[0], "and", call(MINIRUN, "--version").splitlines()[0])
        for runtime, _, _ in sides:
            runtime.set_up()
        for round_number in range(HELLO_ROUNDS):
            for runtime, _, figures in sides if round_number % 2 else reversed(sides):
                one_hello_round(runtime, hello, figures)
        print(f"hello: {HELLO_ROUNDS} rounds done")
        for runtime, _, _ in sides:
            caches.append((runtime, runtime.start("redis-cache")[0]))
        for round_number in range(SERVICE_ROUNDS):
            for runtime, program, figures in sides if round_number % 2 else reversed(sides):
                one_service_round(runtime, program, figures)
            print(f"product-service: round {round_number + 1} of {SERVICE_ROUNDS} done", flush=True)
        print("\nparity: the same probe in the product service's container under both")
        held, fields = parity(runc, minirun, probe)
        print(f"  {'held' if held else 'BROKEN'}: {fields} groups of facts compared")
        print_table(sides[0][2], sides[1][2])
    finally:
        for runtime, container in caches:
            runtime.delete(container)
        for runtime, _, _ in sides:
            runtime.tear_down()
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
