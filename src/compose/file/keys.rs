//! The keys of the Compose specification: which are supported, and why others are not. `docs/compose.md` is held to it.

/// A key of some mapping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) support: Support,
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Support {
    /// It is read.
    Yes,
    /// It is allowed and means nothing here, for this reason.
    Ignored(&'static str),
    /// `false` is what holds anyway; `true` is refused for this reason.
    OnlyFalse(&'static str),
    /// It is refused for this reason.
    No(&'static str),
}

const fn yes(name: &'static str) -> Key {
    let support = Support::Yes;
    Key { name, support }
}

const fn ignored(name: &'static str, why: &'static str) -> Key {
    let support = Support::Ignored(why);
    Key { name, support }
}

const fn only_false(name: &'static str, why: &'static str) -> Key {
    let support = Support::OnlyFalse(why);
    Key { name, support }
}

const fn no(name: &'static str, why: &'static str) -> Key {
    let support = Support::No(why);
    Key { name, support }
}

const OF_IMAGES: &str = "a service is its bundle (`x-bundle`), and images are another engine's business";
const IN_BUNDLE: &str = "write it into the config.json of the bundle";
const SWARM: &str = "it is for clusters";
const PIPES: &str = "standard output goes to the log through a pipe, and standard input is empty";
const NAMESPACES: &str =
    "every container has namespaces of its own; the config.json of the bundle can say otherwise";
const LINKS: &str = "services of a network find each other by name; give them `networks.NAME.aliases`";
const LIMITS_ONLY: &str =
    "limits are enforced, shares and reservations are not; write it into the config.json of the bundle";
const NO_DRIVERS: &str = "there are no drivers to choose from";

/// The file itself.
pub(super) const TOP: &[Key] = &[
    ignored("version", "the specification has one version"),
    yes("name"),
    yes("services"),
    yes("networks"),
    yes("volumes"),
    yes("configs"),
    yes("secrets"),
    no(
        "include",
        "give several files with --file, or take services over with `extends`",
    ),
    no("models", "a service is its bundle"),
];

/// A service.
pub(super) const SERVICE: &[Key] = &[
    yes("x-bundle"),
    ignored("image", OF_IMAGES),
    ignored("build", OF_IMAGES),
    ignored("pull_policy", OF_IMAGES),
    ignored("platform", OF_IMAGES),
    yes("command"),
    yes("entrypoint"),
    yes("environment"),
    yes("env_file"),
    yes("working_dir"),
    yes("user"),
    yes("hostname"),
    yes("ports"),
    yes("expose"),
    yes("networks"),
    yes("depends_on"),
    yes("healthcheck"),
    yes("restart"),
    yes("deploy"),
    yes("scale"),
    yes("cpus"),
    yes("mem_limit"),
    yes("pids_limit"),
    yes("volumes"),
    yes("tmpfs"),
    yes("configs"),
    yes("secrets"),
    yes("dns"),
    yes("dns_search"),
    yes("extra_hosts"),
    yes("cap_add"),
    yes("cap_drop"),
    yes("read_only"),
    yes("stop_signal"),
    yes("stop_grace_period"),
    yes("profiles"),
    yes("labels"),
    yes("logging"),
    yes("extends"),
    only_false(
        "init",
        "the bundle's process is the first; let it reap its children, or start an init in the bundle",
    ),
    only_false(
        "privileged",
        "give the bundle the capabilities and devices that it needs",
    ),
    only_false("stdin_open", PIPES),
    only_false("tty", PIPES),
    only_false(
        "oom_kill_disable",
        "a process that cannot be killed hangs its control group",
    ),
    only_false("use_api_socket", "there is no daemon whose socket it would be"),
    no("annotations", IN_BUNDLE),
    no(
        "attach",
        "`up --detach` and `logs SERVICE` choose whose output is shown",
    ),
    no("blkio_config", IN_BUNDLE),
    no("cgroup", NAMESPACES),
    no(
        "cgroup_parent",
        "the config.json of the bundle has linux.cgroupsPath",
    ),
    no(
        "container_name",
        "containers are named PROJECT-SERVICE-N; others find them by `networks.NAME.aliases` too",
    ),
    no("cpu_count", "it is for Windows; `cpus` limits processors"),
    no("cpu_percent", "it is for Windows; `cpus` limits processors"),
    no("cpu_period", "`cpus` limits processors"),
    no("cpu_quota", "`cpus` limits processors"),
    no("cpu_rt_period", IN_BUNDLE),
    no("cpu_rt_runtime", IN_BUNDLE),
    no("cpu_shares", LIMITS_ONLY),
    no("cpuset", LIMITS_ONLY),
    no("credential_spec", "it is for Windows"),
    no("develop", "bundles are directories: change the files and restart"),
    no("device_cgroup_rules", IN_BUNDLE),
    no("devices", IN_BUNDLE),
    no("dns_opt", "the resolver's options are minirun's own"),
    no("domainname", "write the whole name into `hostname`"),
    no("driver_opts", NO_DRIVERS),
    no("external_links", LINKS),
    no("gpus", IN_BUNDLE),
    no(
        "group_add",
        "the config.json of the bundle has process.user.additionalGids",
    ),
    no("ipc", NAMESPACES),
    no("isolation", "it is for Windows"),
    no("label_file", "write the labels into `labels`"),
    no("links", LINKS),
    no("mac_address", "write it into `networks.NAME.mac_address`"),
    no("mem_reservation", LIMITS_ONLY),
    no("mem_swappiness", LIMITS_ONLY),
    no("memswap_limit", LIMITS_ONLY),
    no("models", "a service is its bundle"),
    no(
        "network_mode",
        "services are on networks of their own; `networks` says on which",
    ),
    no(
        "oom_score_adj",
        "the config.json of the bundle has process.oomScoreAdj",
    ),
    no("pid", NAMESPACES),
    no("post_start", "the config.json of the bundle has hooks"),
    no("pre_stop", "the config.json of the bundle has hooks"),
    no("provider", "a service is its bundle"),
    no("runtime", "the runtime is minirun"),
    no(
        "security_opt",
        "the config.json of the bundle has process.noNewPrivileges and linux.seccomp",
    ),
    no(
        "shm_size",
        "mount a tmpfs on /dev/shm, or change the one in the config.json of the bundle",
    ),
    no(
        "storage_opt",
        "a container's root is the directory of its bundle, with a layer over it where it is writable",
    ),
    no("sysctls", "the config.json of the bundle has linux.sysctl"),
    no("ulimits", "the config.json of the bundle has process.rlimits"),
    no("userns_mode", NAMESPACES),
    no("uts", NAMESPACES),
    no("volumes_from", "name the volumes in `volumes`"),
];

/// `extends` of a service.
pub(super) const EXTENDS: &[Key] = &[yes("service"), yes("file")];

/// One of `env_file`.
pub(super) const ENV_FILE: &[Key] = &[yes("path"), yes("required"), yes("format")];

/// One of `ports`.
pub(super) const PORT: &[Key] = &[
    yes("target"),
    yes("published"),
    yes("host_ip"),
    yes("protocol"),
    ignored("mode", "it is for clusters; every port is the host's"),
    ignored("name", "it is documentation"),
    ignored("app_protocol", "it is documentation"),
];

/// One of a service's `networks`.
pub(super) const JOIN: &[Key] = &[
    yes("aliases"),
    yes("ipv4_address"),
    yes("ipv6_address"),
    yes("mac_address"),
    yes("interface_name"),
    yes("priority"),
    yes("gw_priority"),
    no("driver_opts", NO_DRIVERS),
    no(
        "link_local_ips",
        "a container has one address of each family on a network",
    ),
];

/// One of `depends_on`.
pub(super) const DEPENDENCY: &[Key] = &[yes("condition"), yes("restart"), yes("required")];

/// `healthcheck`.
pub(super) const HEALTHCHECK: &[Key] = &[
    yes("test"),
    yes("interval"),
    yes("timeout"),
    yes("retries"),
    yes("start_period"),
    yes("start_interval"),
    yes("disable"),
];

/// `deploy`.
pub(super) const DEPLOY: &[Key] = &[
    yes("mode"),
    yes("replicas"),
    yes("resources"),
    yes("restart_policy"),
    ignored(
        "labels",
        "they are for services of a cluster; containers have the `labels` of the service",
    ),
    no("endpoint_mode", SWARM),
    no("placement", SWARM),
    no("rollback_config", SWARM),
    no("update_config", SWARM),
];

/// `deploy.resources`.
pub(super) const RESOURCES: &[Key] = &[yes("limits"), no("reservations", LIMITS_ONLY)];

/// `deploy.resources.limits`.
pub(super) const LIMITS: &[Key] = &[yes("cpus"), yes("memory"), yes("pids")];

/// `deploy.restart_policy`.
pub(super) const RESTART_POLICY: &[Key] =
    &[yes("condition"), yes("delay"), yes("max_attempts"), yes("window")];

/// One of a service's `volumes`.
pub(super) const MOUNT: &[Key] = &[
    yes("type"),
    yes("source"),
    yes("target"),
    yes("read_only"),
    yes("bind"),
    yes("volume"),
    yes("tmpfs"),
    ignored("consistency", "it is for macOS"),
    no("image", OF_IMAGES),
];

/// `bind` of a mount.
pub(super) const BIND: &[Key] = &[
    yes("create_host_path"),
    no(
        "propagation",
        "mounts are private; write others into the config.json of the bundle",
    ),
    no("recursive", "what is mounted below is mounted too"),
    no("selinux", "there is no support for SELinux"),
];

/// `volume` of a mount.
pub(super) const MOUNT_VOLUME: &[Key] = &[
    only_false("nocopy", "a new volume gets what the bundle has in its place"),
    no("labels", "write them into the volume's own `labels`"),
    no("subpath", "a volume is mounted as a whole"),
];

/// `tmpfs` of a mount.
pub(super) const MOUNT_TMPFS: &[Key] = &[yes("size"), yes("mode")];

/// One of a service's `configs` or `secrets`.
pub(super) const FILE_USE: &[Key] = &[yes("source"), yes("target"), yes("uid"), yes("gid"), yes("mode")];

/// `logging`.
pub(super) const LOGGING: &[Key] = &[yes("driver"), yes("options")];

/// `logging.options`.
pub(super) const LOGGING_OPTIONS: &[Key] = &[
    yes("max-size"),
    yes("max-file"),
    no("compress", "log files are plain text"),
    no("env", "lines carry the container's name and the time"),
    no("labels", "lines carry the container's name and the time"),
    no("tag", "lines carry the container's name and the time"),
];

/// A network.
pub(super) const NETWORK: &[Key] = &[
    yes("name"),
    yes("driver"),
    yes("driver_opts"),
    yes("internal"),
    yes("external"),
    yes("enable_ipv6"),
    yes("ipam"),
    yes("labels"),
    yes("x-policy"),
    only_false(
        "attachable",
        "it is for clusters; `minirun network connect` joins any container to any network",
    ),
    no("enable_ipv4", "every network has IPv4"),
];

/// `driver_opts` of a network.
pub(super) const NETWORK_OPTIONS: &[Key] = &[yes("com.docker.network.driver.mtu")];

/// `ipam` of a network.
pub(super) const IPAM: &[Key] = &[yes("driver"), yes("config"), no("options", NO_DRIVERS)];

/// One of `ipam.config`.
pub(super) const POOL: &[Key] = &[
    yes("subnet"),
    yes("gateway"),
    yes("ip_range"),
    no(
        "aux_addresses",
        "give `ip_range`: addresses outside of it are not given unasked",
    ),
];

/// `x-policy` of a network.
pub(super) const POLICY: &[Key] = &[yes("within"), yes("egress"), yes("rules")];

/// One of the `rules` of a policy.
pub(super) const RULE: &[Key] = &[yes("from"), yes("to"), yes("ports"), yes("rate"), yes("burst")];

/// A volume.
pub(super) const VOLUME: &[Key] = &[
    yes("name"),
    yes("external"),
    yes("labels"),
    yes("driver"),
    no("driver_opts", NO_DRIVERS),
];

/// A config.
pub(super) const CONFIG: &[Key] = &[
    yes("file"),
    yes("environment"),
    yes("content"),
    ignored("name", "it is for clusters"),
    ignored("labels", "they are for clusters"),
    only_false("external", "give it by `file`, `environment` or `content`"),
    no("template_driver", SWARM),
];

/// A secret.
pub(super) const SECRET: &[Key] = &[
    yes("file"),
    yes("environment"),
    ignored("name", "it is for clusters"),
    ignored("labels", "they are for clusters"),
    only_false("external", "give it by `file` or `environment`"),
    no(
        "content",
        "what stands in the file is no secret; give it by `file` or `environment`",
    ),
    no("driver", NO_DRIVERS),
    no("driver_opts", NO_DRIVERS),
    no("template_driver", SWARM),
];

/// Every section with the name of its table in docs/compose.md.
#[cfg(test)]
pub(super) const SECTIONS: &[(&str, &[Key])] = &[
    ("The file", TOP),
    ("services.NAME", SERVICE),
    ("services.NAME.extends", EXTENDS),
    ("services.NAME.env_file", ENV_FILE),
    ("services.NAME.ports", PORT),
    ("services.NAME.networks", JOIN),
    ("services.NAME.depends_on", DEPENDENCY),
    ("services.NAME.healthcheck", HEALTHCHECK),
    ("services.NAME.deploy", DEPLOY),
    ("services.NAME.deploy.resources", RESOURCES),
    ("services.NAME.deploy.resources.limits", LIMITS),
    ("services.NAME.deploy.restart_policy", RESTART_POLICY),
    ("services.NAME.volumes", MOUNT),
    ("services.NAME.volumes.bind", BIND),
    ("services.NAME.volumes.volume", MOUNT_VOLUME),
    ("services.NAME.volumes.tmpfs", MOUNT_TMPFS),
    ("services.NAME.configs and .secrets", FILE_USE),
    ("services.NAME.logging", LOGGING),
    ("services.NAME.logging.options", LOGGING_OPTIONS),
    ("networks.NAME", NETWORK),
    ("networks.NAME.driver_opts", NETWORK_OPTIONS),
    ("networks.NAME.ipam", IPAM),
    ("networks.NAME.ipam.config", POOL),
    ("networks.NAME.x-policy", POLICY),
    ("networks.NAME.x-policy.rules", RULE),
    ("volumes.NAME", VOLUME),
    ("configs.NAME", CONFIG),
    ("secrets.NAME", SECRET),
];
