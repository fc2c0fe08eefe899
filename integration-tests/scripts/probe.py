"""What a container looks like from inside, as JSON: run by `make compare` under two runtimes, which must agree."""

import json
import os
import resource
import stat


def text(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError as error:
        return f"error: {error.strerror}"


def status(*fields):
    lines = dict(line.split(":", 1) for line in text("/proc/self/status").splitlines())
    return {field: " ".join(lines.get(field, "absent").split()) for field in fields}


def mounts():
    """mountinfo without what differs between any two containers: mount ids, device numbers, peer groups."""
    found = []
    for line in text("/proc/self/mountinfo").splitlines():
        fields, rest = (half.split() for half in line.split(" - ", 1))
        propagation = [field.split(":")[0] for field in fields[6:]]
        source = rest[1] if rest[0] != "cgroup" else "cgroup"
        found.append(" ".join([fields[4], rest[0], source, fields[5], *propagation, rest[2]]))
    return found


def devices():
    found = {}
    for entry in os.scandir("/dev"):
        info = entry.stat(follow_symlinks=False)
        what = os.readlink(entry.path) if entry.is_symlink() else f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
        found[entry.name] = f"{stat.filemode(info.st_mode)} {info.st_uid}:{info.st_gid} {what}"
    return found


def hidden(path):
    """What a masked path shows: its type and how much of it can be seen."""
    try:
        return f"directory of {len(os.listdir(path))}" if os.path.isdir(path) else f"file of {len(open(path).read(64))}"
    except OSError as error:
        return error.strerror


def writable(path):
    try:
        os.close(os.open(path, os.O_WRONLY))
        return True
    except OSError as error:
        return error.strerror


def limits():
    names = [name for name in dir(resource) if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"]
    return {name: resource.getrlimit(getattr(resource, name)) for name in names}


def cgroup_files():
    found = {}
    base = "/sys/fs/cgroup"
    wanted = ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.max", "cpu.shares", "cpu.weight", "memory.limit_in_bytes",
              "memory.memsw.limit_in_bytes", "memory.max", "memory.swap.max", "memory.high", "pids.max", "devices.list",
              "cpuset.cpus", "cpuset.mems")
    for directory in [base, *(entry.path for entry in os.scandir(base) if entry.is_dir())]:
        for name in wanted:
            if os.path.exists(f"{directory}/{name}"):
                found[f"{directory[len(base):]}/{name}"] = sorted(text(f"{directory}/{name}").splitlines())
    return found


print(json.dumps({
    "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")},
    "cgroup": [line.split(":", 1)[1] for line in sorted(text("/proc/self/cgroup").splitlines())],
    "cgroup files": cgroup_files(),
    "mounts": mounts(),
    "devices": devices(),
    "identity": status("Uid", "Gid", "Groups", "Umask"),
    "privileges": status("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"),
    "signals": status("SigBlk", "SigIgn", "ShdPnd"),
    "scheduling": {"oom_score_adj": text("/proc/self/oom_score_adj"), "nice": os.nice(0), "session": os.getsid(0)},
    "limits": limits(),
    "environment": dict(os.environ),
    "directory": os.getcwd(),
    "host name": os.uname().nodename,
    "descriptors": sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1],
    "interfaces": sorted(os.listdir("/sys/class/net")),
    "masked": {path: hidden(path) for path in ("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware")},
    "read-only": {path: writable(path) for path in ("/proc/sysrq-trigger", "/proc/sys/kernel/hostname", "/etc/hostname")},
    "pid": os.getpid(),
}))
