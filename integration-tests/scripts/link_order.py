#!/usr/bin/env python3
"""`make link-order`: writes src/sys/link-order.ld: the functions that the verbs of a container's life call, in their order.

docs/decisions/link-order.md says what for. Each verb runs once under ptrace(2) with a breakpoint on every function of the binary
that is still there; the first call of each function is recorded and its breakpoint taken away. Runs in a sandbox
(sandbox.sh), with a binary that has its symbols and a fixed address (`-C relocation-model=static`).

    link_order.py BINARY ROOTFS
"""

import ctypes
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HEAD = """/* The functions that the verbs of a container's life call, in the order in which they begin; all others follow.
   Written by `make link-order`; docs/decisions/link-order.md says what for. A name that no longer exists is ignored. */
SECTIONS
{
  .text.order :
  {
"""
TAIL = """  }
}
INSERT BEFORE .text;
"""

# linux/ptrace.h and sys/wait.h.
TRACEME, CONT, GETREGS, SETREGS, DETACH, SETOPTIONS = 0, 7, 12, 13, 17, 0x4200
FOLLOW_FORK_VFORK_CLONE_EXEC = 0x2 | 0x4 | 0x8 | 0x10
EVENT_EXEC = 4
ALL_CHILDREN = 0x40000000
BREAKPOINT = 0xCC


class Registers(ctypes.Structure):
    """struct user_regs_struct of x86-64."""

    _fields_ = [(name, ctypes.c_ulong) for name in
                ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base "
                 "ds es fs gs").split()]


def ptrace(request, pid, data=None):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(ctypes.c_long(request), ctypes.c_long(pid), None, data) == -1:
        raise OSError(ctypes.get_errno(), f"ptrace request {request} of process {pid}")


class Program:
    """The binary: its code, and where which function begins."""

    def __init__(self, path):
        self.path = Path(path).resolve()
        content = self.path.read_bytes()
        self.size = len(content)
        self.base, self.code = code_segment(content)
        self.functions = {}
        for line in subprocess.run(["nm", self.path], text=True, capture_output=True, check=True).stdout.splitlines():
            address, kind, name = f"0 {line}".split()[-3:]
            at = int(address, 16)
            if kind in "tTwW" and 0 <= at - self.base < len(self.code):
                self.functions.setdefault(at, name)
        armed = bytearray(self.code)
        for at in self.functions:
            armed[at - self.base] = BREAKPOINT
        self.armed = bytes(armed)

    def arm(self, pid):
        """Sets all breakpoints of a process that has just executed something; False when it was something else."""
        if os.stat(f"/proc/{pid}/exe").st_size != self.size:
            return False
        write_memory(pid, self.base, self.armed)
        return True

    def disarm(self, pid, at):
        write_memory(pid, at, self.code[at - self.base:at - self.base + 1])


def code_segment(elf):
    """Address and bytes of the executable segment (elf(5))."""
    table, = struct.unpack_from("<Q", elf, 32)
    count, = struct.unpack_from("<H", elf, 56)
    for index in range(count):
        kind, flags, offset, address, _, length = struct.unpack_from("<IIQQQQ", elf, table + 56 * index)
        if kind == 1 and flags & 1:
            return address, elf[offset:offset + length]
    sys.exit("link_order.py: the binary has no code")


def write_memory(pid, address, content):
    memory = os.open(f"/proc/{pid}/mem", os.O_RDWR)
    try:
        os.pwrite(memory, content, address)
    finally:
        os.close(memory)


def trace(program, seen, *arguments):
    """Runs a command of the binary to its end and adds the functions that it and its children call to `seen`."""
    pid = os.fork()
    if pid == 0:
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        ptrace(TRACEME, 0)
        os.execv(program.path, [str(program.path), *map(str, arguments)])
    os.waitpid(pid, 0)
    ptrace(SETOPTIONS, pid, FOLLOW_FORK_VFORK_CLONE_EXEC)
    program.arm(pid)
    ptrace(CONT, pid)
    while True:
        try:
            stopped, status = os.waitpid(-1, ALL_CHILDREN)
        except ChildProcessError:
            return
        if not os.WIFSTOPPED(status):
            if stopped == pid and status != 0:
                sys.exit(f"link_order.py: {' '.join(map(str, arguments))}: wait status {status}")
            continue
        give = None
        if status >> 16 == EVENT_EXEC:
            # The container's program goes on alone.
            if not program.arm(stopped):
                ptrace(DETACH, stopped)
                continue
        elif status >> 16 == 0 and os.WSTOPSIG(status) == signal.SIGTRAP:
            registers = Registers()
            ptrace(GETREGS, stopped, ctypes.byref(registers))
            registers.rip -= 1
            seen.setdefault(program.functions[registers.rip])
            program.disarm(stopped, registers.rip)
            ptrace(SETREGS, stopped, ctypes.byref(registers))
        elif status >> 16 == 0 and os.WSTOPSIG(status) != signal.SIGSTOP:
            give = os.WSTOPSIG(status)
        ptrace(CONT, stopped, give)


def life(program, seen, work, rootfs):
    """The verbs: `run`, which most of all should start soon, and then the others."""
    subprocess.run([program.path, "spec", "-b", work], check=True)
    config = json.loads((work / "config.json").read_text())
    config["process"].update(terminal=False, args=["true"])
    config["root"] = {"path": str(rootfs), "readonly": True}
    (work / "config.json").write_text(json.dumps(config))
    trace(program, seen, "run", "-b", work, f"link-order-run-{os.getpid()}")
    config["process"]["args"] = ["sleep", "1000"]
    (work / "config.json").write_text(json.dumps(config))
    # The first process stays under the tracer until it executes its program, so `create` has a tracer of its own.
    name = f"link-order-{os.getpid()}"
    created = work / "created.json"
    creating = os.fork()
    if creating == 0:
        creates = dict.fromkeys(seen)
        trace(program, creates, "create", "-b", work, name)
        created.write_text(json.dumps(list(creates)))
        os._exit(0)
    wait_until(program, name, "created")
    trace(program, started := {}, "start", name)
    # That waited for all of our children, the tracer of `create` among them.
    seen.update(dict.fromkeys([*json.loads(created.read_text()), *started]))
    for verb in (["state", name], ["exec", name, "true"], ["kill", name, "KILL"]):
        trace(program, seen, *verb)
    wait_until(program, name, "stopped")
    trace(program, seen, "delete", name)


def wait_until(program, name, status):
    for _ in range(600):
        state = subprocess.run([program.path, "state", name], text=True, capture_output=True)
        if state.returncode == 0 and json.loads(state.stdout)["status"] == status:
            return
        time.sleep(0.1)
    sys.exit(f"link_order.py: {name} is not {status} after a minute")


def pattern(function):
    """The function's sections in any build: without the parts of the name that differ from one to the next."""
    # A crate's own number, and places in the name, which move when such numbers are of another length.
    stable = re.sub(r"Cs[0-9a-zA-Z]+_", "Cs*_", re.sub(r"B[0-9a-zA-Z]*_", "B*_", function))
    return f"    *(.text.{stable} .text.unlikely.{stable})\n"


def main():
    program, rootfs = Program(sys.argv[1]), Path(sys.argv[2]).resolve()
    seen = {}
    with tempfile.TemporaryDirectory() as work:
        life(program, seen, Path(work), rootfs)
    patterns = dict.fromkeys(map(pattern, seen))
    (REPOSITORY / "src/sys/link-order.ld").write_text(HEAD + "".join(patterns) + TAIL)
    print(f"src/sys/link-order.ld: {len(patterns)} names of {len(program.functions)} functions")


main()
