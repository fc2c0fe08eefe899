"""What `make compare` and `make bench` share: running commands and measuring them."""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MINIRUN = os.environ.get("MINIRUN_BIN", str(REPOSITORY / "bin/minirun"))


def call(*command, **options):
    """Runs a command to its end and returns what it printed; its error text is the exception's."""
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, timeout=60, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stderr.strip()}")
    return done.stdout


def peak_memory(*command):
    """Peak resident MiB of a command. Asked of time(1), whose own few hundred KiB are the floor: the kernel counts what a
    process had resident before execve as well, which as a child of this script would be Python's memory."""
    with tempfile.NamedTemporaryFile("r") as report:
        call("time", "--quiet", "-f", "%M", "-o", report.name, *command, stdin=subprocess.DEVNULL)
        return int(report.read().split()[-1]) / 1024


def measured(*command):
    """Wall and CPU seconds of a command and of the children that it waited for."""
    started = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit status {process.returncode}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime}


def detached(*command):
    """Starts a container whose output nobody reads, so that no pipe of ours outlives the command."""
    with tempfile.TemporaryFile("w+") as errors:
        status = subprocess.call([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=errors, timeout=60)
        errors.seek(0)
        if status != 0:
            raise RuntimeError(f"{' '.join(map(str, command))}: exit status {status}\n{errors.read().strip()}")


def free_standing(bundle, directory, change=lambda config: None):
    """A copy of a bundle's config.json that can be run from anywhere, changed as told."""
    source = REPOSITORY / "bundles" / bundle
    config = json.loads((source / "config.json").read_text())
    config["root"]["path"] = str((source / config["root"]["path"]).resolve())
    for mount in config["mounts"]:
        if mount["type"] == "bind":
            mount["source"] = str(source / mount["source"])
    change(config)
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config))
    return directory
