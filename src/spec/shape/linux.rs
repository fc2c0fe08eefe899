//! `linux` of config.json.

use super::Shape::{self, Bool, FreeText, List, Map, Object, OneOf, Text};
use super::{I64, ID_MAPPINGS, TEXTS, U16, U32, U64, optional, required, required_unless};

pub(super) const LINUX: Shape = Object(&[
    optional("namespaces", List(&NAMESPACE)),
    optional("uidMappings", ID_MAPPINGS),
    optional("gidMappings", ID_MAPPINGS),
    optional(
        "timeOffsets",
        Map(&Object(&[optional("secs", I64), optional("nanosecs", U32)])),
    ),
    optional("devices", List(&DEVICE)),
    optional("netDevices", Map(&Object(&[optional("name", Text)]))),
    optional("cgroupsPath", Text),
    optional("resources", RESOURCES),
    optional("sysctl", Map(&Text)),
    optional("seccomp", SECCOMP),
    optional("rootfsPropagation", Text),
    optional("maskedPaths", TEXTS),
    optional("readonlyPaths", TEXTS),
    optional("mountLabel", Text),
    optional(
        "intelRdt",
        Object(&[
            optional("closID", Text),
            optional("schemata", TEXTS),
            optional("l3CacheSchema", Text),
            optional("memBwSchema", Text),
            optional("enableMonitoring", Bool),
            optional("enableCMT", Bool),
            optional("enableMBM", Bool),
        ]),
    ),
    optional(
        "memoryPolicy",
        Object(&[
            required("mode", MEMORY_POLICY_MODE),
            optional("nodes", Text),
            optional("flags", List(&MEMORY_POLICY_FLAG)),
        ]),
    ),
    optional(
        "personality",
        Object(&[
            required("domain", OneOf(&["LINUX", "LINUX32"])),
            optional("flags", TEXTS),
        ]),
    ),
]);

const NAMESPACE: Shape = Object(&[
    required(
        "type",
        OneOf(&["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"]),
    ),
    optional("path", Text),
]);

const DEVICE: Shape = Object(&[
    required("type", OneOf(&["c", "b", "u", "p"])),
    optional("path", Text),
    required_unless("major", I64, ("type", "p")),
    required_unless("minor", I64, ("type", "p")),
    optional("fileMode", U32),
    optional("uid", U32),
    optional("gid", U32),
]);

const MEMORY_POLICY_MODE: Shape = OneOf(&[
    "MPOL_DEFAULT",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_WEIGHTED_INTERLEAVE",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_LOCAL",
]);

const MEMORY_POLICY_FLAG: Shape = OneOf(&[
    "MPOL_F_NUMA_BALANCING",
    "MPOL_F_RELATIVE_NODES",
    "MPOL_F_STATIC_NODES",
]);

pub(in crate::spec) const RESOURCES: Shape = Object(&[
    optional(
        "devices",
        List(&Object(&[
            optional("allow", Bool),
            optional("type", OneOf(&["a", "c", "b"])),
            optional("major", I64),
            optional("minor", I64),
            optional("access", Text),
        ])),
    ),
    optional(
        "memory",
        Object(&[
            optional("limit", I64),
            optional("reservation", I64),
            optional("swap", I64),
            optional("kernel", I64),
            optional("kernelTCP", I64),
            optional("swappiness", U64),
            optional("disableOOMKiller", Bool),
            optional("useHierarchy", Bool),
            optional("checkBeforeUpdate", Bool),
        ]),
    ),
    optional(
        "cpu",
        Object(&[
            optional("shares", U64),
            optional("quota", I64),
            optional("burst", U64),
            optional("period", U64),
            optional("realtimeRuntime", I64),
            optional("realtimePeriod", U64),
            optional("cpus", Text),
            optional("mems", Text),
            optional("idle", I64),
        ]),
    ),
    optional("pids", Object(&[optional("limit", I64)])),
    optional(
        "blockIO",
        Object(&[
            optional("weight", U16),
            optional("leafWeight", U16),
            optional("weightDevice", List(&WEIGHT_DEVICE)),
            optional("throttleReadBpsDevice", THROTTLE_DEVICES),
            optional("throttleWriteBpsDevice", THROTTLE_DEVICES),
            optional("throttleReadIOPSDevice", THROTTLE_DEVICES),
            optional("throttleWriteIOPSDevice", THROTTLE_DEVICES),
        ]),
    ),
    optional(
        "hugepageLimits",
        List(&Object(&[optional("pageSize", Text), optional("limit", I64)])),
    ),
    optional(
        "network",
        Object(&[
            optional("classID", U32),
            optional(
                "priorities",
                List(&Object(&[optional("name", Text), optional("priority", U32)])),
            ),
        ]),
    ),
    optional(
        "rdma",
        Map(&Object(&[
            optional("hcaHandles", U32),
            optional("hcaObjects", U32),
        ])),
    ),
    optional("unified", Map(&Text)),
]);

const WEIGHT_DEVICE: Shape = Object(&[
    optional("major", I64),
    optional("minor", I64),
    optional("weight", U16),
    optional("leafWeight", U16),
]);

const THROTTLE_DEVICES: Shape = List(&Object(&[
    optional("major", I64),
    optional("minor", I64),
    optional("rate", U64),
]));

const SECCOMP: Shape = Object(&[
    required("defaultAction", SECCOMP_ACTION),
    optional("defaultErrnoRet", U32),
    optional("architectures", List(&SECCOMP_ARCH)),
    optional(
        "flags",
        List(&OneOf(&[
            "SECCOMP_FILTER_FLAG_TSYNC",
            "SECCOMP_FILTER_FLAG_LOG",
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        ])),
    ),
    optional("listenerPath", Text),
    optional("listenerMetadata", FreeText),
    optional(
        "syscalls",
        List(&Object(&[
            required("names", TEXTS),
            required("action", SECCOMP_ACTION),
            optional("errnoRet", U32),
            optional(
                "args",
                List(&Object(&[
                    required("index", U32),
                    required("value", U64),
                    optional("valueTwo", U64),
                    required("op", SECCOMP_OPERATOR),
                ])),
            ),
        ])),
    ),
]);

const SECCOMP_ACTION: Shape = OneOf(&[
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
]);

const SECCOMP_OPERATOR: Shape = OneOf(&[
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
]);

const SECCOMP_ARCH: Shape = OneOf(&[
    "SCMP_ARCH_NATIVE",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
]);
