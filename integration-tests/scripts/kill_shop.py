#!/usr/bin/env python3
"""Kills any one process of the shop at a random time, again and again, while customers order and look at products.

    kill_shop.py

The shop starts on a host of its own (private pid, mount and network namespaces). KILLS (50) times one of its processes gets SIGKILL:
the first process or any other of a container, the supervisor, or netd. The shop has to come back by itself, or with the next
`compose up` where it was the supervisor. At the end every order that was acknowledged has to be in the database, and after
`compose down` nothing may be left: no process, interface, rule, mount, cgroup, lease or record. SEED repeats a run.
"""

import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

from measure import MINIRUN, REPOSITORY, call

KILLS = int(os.environ.get("KILLS") or 50)
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
PORT, PROJECT, CUSTOMERS = 8080, "shop-kills", 4
SHOP = f"http://127.0.0.1:{PORT}"
COMPOSE = [MINIRUN, "compose", "-f", str(REPOSITORY / "bundles/shop/compose.yaml"), "-p", PROJECT]
# For one thing to happen; generous, as other work may load the machine.
PATIENCE = 120


def ask(path, order=None):
    """The answer to GET, or to POST of an order."""
    request = urllib.request.Request(SHOP + path, json.dumps(order).encode() if order else None)
    if order:
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=15) as answer:
        return json.load(answer)


class Customers:
    """Threads that order and look; what they were told is kept."""

    def __init__(self):
        self.open, self.lock = True, threading.Lock()
        self.orders, self.answers = {}, Counter()
        self.threads = [threading.Thread(target=self._shop, args=(number,)) for number in range(CUSTOMERS)]
        for thread in self.threads:
            thread.start()

    def _shop(self, number):
        count = 0
        while self.open:
            count += 1
            order = {"customer": f"customer {number}, order {count}", "items": [{"product_id": 1, "quantity": 1 + count % 9}]}
            try:
                stored = ask("/api/orders", order)
                ask("/api/products")
                outcome = "answered"
                with self.lock:
                    self.orders[stored["id"]] = order
            except urllib.error.HTTPError as error:
                outcome = f"HTTP {error.code}"
            except (OSError, http.client.HTTPException) as error:
                outcome = type(error).__name__
            with self.lock:
                self.answers[outcome] += 1

    def total(self):
        with self.lock:
            return self.answers["answered"]

    def close(self):
        self.open = False
        for thread in self.threads:
            thread.join()


def until(what, done):
    """Waits for what has no event of its own that this script could wait for."""
    deadline = time.monotonic() + PATIENCE
    while True:
        problem = done()
        if not problem:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: {problem} after {PATIENCE} s")
        time.sleep(0.05)


def replicas():
    return json.loads(call(*COMPOSE, "ps", "--all", "--format", "json"))


def unhealthy():
    listed = replicas()
    sick = [f"{one['id']} is {one['state']}, {one['health']}" for one in listed if one.get("health") != "healthy"]
    return "; ".join(sick) if sick else "" if len(listed) == 9 else f"{len(listed)} of 9 containers"


def processes():
    """All but ours: what runs for the shop, by kind."""
    here, found = os.stat("/proc/self/root"), {"container": [], "supervisor": [], "netd": []}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            root, arguments = os.stat(entry / "root"), (entry / "cmdline").read_bytes().split(b"\0")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state in "ZX" or int(entry.name) in (1, os.getpid()):
            continue
        if b"netd" in arguments[:3]:
            found["netd"].append(int(entry.name))
        elif (root.st_dev, root.st_ino) != (here.st_dev, here.st_ino):
            found["container"].append(int(entry.name))
        elif Path(arguments[0].decode()).name.startswith("minirun") or b"compose" in arguments:
            found["supervisor"].append(int(entry.name))
    return found


def name_of(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone"


def footprint():
    """What the shop could leave behind, a line each."""
    for link in json.loads(call("ip", "-json", "link")):
        yield f"link {link['ifname']}"
    for line in call("nft", "list", "ruleset").splitlines():
        if "jhash" in line or "dnat" in line or "element" in line:
            yield f"rule {line.strip()}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        yield f"mount {line.split()[4]}"
    for root in ("/run/minirun", "/var/lib/minirun"):
        for path in Path(root).rglob("*"):
            # What stays on purpose: locks, the history of freed addresses, and the log of events.
            if path.is_file() and path.name not in ("history", "lock", "events") and not path.name.startswith("."):
                yield f"file {path}"
    # Groups of others come and go meanwhile, which os.walk does not mind.
    for path, directories, _ in os.walk("/sys/fs/cgroup"):
        yield from (f"cgroup {path}/{name}" for name in directories if PROJECT in name)
    for kind, pids in processes().items():
        for pid in pids:
            yield f"process {kind} {name_of(pid)}"


def kill_one(chance):
    """Kills a process of the shop; returns what it was."""
    found = {kind: pids for kind, pids in processes().items() if pids}
    # Half of the kills are of containers' processes, of which there are the most kinds.
    kind = "container" if chance.random() < 0.5 else chance.choice(sorted(found))
    victim = chance.choice(sorted(found[kind]))
    name = name_of(victim)
    try:
        os.kill(victim, 9)
    except ProcessLookupError:
        return kind, f"{name}, which was gone"
    return kind, name


def show_what_is_there():
    """For whoever reads of a failure."""
    for command in (["ps", "--all"], ["logs", "--tail", "8", "--no-color"]):
        print(subprocess.run([*COMPOSE, *command], capture_output=True, text=True).stdout)
    print({kind: [name_of(pid) for pid in pids] for kind, pids in processes().items()})
    for path in ("/api/products", "/api/orders", "/health"):
        answer = subprocess.run(["curl", "-si", "--max-time", "10", SHOP + path], capture_output=True, text=True)
        print(f"GET {path}: exit status {answer.returncode}\n{answer.stdout[:500]}")
    for name in ("api-gateway", "order-service"):
        for target in ("product-service", "order-service", "postgres-db", "redis-cache"):
            code = f"import socket; print({target!r}, socket.gethostbyname_ex({target!r})[2])"
            looked = subprocess.run([*COMPOSE, "exec", "-T", name, "python3", "-c", code], capture_output=True, text=True)
            print(f"from {name}: {looked.stdout.strip() or looked.stderr.strip()[-100:]}")
    print(call("nft", "list", "ruleset")[:20000])


def read_back(number):
    """An order as the shop knows it. What was killed last may have just come back: "not now" is asked again, as it says."""
    found = {}

    def asked():
        try:
            found["order"] = ask(f"/api/orders/{number}")
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            return "it says 503"
        return ""

    until(f"order {number} is read", asked)
    return found["order"]


def torment():
    chance, began = random.Random(SEED), time.monotonic()
    before = set(footprint())
    print(f"seed {SEED}, {KILLS} kills", flush=True)
    call(*COMPOSE, "up", "--wait")
    customers = Customers()
    try:
        killed = Counter()
        for number in range(1, KILLS + 1):
            seen = customers.total()
            until("customers are served", lambda: "" if customers.total() > seen else "nobody is")
            # Anywhere in what the shop does meanwhile, also in its recovery from the kill before.
            time.sleep(chance.random())
            kind, name = kill_one(chance)
            killed[kind] += 1
            print(f"kill {number}: {kind} {name}", flush=True)
            if kind == "supervisor":
                call(*COMPOSE, "up", "--wait")
            seen = customers.total()
            until(f"kill {number}: customers are served again", lambda: "" if customers.total() > seen else "nobody is")
        until("the shop is healthy", unhealthy)
    except BaseException:
        show_what_is_there()
        customers.close()
        print(f"customers: {dict(customers.answers)}")
        subprocess.run([*COMPOSE, "down", "--volumes"])
        raise
    customers.close()
    missing = []
    for number, order in sorted(customers.orders.items()):
        stored = read_back(number)
        if (stored["customer"], stored["items"]) != (order["customer"], order["items"]):
            missing.append(f"order {number}: {stored} instead of {order}")
    answers = ", ".join(f"{what}: {count}" for what, count in customers.answers.most_common())
    print(f"killed: {dict(killed)}\ncustomers: {answers}\norders acknowledged: {len(customers.orders)}, missing or wrong: {len(missing)}")
    call(*COMPOSE, "down", "--volumes")
    until("nothing is left", lambda: "\n".join(sorted(set(footprint()) - before)))
    print(f"nothing is left; {time.monotonic() - began:.0f} s")
    if missing:
        sys.exit("\n".join(missing))


def main():
    if sys.argv[1:] == ["--apart"]:
        for command in ("mount -t tmpfs -o mode=0755 tmpfs /run", "ip link set lo up", "mkdir -p /run/lock /run/minirun"):
            call(*command.split())
        Path("/var/lib/minirun").mkdir(exist_ok=True)
        call("mount", "-t", "tmpfs", "tmpfs", "/var/lib/minirun")
        os.environ |= {"SHOP_PORT": str(PORT), "SHOP_RATE": "1000000/second", "SHOP_BURST": "100000"}
        torment()
        return
    if os.geteuid() != 0:
        sys.exit("kill_shop: namespaces and networks need root")
    apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--mount", "--net", "--propagation", "private"]
    sys.exit(subprocess.run([*apart, sys.executable, __file__, "--apart"]).returncode)


if __name__ == "__main__":
    main()
