"""The filter of system calls that engines give a container, as they write it into config.json.

Debian's golang-github-containers-common has it in the engines' own format, which Docker, Podman and CRI-O share: entries that
depend on capabilities and on the architecture. What an engine does with them is done here.
"""

import json
import platform
from pathlib import Path

PATH = Path("/usr/share/containers/seccomp.json")

# What Docker gives a container.
CAPABILITIES = {f"CAP_{name}" for name in (
    "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID "
    "SYS_CHROOT").split()}

# The kernel's name of a machine, libseccomp's and Go's.
ARCHITECTURES = {"x86_64": ("SCMP_ARCH_X86_64", "amd64"), "aarch64": ("SCMP_ARCH_AARCH64", "arm64")}


def engines_profile():
    """linux.seccomp of a config.json; None where the package or the architecture is missing."""
    if not PATH.exists() or platform.machine() not in ARCHITECTURES:
        return None
    ours, go = ARCHITECTURES[platform.machine()]
    profile = json.loads(PATH.read_text())

    def holds(entry):
        includes, excludes = entry.get("includes") or {}, entry.get("excludes") or {}
        arches = includes.get("arches") or [go]
        return (set(includes.get("caps") or []) <= CAPABILITIES and not set(excludes.get("caps") or []) & CAPABILITIES
                and go in arches and go not in (excludes.get("arches") or []))

    def rule(entry):
        return {key: entry[key] for key in ("names", "action", "errnoRet", "args") if entry.get(key)}

    architectures = [ours]
    for family in profile.get("archMap") or []:
        if family["architecture"] == ours:
            architectures += family["subArchitectures"] or []
    filtered = {"defaultAction": profile["defaultAction"], "architectures": architectures,
                "syscalls": [rule(entry) for entry in profile["syscalls"] if holds(entry)]}
    if profile.get("defaultErrnoRet") is not None:
        filtered["defaultErrnoRet"] = profile["defaultErrnoRet"]
    return filtered
