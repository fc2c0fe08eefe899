"""Runs commands inside one of the benchmark's hosts: bench_host.py starts it as process 1 of the host's namespaces.

A request is a line of JSON on standard input, the answer one on standard output. Being in there already, it starts what is
measured directly (vfork and execve): no nsenter stands in the figures. It ends with its input, and the host with it.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time


def reap():
    """The host's orphans are ours."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def run(argv, text, environment, timeout):
    """Runs a command to its end: status, output, wall and CPU seconds, the CPU also of the children it waited for."""
    with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        given.write(text)
        given.seek(0)
        environment = {**os.environ, **environment}
        started = time.perf_counter()
        process = subprocess.Popen(["timeout", str(timeout), *argv] if timeout else argv, stdin=given, stdout=output,
                                   stderr=errors, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        reap()
        output.seek(0)
        errors.seek(0)
        return {"status": process.returncode, "wall": wall, "cpu": usage.ru_utime + usage.ru_stime,
                "output": output.read(), "errors": errors.read()}


def spawn(argv, log):
    with open(log, "w") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    return {"pid": process.pid}


def processes(name):
    """Those of the host but ourselves, of this name (of at most 15 bytes) or all."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) != os.getpid():
            try:
                with open(f"/proc/{pid}/comm") as comm:
                    if name in (None, comm.read().strip()):
                        yield pid
            except OSError:
                pass


def usage(name):
    """CPU seconds that these processes have used until now, all threads, and their resident KiB."""
    used, resident = 0, 0
    for pid in processes(name):
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat") as statistics:
                    used += int(statistics.read().split()[0])
            with open(f"/proc/{pid}/status") as status:
                resident += sum(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
        except OSError:
            pass  # it has ended meanwhile
    return {"cpu": used / 1e9, "resident": resident}


def reach(address, port, seconds):
    """Waits until somebody listens on a TCP port, which sends no event."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((address, port), 1).close()
            return {}
        except OSError as error:
            if time.monotonic() > deadline:
                return {"failed": f"nobody listens on {address}:{port} after {seconds} s: {error}"}
            time.sleep(0.01)


VERBS = {"run": run, "spawn": spawn, "usage": usage, "reach": reach}

for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(VERBS[request.pop("verb")](**request)), flush=True)
