//! The top of config.json, and the process.

use super::Shape::{self, Bool, Capabilities, FreeText, List, Map, Object, OneOf, Text};
use super::linux::LINUX;
use super::{I32, I64, ID_MAPPINGS, TEXTS, U32, U64, optional, required};

/// config.json.
pub(in crate::spec) const CONFIG: Shape = Object(&[
    optional("ociVersion", Text),
    optional(
        "root",
        Object(&[optional("path", Text), optional("readonly", Bool)]),
    ),
    optional("mounts", List(&MOUNT)),
    optional("process", PROCESS),
    optional("hostname", Text),
    optional("domainname", Text),
    optional("hooks", HOOKS),
    optional("annotations", Map(&FreeText)),
    optional("linux", LINUX),
]);

const MOUNT: Shape = Object(&[
    required("destination", Text),
    optional("type", Text),
    optional("source", Text),
    optional("options", TEXTS),
    optional("uidMappings", ID_MAPPINGS),
    optional("gidMappings", ID_MAPPINGS),
]);

const HOOKS: Shape = Object(&[
    optional("prestart", HOOK_LIST),
    optional("createRuntime", HOOK_LIST),
    optional("createContainer", HOOK_LIST),
    optional("startContainer", HOOK_LIST),
    optional("poststart", HOOK_LIST),
    optional("poststop", HOOK_LIST),
]);

const HOOK_LIST: Shape = List(&Object(&[
    required("path", Text),
    optional("args", TEXTS),
    optional("env", TEXTS),
    optional("timeout", I64),
]));

/// The process: a section of config.json, and the document of `exec --process`.
pub(in crate::spec) const PROCESS: Shape = Object(&[
    optional("terminal", Bool),
    optional(
        "consoleSize",
        Object(&[optional("height", U64), optional("width", U64)]),
    ),
    optional(
        "user",
        Object(&[
            optional("uid", U32),
            optional("gid", U32),
            optional("umask", U32),
            optional("additionalGids", List(&U32)),
        ]),
    ),
    optional("args", TEXTS),
    optional("env", TEXTS),
    required("cwd", Text),
    optional(
        "capabilities",
        Object(&[
            optional("bounding", Capabilities),
            optional("effective", Capabilities),
            optional("inheritable", Capabilities),
            optional("permitted", Capabilities),
            optional("ambient", Capabilities),
        ]),
    ),
    optional(
        "rlimits",
        List(&Object(&[
            required("type", RLIMIT),
            optional("hard", U64),
            optional("soft", U64),
        ])),
    ),
    optional("noNewPrivileges", Bool),
    optional("apparmorProfile", Text),
    optional("oomScoreAdj", I32),
    optional("selinuxLabel", Text),
    optional(
        "ioPriority",
        Object(&[
            optional(
                "class",
                OneOf(&["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"]),
            ),
            optional("priority", I64),
        ]),
    ),
    optional("scheduler", SCHEDULER),
    optional(
        "execCPUAffinity",
        Object(&[optional("initial", Text), optional("final", Text)]),
    ),
]);

const RLIMIT: Shape = OneOf(&[
    "RLIMIT_AS",
    "RLIMIT_CORE",
    "RLIMIT_CPU",
    "RLIMIT_DATA",
    "RLIMIT_FSIZE",
    "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "RLIMIT_NPROC",
    "RLIMIT_RSS",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
]);

const SCHEDULER: Shape = Object(&[
    required(
        "policy",
        OneOf(&[
            "SCHED_OTHER",
            "SCHED_FIFO",
            "SCHED_RR",
            "SCHED_BATCH",
            "SCHED_ISO",
            "SCHED_IDLE",
            "SCHED_DEADLINE",
        ]),
    ),
    optional("nice", I32),
    optional("priority", I32),
    optional("flags", List(&SCHEDULER_FLAG)),
    optional("runtime", U64),
    optional("deadline", U64),
    optional("period", U64),
]);

const SCHEDULER_FLAG: Shape = OneOf(&[
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
    // What oci-spec calls two of them: a configuration that we change is written back in its words.
    "SCHED_RESET_ON_FORK",
    "SCHED_FLAG_D_L_OVERRUN",
]);
