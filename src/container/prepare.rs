//! Everything that `create` computes before its first side effect: config.json loaded, validated, and translated by every
//! room into its own plan.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::unistd::{Pid, Uid};
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};

use super::caller::Caller;
use super::files;
use super::network::{Mode, Network};
use super::notify;
use super::options::{Options, Terminal};
use super::ownership;
use super::record::Record;
use super::store::Store;
use crate::cgroup::systemd::{self, Instance, Property, Scope};
use crate::cgroup::{Cgroup, DefaultDevices, Layout, Limits, own_directories};
use crate::error::{Error, Kind, OsContext, Result};
use crate::init::{self, Choices};
use crate::log;
use crate::net;
use crate::process::Process;
use crate::resctrl;
use crate::rootfs::{self, CgroupMounts};
use crate::spec::id::Id;
use crate::spec::{self, load};

/// Everything computed from the configuration, before any side effect.
pub(super) struct Prepared {
    /// config.json as it will be kept.
    pub(super) config: Vec<u8>,
    /// What will be written first.
    pub(super) record: Record,
    /// For the control group.
    pub(super) limits: Limits,
    /// Who gets it.
    pub(super) cgroup_owner: Option<u32>,
    /// For resctrl.
    pub(super) resctrl: Option<resctrl::Plan>,
    /// For systemd's unit.
    pub(super) properties: Vec<Property>,
    /// What will be joined.
    pub(super) network: Network,
    /// Whose network namespace it will be in, when that is another container's.
    pub(super) shared: Option<Shared>,
    /// What moves into its network namespace.
    pub(super) devices: Vec<net::Device>,
    /// For the first process and its parent.
    pub(super) plan: init::Plan,
}

/// Loads, validates and plans.
///
/// # Errors
/// Anything that is wrong with the bundle or the options, by its field's path.
pub(super) fn prepare(store: &Store, caller: Caller, options: &Options) -> Result<Prepared> {
    let bundle = fs::canonicalize(&options.bundle).os("open bundle", options.bundle.display())?;
    let load::Loaded {
        mut spec,
        raw,
        warnings,
    } = load::load(&bundle)?;
    warnings.iter().for_each(log::warn);
    let network = Network::choose(&options.network, options.native, &spec)?;
    let shared = match &network.mode {
        Mode::Container(id) => Some(Shared::of(store, id)?),
        _ => None,
    };
    let namespace = |_: &Id| Ok(shared.as_ref().map(Shared::namespace).unwrap_or_default());
    let config = if network.adapt(&mut spec, namespace)? {
        serde_json::to_vec(&spec)
            .map_err(|error| Error::new(Kind::Os, format_args!("encode config.json: {error}")))?
    } else {
        raw
    };
    spec::validate::validate(&spec)?.iter().for_each(log::warn);
    check_terminal(&spec, &options.terminal)?;
    if !caller.is_root {
        check_unprivileged(&spec, &network)?;
    }
    net::check(&net::Dirs::default(), network.endpoints())?;

    let layout = Layout::detect()?;
    let linux = spec.linux().as_ref();
    let cgroups_path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let id = options.id.as_str();
    let permitted;
    let mut scope = None;
    let (available, cgroup) = if caller.without_cgroups {
        (&layout, Cgroup::None)
    } else if caller.systemd {
        let (unit, cgroup) = plan_scope(&layout, caller, cgroups_path, id)?;
        scope = Some(unit);
        (&layout, cgroup)
    } else if caller.is_rootless() {
        let (part, cgroup) = Cgroup::plan_where_permitted(&layout, cgroups_path, id)?;
        permitted = part;
        (&permitted, cgroup)
    } else {
        (&layout, Cgroup::plan(&layout, cgroups_path, id)?)
    };
    let limits = Limits::plan(
        linux.and_then(|linux| linux.resources().as_ref()),
        available,
        match default_devices(&spec)? {
            _ if caller.is_rootless() || caller.without_cgroups => DefaultDevices::Unenforced,
            asked => asked,
        },
    )?;
    limits.warnings().iter().for_each(log::warn);
    if cgroup == Cgroup::None {
        limits.refuse_any()?;
    }
    let resctrl = linux
        .and_then(|linux| linux.intel_rdt().as_ref())
        .map(|asked| resctrl::Plan::new(asked, id, resctrl::Mount::find))
        .transpose()?;
    let properties = match &scope {
        None => Vec::new(),
        Some(_) => unit_properties(&spec, &limits)?,
    };

    let namespaces = init::namespaces::Plan::new(&spec);
    let directory = store.directory(&options.id);
    let mut extra = match (&shared, network.endpoints()) {
        (Some(shared), _) => files::binds(&shared.directory),
        (None, []) => Vec::new(),
        (None, _) => files::binds_to_be(&directory),
    };
    if options.notify.is_some() {
        extra.push(notify::bind_to_be(&directory));
    }
    let own_cgroup_namespace = namespaces.has(LinuxNamespaceType::Cgroup);
    let cgroups = cgroup_mounts(&cgroup, &layout, own_cgroup_namespace);
    let rootfs = rootfs::Plan::new(&spec, &bundle, &cgroups, &extra, options.no_pivot)?;
    rootfs.check_host()?;
    rootfs.warnings().iter().for_each(log::warn);
    let mut record = Record {
        id: options.id.clone(),
        oci_version: spec.version().clone(),
        rootfs: bundle.join(
            spec.root()
                .as_ref()
                .map(|root| root.path().as_path())
                .unwrap_or(Path::new("")),
        ),
        bundle,
        created: log::Rfc3339(SystemTime::now()).to_string(),
        owner: owner(),
        annotations: spec
            .annotations()
            .clone()
            .unwrap_or_default()
            .into_iter()
            .collect(),
        creator: Some(Process::of(Pid::this())?),
        init: None,
        hook: None,
        cgroup,
        resctrl: None,
        scope,
        shares_pid_namespace: !namespaces.creates(LinuxNamespaceType::Pid),
        shares_keyring: options.no_new_keyring,
        hostname: String::new(),
        dns: network.dns.clone(),
        networks: network
            .endpoints()
            .iter()
            .map(|endpoint| endpoint.network.clone())
            .collect(),
        attachment: net::Attachment::default(),
    };
    let keyring = record.keyring();
    let choices = Choices {
        keep: options.keep,
        keyring: keyring.as_deref(),
        notify: options.notify.as_ref().map(|_| notify::IN_CONTAINER),
        unprivileged: !caller.is_root,
    };
    let mut plan = init::Plan::new(&spec, rootfs, record.state(), choices)?;
    if let Some(process) = &plan.process {
        process.labels.check()?;
    }
    if !network.endpoints().is_empty() && plan.namespaces.creates(LinuxNamespaceType::Uts) {
        // On a network a container needs a name that is its own.
        plan.hostname
            .get_or_insert_with(|| options.id.as_str().chars().take(63).collect());
    }
    record.hostname = plan.hostname.clone().unwrap_or_else(|| options.id.to_string());
    Ok(Prepared {
        config,
        record,
        limits,
        cgroup_owner: ownership::owner(&spec),
        resctrl,
        properties,
        network,
        shared,
        devices: devices(&spec)?,
        plan,
    })
}

/// `linux.netDevices`, in the words of networks.
fn devices(spec: &Spec) -> Result<Vec<net::Device>> {
    let planned = spec::net_device::plan(spec)?;
    let device = |device: spec::net_device::NetDevice| net::Device {
        name: device.name,
        target: device.target,
        field: device.field,
    };
    Ok(planned.into_iter().map(device).collect())
}

/// Another container whose network namespace is shared.
pub(super) struct Shared {
    /// It keeps the namespace.
    pub(super) process: Process,
    directory: PathBuf,
}

impl Shared {
    fn of(store: &Store, id: &Id) -> Result<Shared> {
        let field = format!("--network container:{id}");
        let (entry, record) = store.read(id).map_err(|error| error.during(&field))?;
        match record.init {
            Some(process) if process.is_alive()? => Ok(Shared {
                process,
                directory: entry.path().to_owned(),
            }),
            _ => Err(Error::new(
                Kind::WrongState,
                format_args!("{field}: container {id} has stopped, and its network with it"),
            )
            .hint("start it first")),
        }
    }

    /// By number: whether the number still means this process has to be seen after it was used.
    fn namespace(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.process.pid))
    }
}

/// Set to `false` in config.json it leaves only the devices that the configuration itself allows.
pub(super) const DEFAULT_DEVICES_ANNOTATION: &str = "minirun.default-devices";

/// Whether the devices that every container needs are allowed behind its own rules.
///
/// # Errors
/// The annotation is neither true nor false.
pub(super) fn default_devices(spec: &Spec) -> Result<DefaultDevices> {
    let annotation = spec
        .annotations()
        .as_ref()
        .and_then(|annotations| annotations.get(DEFAULT_DEVICES_ANNOTATION));
    match annotation.map(String::as_str) {
        None | Some("true") => Ok(DefaultDevices::Allow),
        Some("false") => Ok(DefaultDevices::Omit),
        Some(other) => Err(Error::invalid(
            format_args!("annotations[{DEFAULT_DEVICES_ANNOTATION:?}]"),
            format_args!("{other:?} is neither \"true\" nor \"false\""),
        )),
    }
}

fn plan_scope(
    layout: &Layout,
    caller: Caller,
    cgroups_path: Option<&Path>,
    id: &str,
) -> Result<(Scope, Cgroup)> {
    if !caller.is_rootless() {
        return Scope::plan(layout, Instance::System, cgroups_path, id);
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) => Scope::plan(layout, Instance::User(Path::new(&directory)), cgroups_path, id),
        None => Err(Error::invalid(
            "--systemd-cgroup",
            "an ordinary user's systemd is found by XDG_RUNTIME_DIR, which is not set",
        )),
    }
}

/// What systemd is told of a container: its limits, then what annotations say.
fn unit_properties(spec: &Spec, limits: &Limits) -> Result<Vec<Property>> {
    let mut properties = limits.properties();
    let mut asked: Vec<_> = spec.annotations().iter().flatten().collect();
    asked.sort();
    for (annotation, text) in asked {
        if annotation.starts_with(systemd::ANNOTATION_PREFIX) {
            let property = systemd::of_annotation(annotation, text)?;
            properties.retain(|(name, _)| *name != property.0);
            properties.push(property);
        }
    }
    Ok(properties)
}

/// The container's own control group, in the words of a mount.
fn cgroup_mounts(cgroup: &Cgroup, layout: &Layout, private: bool) -> CgroupMounts {
    // A container without one is in the caller's.
    let directories = match cgroup {
        Cgroup::None => own_directories(layout),
        own => own.directories(),
    };
    match layout {
        Layout::V1(_) => CgroupMounts::V1 {
            controllers: directories,
        },
        Layout::V2(mount) => CgroupMounts::V2 {
            own: directories
                .into_iter()
                .next()
                .map(|(_, directory)| directory)
                .unwrap_or_default(),
            hierarchy: mount.clone(),
            private,
        },
    }
}

/// What an ordinary user's container has to do without.
fn check_unprivileged(spec: &Spec, network: &Network) -> Result<()> {
    if !network.endpoints().is_empty() {
        return Err(Error::new(
            Kind::Unsupported,
            "--network: permission denied: minirun's networks need root's privileges",
        )
        .hint("call it as root, or with --network none or --network host"));
    }
    let namespaces = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.namespaces().as_deref());
    let is_user = |namespace: &LinuxNamespace| namespace.typ() == LinuxNamespaceType::User;
    if namespaces.unwrap_or_default().iter().any(is_user) {
        return Ok(());
    }
    Err(Error::invalid(
        "linux.namespaces",
        "permission denied: rootless container requires user namespaces",
    )
    .hint("call minirun as root, or see the configuration that `minirun spec --rootless` writes"))
}

fn check_terminal(spec: &Spec, terminal: &Terminal) -> Result<()> {
    let wanted = spec
        .process()
        .as_ref()
        .and_then(|process| process.terminal())
        .unwrap_or(false);
    match (wanted, terminal) {
        (true, Terminal::Nobody) => Err(Error::invalid(
            "process.terminal",
            "cannot allocate tty if runc will detach without setting console socket",
        )
        .hint("give --console-socket, or set process.terminal to false")),
        (false, Terminal::Socket(_)) => Err(Error::invalid(
            "--console-socket",
            "cannot use console socket if runc will not detach or allocate tty",
        )
        .hint("set process.terminal to true")),
        _ => Ok(()),
    }
}

/// The caller's name for `list`; the number when it has none. passwd is read by hand: a static binary has no NSS.
fn owner() -> String {
    let uid = Uid::current().as_raw();
    let passwd = fs::read("/etc/passwd").unwrap_or_default();
    spec::user::name(&passwd, uid).unwrap_or_else(|| format!("#{uid}"))
}
