//! What a hostile image or container tries: the runtime's binary, its descriptors and memory, the host's devices, cgroups
//! and files. A container that may do more than the default one is used where the default one could not even try.

use std::ffi::CString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use serde_json::json;

use crate::harness::{Container, Host, Running, skip, wait_until};

/// A copy of the runtime's binary that no other scenario runs: a running program cannot be written anyway.
struct Binary {
    path: PathBuf,
    before: u64,
}

impl Binary {
    fn copy(host: &Host) -> Binary {
        let path = host.dir().join("runtime");
        fs::copy(host.binary(), &path).unwrap();
        let before = hash(&path);
        Binary { path, before }
    }

    fn container<'h>(&self, host: &'h Host, name: &str) -> Container<'h> {
        host.peer(self.path.to_str().unwrap(), name).unwrap()
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(
            hash(&self.path),
            self.before,
            "the runtime's binary was overwritten"
        );
    }
}

fn hash(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    fs::read(path).unwrap().hash(&mut hasher);
    hasher.finish()
}

fn with_capability<'h>(container: Container<'h>, name: &str) -> Container<'h> {
    container.edit(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!([name]);
        }
    })
}

/// An `exec` that stands still inside the container right before its program: the runtime waits for a socket whose
/// queue is full.
struct HeldExec {
    runtime: Running,
    socket: OwnedFd,
    /// The process that has entered the container, by the host's number.
    process: i32,
}

impl HeldExec {
    fn in_container(host: &Host, container: &Container<'_>) -> HeldExec {
        let path = host.dir().join(host.unique("full"));
        let listener = socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let first = UnixStream::connect(&path).unwrap();
        let options = ["--pidfd-socket", path.to_str().unwrap(), container.id(), "true"];
        let runtime = container.verb("exec").args(options).spawn();
        let connecting = format!("{} ", nix::libc::SYS_connect);
        wait_until("the runtime waits for the socket", || {
            fs::read_to_string(format!("/proc/{}/syscall", runtime.pid()))
                .is_ok_and(|call| call.starts_with(&connecting))
        });
        drop(first);
        let children = format!("/proc/{0}/task/{0}/children", runtime.pid());
        let process = fs::read_to_string(children).unwrap().trim().parse().unwrap();
        HeldExec {
            runtime,
            socket: listener,
            process,
        }
    }

    /// The process' number in the container's pid namespace.
    fn pid_inside(&self) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process)).unwrap();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        numbers.unwrap().split_whitespace().last().unwrap().to_owned()
    }

    /// The socket goes, and with it what the exec waits for.
    fn release(self) {
        drop(self.socket);
        self.runtime.wait();
    }
}

#[test]
fn a_process_that_enters_the_container_shows_it_nothing() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    let held = HeldExec::in_container(&host, &web);
    let look = |pid: &str| {
        let script = format!(
            "cd /proc/{pid}; for link in exe cwd root fd/0; do readlink $link && echo seen; done
             for file in maps environ auxv; do head -c 0 $file && echo seen; done; true"
        );
        let output = web.exec(["sh", "-c", &script]).succeeds();
        output.lines().iter().filter(|line| **line == "seen").count()
    };
    assert_eq!(look("1"), 7, "an ordinary process of the container shows all");
    assert_eq!(look(&held.pid_inside()), 0);
    held.release();
}

#[test]
fn a_container_that_may_trace_cannot_write_to_the_runtimes_binary() {
    let host = Host::new();
    let binary = Binary::copy(&host);
    let web = with_capability(binary.container(&host, "web"), "CAP_SYS_PTRACE")
        .sleeping()
        .running();
    let held = HeldExec::in_container(&host, &web);
    // Opened while the runtime is there, written when the kernel no longer guards it as a running program.
    let script = format!(
        "exec 3</proc/{}/exe && touch /opened; until [ -e /go ]; do sleep 0.01; done
         (echo x >>/proc/self/fd/3) 2>/errors; (echo x >/proc/self/fd/3) 2>>/errors; touch /done",
        held.pid_inside()
    );
    web.exec_with(&["-d"], ["sh", "-c", &script]).succeeds();
    wait_until("the binary is open", || web.rootfs().join("opened").exists());
    held.release();
    fs::write(web.rootfs().join("go"), "").unwrap();
    wait_until("the attacker is done", || web.rootfs().join("done").exists());
    binary.assert_untouched();
    let errors = fs::read_to_string(web.rootfs().join("errors")).unwrap();
    assert_eq!(errors.matches("Read-only file system").count(), 2, "{errors}");
}

#[test]
fn a_binary_on_a_read_only_mount_is_copied_all_the_same() {
    // An update of such a host makes the mount writable for a while.
    let host = Host::new();
    let usr = host.dir().join("usr");
    fs::create_dir(&usr).unwrap();
    let path = usr.join("runtime");
    fs::copy(host.binary(), &path).unwrap();
    let usr = usr.display();
    host.sh(&format!(
        "mount --bind {usr} {usr}; mount -o remount,bind,ro {usr}"
    ));
    let web = host.peer(path.to_str().unwrap(), "web").unwrap().sleeping();
    let web = web.created();
    let copy = fs::read_link(format!("/proc/{}/exe", web.pid())).unwrap();
    assert_eq!(copy, Path::new("/"), "the root of a mount of its own");
    drop(web);
    host.sh(&format!("umount {usr}"));
}

/// An ELF program of nothing but the wish to be run by /proc/self/exe (elf(5): a header and one PT_INTERP segment).
fn elf_interpreted_by_the_runtime() -> Vec<u8> {
    const INTERPRETER: &[u8] = b"/proc/self/exe\0";
    const HEADER: usize = 64;
    const SEGMENT: usize = 56;
    let machine: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([3_u16.to_le_bytes(), machine.to_le_bytes()].concat()); // ET_DYN
    elf.extend(1_u32.to_le_bytes());
    elf.extend([0, HEADER as u64, 0].map(u64::to_le_bytes).concat()); // entry, program headers, sections
    elf.extend(0_u32.to_le_bytes());
    elf.extend(
        [HEADER as u16, SEGMENT as u16, 1, 0, 0, 0]
            .map(u16::to_le_bytes)
            .concat(),
    );
    elf.extend([3_u32, 4].map(u32::to_le_bytes).concat()); // PT_INTERP, readable
    let (offset, length) = ((HEADER + SEGMENT) as u64, INTERPRETER.len() as u64);
    elf.extend(
        [offset, offset, offset, length, length, 1]
            .map(u64::to_le_bytes)
            .concat(),
    );
    elf.extend(INTERPRETER);
    elf
}

#[test]
fn programs_that_name_the_runtime_as_their_interpreter_do_not_reach_its_binary() {
    let host = Host::new();
    let binary = Binary::copy(&host);
    let victim = |args: [&'static str; 1]| {
        let container = binary.container(&host, "victim").args(args);
        fs::write(container.rootfs().join("script"), "#!/proc/self/exe\n").unwrap();
        fs::write(container.rootfs().join("elf"), elf_interpreted_by_the_runtime()).unwrap();
        host.sh(&format!(
            "cd {}; chmod 755 script elf",
            container.rootfs().display()
        ));
        container
    };
    for entry in ["/script", "/elf"] {
        victim([entry]).run();
        let running = victim([entry]).sleeping().running();
        running.exec([entry]);
    }
    binary.assert_untouched();
}

#[test]
fn no_hook_and_no_waiting_process_holds_a_descriptor_of_the_runtime() {
    let host = Host::new();
    let log = host.dir().join("log");
    // The shell's own descriptor of its script is 10.
    let script = "for n in 3 4 5 6 7 8 9 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
        [ ! -e /proc/self/fd/$n ] || echo \"$1 has $n: $(readlink /proc/self/fd/$n)\"; done; echo \"$1 ran\"";
    let mut container = host.container("hooked").sleeping();
    let hook = host.dir().join("hook");
    fs::write(
        &hook,
        format!("#!/bin/busybox sh\n({script}) >>{}\n", log.display()),
    )
    .unwrap();
    fs::write(
        container.rootfs().join("hook"),
        format!("#!/bin/busybox sh\n({script}) >>/log\n"),
    )
    .unwrap();
    host.sh(&format!(
        "chmod 755 {} {}/hook",
        hook.display(),
        container.rootfs().display()
    ));
    let points = [
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ];
    for point in points {
        let path = if point == "startContainer" {
            Path::new("/hook")
        } else {
            &hook
        };
        let entry = json!({"path": path, "args": ["hook", point], "env": ["PATH=/bin"]});
        container = container.push(&format!("/hooks/{point}"), entry);
    }
    let create = container.verb("create").after("exec 3</ 4</etc/passwd 9</ 20</");
    container.complete_create(create).succeeds();
    // A directory would lead out of the container (CVE-2024-21626).
    for descriptor in fs::read_dir(format!("/proc/{}/fd", container.pid())).unwrap() {
        let path = descriptor.unwrap().path();
        assert!(!path.is_dir(), "{} is {:?}", path.display(), fs::read_link(&path));
    }
    container.start().succeeds();
    container.delete_force().succeeds();
    let mut said = fs::read_to_string(&log).unwrap();
    said += &fs::read_to_string(container.rootfs().join("log")).unwrap();
    let mut lines: Vec<&str> = said.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "createContainer ran",
            "createRuntime ran",
            "poststart ran",
            "poststop ran",
            "startContainer ran"
        ]
    );
}

#[test]
fn a_descriptor_that_the_caller_forgot_is_no_way_out() {
    let host = Host::new();
    let go = |container: &Container<'_>, verb: &[&str], rest: &[&str]| {
        let command = container
            .verb(verb[0])
            .after("exec 3</ 9</")
            .args(verb[1..].iter().copied());
        let output = command.args(rest.iter().copied()).output();
        assert!(output.code != 0, "the host's root is in reach: {output}");
    };
    for path in ["/proc/self/fd/3", "/proc/self/fd/9", "/proc/self/fd/3/tmp"] {
        let container = host
            .container("leaky")
            .edit(|config| config["process"]["cwd"] = json!(path));
        go(&container, &["run"], &container.bundle_and_id());
        let web = host.container("web").sleeping().running();
        go(&web, &["exec", "--cwd", path], &[web.id(), "true"]);
        go(&web, &["exec"], &[web.id(), &format!("{path}/bin/true")]);
    }
}

#[test]
fn the_hosts_cgroups_cannot_be_written() {
    let host = Host::new();
    let script = "for group in /sys/fs/cgroup /sys/fs/cgroup/*/; do
        mkdir $group/new && echo made $group
        for file in $group/cgroup.procs $group/tasks $group/*.max $group/*limit_in_bytes; do
            [ -e $file ] && (echo 0 >$file) && echo wrote $file
        done; done; true";
    for namespace in [true, false] {
        let mut container = host.container("cgroups").sh(script);
        if !namespace {
            container = container.without_namespace("cgroup");
        }
        let output = container.run().succeeds();
        let written: Vec<&str> = output
            .lines()
            .into_iter()
            .filter(|line| !line.contains('*'))
            .collect();
        assert_eq!(written, [""; 0]);
        assert!(output.stderr.contains("Read-only file system"), "{output}");
    }
}

#[test]
fn a_disk_of_the_host_cannot_be_opened_by_a_node_of_ones_own() {
    let partitions = fs::read_to_string("/proc/partitions").unwrap();
    let disk = partitions.lines().skip(2).find_map(|line| {
        let mut fields = line.split_whitespace();
        Some((fields.next()?, fields.next()?))
    });
    let Some((major, minor)) = disk else {
        skip!("needs a disk")
    };
    let host = Host::new();
    let script =
        format!("mknod /tmp/disk b {major} {minor} && echo made; dd if=/tmp/disk of=/dev/null count=1");
    let container = with_capability(host.container("disk").sh(&script), "CAP_MKNOD");
    let output = container.run().exits(1).fails_with(&["Operation not permitted"]);
    assert_eq!(output.stdout, "made\n");
    // By exec too: the rules are the cgroup's.
    let web = with_capability(host.container("disk").sleeping(), "CAP_MKNOD").running();
    web.exec(["sh", "-c", &script])
        .exits(1)
        .fails_with(&["Operation not permitted"]);
}

/// Every path below `dir` with its content.
fn tree(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path.clone());
            }
            found.push((path.clone(), fs::read(&path).unwrap_or_default()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_rename_race_on_a_shared_volume_does_not_lead_to_the_host() {
    const ROUNDS: u32 = 30;
    let host = Host::new();
    let canary = host.dir().join("canary");
    fs::create_dir_all(canary.join("scratch")).unwrap();
    for name in ["file", "secret", "fixed"] {
        fs::write(canary.join(name), name).unwrap();
    }
    let volume = host.dir().join("volume");
    fs::create_dir_all(volume.join("data")).unwrap();
    symlink(&canary, volume.join("trap")).unwrap();
    let before = tree(&canary);

    let done = AtomicBool::new(false);
    let mut succeeded = 0;
    std::thread::scope(|scope| {
        let path =
            |name: &str| CString::new(volume.join(name).into_os_string().into_encoded_bytes()).unwrap();
        let (data, trap) = (path("data"), path("trap"));
        let done = &done;
        // What another container with the same volume would do.
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                let exchange = RenameFlags::RENAME_EXCHANGE;
                renameat2(AT_FDCWD, data.as_c_str(), AT_FDCWD, trap.as_c_str(), exchange).unwrap();
            }
        });
        for _ in 0..ROUNDS {
            let container = host
                .container("raced")
                .push(
                    "/mounts",
                    json!({"destination": "/volume", "source": volume, "options": ["rbind", "rw"]}),
                )
                .push(
                    "/mounts",
                    json!({"destination": "/volume/data/scratch", "type": "tmpfs"}),
                )
                .push(
                    "/mounts",
                    json!({"destination": "/volume/data/made/deep", "type": "tmpfs"}),
                )
                .push(
                    "/mounts",
                    json!({"destination": "/volume/data/file", "source": "/etc/passwd", "options": ["bind"]}),
                )
                .edit(|config| {
                    config["linux"]["maskedPaths"] = json!(["/volume/data/secret"]);
                    config["linux"]["readonlyPaths"] = json!(["/volume/data/fixed"]);
                    config["process"]["cwd"] = json!("/volume/data/cwd");
                });
            succeeded += u32::from(container.run().code == 0);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(succeeded > 0, "no container was made at all");
    assert_eq!(tree(&canary), before);
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", host.pid())).unwrap();
    assert!(!mounts.contains("canary"), "{mounts}");
}

#[test]
fn a_null_device_that_the_image_replaced_masks_nothing() {
    let host = Host::new();
    let secret = host.dir().join("secret");
    fs::write(&secret, "secret of the host").unwrap();
    let container = host
        .container("null")
        .sh("cat /dev/null /masked; echo x >/dev/null; echo x >/masked; true")
        .edit(|config| {
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
            config["linux"]["maskedPaths"] = json!(["/masked"]);
        });
    fs::create_dir_all(container.rootfs().join("dev")).unwrap();
    fs::write(container.rootfs().join("masked"), "masked").unwrap();
    symlink(&secret, container.rootfs().join("dev/null")).unwrap();
    let output = container.run();
    assert!(!output.stdout.contains("secret"), "{output}");
    assert!(!output.stdout.contains("masked"), "{output}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret of the host");
}

/// Kernel parameters and labels are written through the runtime's procfs, so a made-up one in the image gets nothing.
#[test]
fn a_proc_that_the_image_made_up_is_not_written_to() {
    let host = Host::new();
    let container = host.container("proc").args(["sleep", "1000"]).edit(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/proc");
        config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
        config["linux"].as_object_mut().unwrap().remove("maskedPaths");
        config["linux"].as_object_mut().unwrap().remove("readonlyPaths");
    });
    let proc = container.rootfs().join("proc");
    let fakes = [
        "sys/net/ipv4/ip_forward",
        "self/attr/exec",
        "self/attr/keycreate",
        "self/attr/apparmor/exec",
    ];
    for fake in fakes.map(|fake| proc.join(fake)) {
        fs::create_dir_all(fake.parent().unwrap()).unwrap();
        fs::write(fake, "made up").unwrap();
    }
    let container = container.running();
    for option in ["--apparmor", "--process-label"] {
        let output = container.exec_with(&[option, "no-such-thing"], ["true"]);
        output.fails_with(&["no-such-thing"]);
    }
    for fake in fakes.map(|fake| proc.join(fake)) {
        assert_eq!(
            fs::read_to_string(&fake).unwrap(),
            "made up",
            "{}",
            fake.display()
        );
    }
    let real = format!(
        "nsenter --target {} --net cat /proc/sys/net/ipv4/ip_forward",
        container.pid()
    );
    assert_eq!(host.sh(&real).succeeds().stdout, "1\n");
}
