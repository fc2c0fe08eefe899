"""The runtimes that `make bench` compares: what they are started with, and what is measured of each."""

import json
import os
import resource
import shutil
import signal
import time
from contextlib import contextmanager

from measure import MINIRUN, REPOSITORY, call

# A command that has not ended by then has hung (youki can, when a container ends at once).
HANG = 60

PEERS = REPOSITORY / "target/peers"
KNOWN = {
    "debian": [("crun", "crun"), ("runc", "runc")],
    "sid": [("crun sid", PEERS / "sid/bin/crun"), ("runc sid", PEERS / "sid/bin/runc")],
    "youki": [("youki", PEERS / "youki/bin/youki")],
}


class Failed(Exception):
    """A command did not do what it was measured for."""


def spawn(command, silent=False):
    """Starts a command with vfork: a copy of this script's memory, which fork would make, costs more than some commands do.
    Its output goes nowhere, so no pipe outlives it; complaints are shown unless they are expected."""
    command = [str(part) for part in command]
    null = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
    if silent:
        null.append((os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0))
    return os.posix_spawn(command[0], command, os.environ, file_actions=null)


def wait(pid):
    """Exit status of a child, negative for a signal. One that hangs is killed."""
    def hung(*_):
        os.kill(pid, signal.SIGKILL)
    signal.signal(signal.SIGALRM, hung)
    signal.alarm(HANG)
    try:
        return os.waitstatus_to_exitcode(os.wait4(pid, 0)[1])
    finally:
        signal.alarm(0)


def launch(*command):
    status = wait(spawn(command))
    if status != 0:
        raise Failed(f"{' '.join(map(str, command))}: exit status {status}")


def reap():
    """Takes the end of every child that has ended, and with it its CPU time: containers become ours when their runtime ends."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def cpu():
    """CPU seconds, user and system, of all children that have been waited for, and of theirs. The sum is exact on Linux, how
    it is parted is not."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Cost:
    """Wall and CPU milliseconds of what happens inside of the block."""

    def __enter__(self):
        reap()
        self.started, self.before = time.perf_counter(), cpu()
        return self

    def __exit__(self, *_):
        self.wall = (time.perf_counter() - self.started) * 1000
        reap()
        self.cpu = (cpu() - self.before) * 1000


class Runtime:
    """A runtime with a state directory of its own, on the bundles that all share."""

    def __init__(self, name, program, work):
        self.name, self.work = name, work
        self.slug = name.replace(" ", "-")
        self.command = [program, "--root", str(work / f"{self.slug}-root")]
        self.version = call(program, "--version").splitlines()[0]

    def id(self, suffix):
        return f"bench-{self.slug}-{suffix}"

    def quiet(self, *arguments):
        launch(*self.command, *arguments)

    def creating(self, bundle, container):
        """The command that creates a container, and the file where its process id will be."""
        pid_file = self.work / f"{container}.pid"
        return [*self.command, "create", "-b", self.work / bundle, "--pid-file", pid_file, container], pid_file

    def create(self, bundle, container):
        command, pid_file = self.creating(bundle, container)
        launch(*command)
        return int(pid_file.read_text())

    def running(self, bundle, suffix):
        """Leaves a container running, and returns its process id. Being a subreaper, we are its parent by then."""
        pid = self.create(bundle, self.id(suffix))
        self.quiet("start", self.id(suffix))
        return pid

    def remove(self, suffix, pid):
        self.quiet("delete", "-f", self.id(suffix))
        ended(pid)

    # What is measured.

    def run(self, bundle):
        self.quiet("run", "-b", self.work / bundle, self.id("run"))

    def life(self, bundle):
        ended(self.running(bundle, "life"))
        self.quiet("delete", self.id("life"))

    def life_by_force(self, bundle):
        pid = self.running(bundle, "life")
        self.remove("life", pid)

    def exec(self, container):
        self.quiet("exec", self.id(container), "true")

    def state(self):
        self.quiet("state", self.id("ready"))

    def version_only(self):
        self.quiet("--version")


def ended(pid):
    """Waits for a container's process, which is our child once its runtime has ended."""
    try:
        wait(pid)
    except ChildProcessError:
        pass


class Floor:
    """`examples/floor.rs`, with and without control groups: a contender of one row."""

    def __init__(self, name, rootfs, groups):
        self.name = name
        self.command = [REPOSITORY / "bin/floor", rootfs, "/bin/true", *groups]

    def run(self, _bundle):
        launch(*self.command)


def floors(rootfs):
    controllers = sorted(path for path in os.listdir("/sys/fs/cgroup") if os.path.isdir(f"/sys/fs/cgroup/{path}/"))
    # v1 has a directory for each controller, v2 files; links are second names (cpu,cpuacct).
    v1 = [name for name in controllers if os.path.exists(f"/sys/fs/cgroup/{name}/tasks")
          and not os.path.islink(f"/sys/fs/cgroup/{name}")]
    found = [Floor("floor without cgroups", rootfs, [])]
    if v1:
        found.insert(0, Floor("floor", rootfs, ["bench-floor", *v1]))
    return found


def contenders(work, wanted, skip):
    """minirun and the peers that are there; who is not is named."""
    found = [Runtime("minirun", MINIRUN, work)]
    for group in wanted:
        for name, program in KNOWN[group]:
            path = shutil.which(program)
            if path:
                found.append(Runtime(name, path, work))
            else:
                skip(name, "not installed")
    for group in KNOWN.keys() - set(wanted):
        skip(", ".join(name for name, _ in KNOWN[group]), f'not asked for: make bench PEERS="{" ".join([*wanted, group])}"')
    return found


def in_turns(contestants, number):
    """Every round begins with another one."""
    turn = number % len(contestants)
    return contestants[turn:] + contestants[:turn]


@contextmanager
def kept(runtimes, bundle, suffix):
    """A running container of each while the block lasts."""
    alive = []
    try:
        for runtime in runtimes:
            alive.append((runtime, runtime.running(bundle, suffix)))
        yield
    finally:
        for runtime, pid in alive:
            runtime.remove(suffix, pid)


def write_bundles(work, rootfs, profile):
    """The default configuration with a process that ends and one that stays, each with and without a filter."""
    call(MINIRUN, "spec", "-b", work)
    config = json.loads((work / "config.json").read_text())
    config["ociVersion"] = "1.0.2"  # the newest that Debian's crun knows
    config["root"] = {"path": str(rootfs), "readonly": True}
    config["process"]["terminal"] = False
    for name, arguments in {"true": ["true"], "sleep": ["sleep", "10000"]}.items():
        config["process"]["args"] = arguments
        config["linux"].pop("seccomp", None)
        write_bundle(work / name, config)
        if profile:
            config["linux"]["seccomp"] = profile
            write_bundle(work / f"{name}-filtered", config)


def write_bundle(directory, config):
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
