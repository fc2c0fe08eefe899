//! Root file systems that try to reach the host. Each test has a directory of the host as a canary.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use serde_json::json;

use super::{Host, mounts, mounts_below, on_a_host};

fn tmpfs_at(path: &str) -> serde_json::Value {
    mounts(json!([{"destination": path, "type": "tmpfs"}]))
}

#[test]
fn a_dev_that_links_to_the_host_gets_no_devices_there() {
    on_a_host(|host| {
        host.link("/dev", &host.canary);
        for config in [tmpfs_at("/dev"), json!({})] {
            let error = host.mount(config).unwrap_err().to_string();
            assert!(
                error.contains("/dev of the container: too many symbolic links encountered"),
                "{error}"
            );
        }
        host.assert_canary_untouched();
    });
}

#[test]
fn a_proc_or_sys_that_is_a_link_is_refused() {
    on_a_host(|host| {
        host.mkdir("/real");
        for (name, target) in [("/proc", "/real"), ("/sys", "real"), ("/up", "../../canary")] {
            host.link(name, target);
            let fs_type = if name == "/sys" { "sysfs" } else { "proc" };
            let config = mounts(json!([{"destination": name, "type": fs_type}]));
            let error = host.mount(config).unwrap_err().to_string();
            assert!(
                error.contains("no part of this path may be a symbolic link"),
                "{error}"
            );
        }
        host.assert_canary_untouched();
        assert_eq!(mounts_below(&host.inside("/real")), 0);
    });
}

#[test]
fn links_to_the_host_end_inside_the_root() {
    on_a_host(|host| {
        host.link("/absolute", &host.canary);
        host.link("/relative", "../../../../canary");
        host.link("/climb", "../../canary/new");
        for path in ["/absolute/a", "/relative/b", "/climb"] {
            host.mount(tmpfs_at(path)).unwrap();
            let file = json!([{"destination": format!("{path}/f/file"), "source": host.bundle, "options": ["bind"]}]);
            host.mount(mounts(file)).unwrap();
        }
        host.assert_canary_untouched();
        // The targets were made below the root instead.
        assert!(host.inside(host.canary.to_str().unwrap()).join("a").is_dir());
        assert!(host.inside("/canary/b").is_dir());
        assert!(host.inside("/canary/new").is_dir());
    });
}

#[test]
fn a_dangling_link_as_mount_point_is_completed_inside_the_root() {
    on_a_host(|host| {
        host.mkdir("/etc");
        host.link("/etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf");
        let source = host.canary.join("alive");
        let config = json!([{"destination": "/etc/resolv.conf", "source": source, "options": ["bind"]}]);
        host.mount(mounts(config)).unwrap();
        assert_eq!(
            fs::read_to_string(host.inside("/run/systemd/resolve/stub-resolv.conf")).unwrap(),
            "yes"
        );
    });
}

#[test]
fn link_loops_are_an_error() {
    on_a_host(|host| {
        host.link("/a", "b/x");
        host.link("/b", "/a");
        host.mkdir("/deep");
        host.link("/deep/self", "self/missing");
        for path in ["/a", "/b/c", "/deep/self/y"] {
            let error = host.mount(tmpfs_at(path)).unwrap_err().to_string();
            assert!(error.contains("too many symbolic links encountered"), "{error}");
        }
    });
}

#[test]
fn a_link_to_a_magic_link_does_not_lead_to_the_host() {
    on_a_host(|host| {
        let config = json!([
            {"destination": "/proc", "type": "proc"},
            {"destination": "/exit/x", "type": "tmpfs"},
        ]);
        host.mkdir("/proc");
        for target in ["/proc/self/root", "/proc/self/cwd", "/proc/1/root"] {
            let _ = fs::remove_file(host.inside("/exit"));
            host.link("/exit", format!("{target}{}", host.canary.display()));
            host.mount(mounts(config.clone())).unwrap_err();
            host.assert_canary_untouched();
        }
    });
}

#[test]
fn another_name_for_proc_does_not_open_it_for_mounts() {
    on_a_host(|host| {
        host.link("/alias", "/proc/sys");
        let config = json!([
            {"destination": "/proc", "type": "proc"},
            {"destination": "/alias/kernel", "type": "tmpfs"},
        ]);
        let error = host.mount(mounts(config)).unwrap_err().to_string();
        assert!(
            error.contains("\"/alias/kernel\" cannot be mounted because it is inside /proc"),
            "{error}"
        );
    });
}

#[test]
fn a_device_directory_that_links_to_the_host_stays_inside() {
    on_a_host(|host| {
        host.mkdir("/dev");
        host.link("/dev/sub", &host.canary);
        let devices = json!([{"path": "/dev/sub/null", "type": "c", "major": 1, "minor": 3}]);
        host.mount(json!({"linux": {"devices": devices}})).unwrap();
        host.assert_canary_untouched();
    });
}

#[test]
fn a_device_name_that_is_a_link_to_a_host_file_is_not_followed() {
    on_a_host(|host| {
        host.mkdir("/dev");
        host.link("/dev/null", host.canary.join("made"));
        host.mount(json!({})).unwrap_err();
        host.assert_canary_untouched();
    });
}

#[test]
fn a_console_is_not_bound_through_a_link() {
    on_a_host(|host| {
        host.mkdir("/dev");
        host.link("/dev/console", host.canary.join("alive"));
        let plan = host.plan(tmpfs_at("/tmp")).unwrap();
        let rootfs = plan.open(Vec::new()).unwrap();
        let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
        let error = rootfs
            .root()
            .bind_file(null.as_fd(), "/dev/console")
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "bind mount on /dev/console: too many symbolic links encountered; it must not be a symbolic link"
        );
        fs::remove_file(host.inside("/dev/console")).unwrap();
        rootfs.root().bind_file(null.as_fd(), "/dev/console").unwrap();
        assert!(fs::metadata(host.inside("/dev/console")).unwrap().len() == 0);
        assert_eq!(mounts_below(&host.inside("/dev/console")), 1);
    });
}

#[test]
fn a_masked_path_that_is_a_link_is_refused() {
    on_a_host(|host| {
        host.mkdir("/dev");
        host.mkdir("/secret");
        host.link("/alias", "/secret");
        for property in ["maskedPaths", "readonlyPaths"] {
            let plan = host.plan(json!({"linux": {property: ["/alias"]}})).unwrap();
            let error = enter_in_child_namespace(move || {
                let mut rootfs = plan.open(Vec::new())?;
                rootfs.mount_all()?;
                rootfs.pivot()
            });
            assert!(
                error.contains(&format!(
                    "linux.{property}: /alias is or lies behind a symbolic link"
                )),
                "{error}"
            );
        }
    });
}

#[test]
fn a_null_device_that_is_a_file_is_not_used_as_a_mask() {
    on_a_host(|host| {
        host.mkdir("/fakedev");
        fs::write(host.inside("/fakedev/null"), "secret").unwrap();
        fs::write(host.inside("/file"), "hide me").unwrap();
        // A bound /dev is left as it is, so the image decides what /dev/null is.
        let bind = json!([{"destination": "/dev", "source": host.inside("/fakedev"), "options": ["bind"]}]);
        let plan = host
            .plan(json!({"mounts": bind, "linux": {"maskedPaths": ["/file"]}}))
            .unwrap();
        let error = enter_in_child_namespace(move || {
            let mut rootfs = plan.open(Vec::new())?;
            rootfs.mount_all()?;
            rootfs.pivot()
        });
        assert!(error.contains("is not the null device"), "{error}");
    });
}

/// Runs what changes the root of its thread on a thread of its own; gives the text of its error.
fn enter_in_child_namespace(enter: impl FnOnce() -> crate::error::Result<()> + Send + 'static) -> String {
    use nix::sched::{CloneFlags, unshare};
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).unwrap();
        enter()
    });
    thread.join().unwrap().unwrap_err().to_string()
}

/// Swaps `a` and `b` in the root without pause while `attack` runs.
fn while_swapping(host: &Host, a: &str, b: &str, attack: impl FnOnce()) {
    let directory = open(&host.rootfs(), OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    let (a, b) = (
        std::ffi::CString::new(a).unwrap(),
        std::ffi::CString::new(b).unwrap(),
    );
    let done = AtomicBool::new(false);
    let swaps = std::thread::scope(|scope| {
        let racer = scope.spawn(|| {
            let mut swaps = 0u64;
            while !done.load(Ordering::Relaxed) {
                crate::sys::fs::exchange(&directory, &a, &b).unwrap();
                swaps += 1;
            }
            swaps
        });
        // The racer ends even when the attack panics, else the scope would wait for ever.
        struct Done<'a>(&'a AtomicBool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let stop = Done(&done);
        attack();
        drop(stop);
        racer.join().unwrap()
    });
    assert!(swaps > 0);
}

#[test]
fn a_racing_rename_never_makes_or_mounts_anything_on_the_host() {
    const ROUNDS: u32 = 10_000;
    on_a_host(|host| {
        // `dir` is a directory at one moment and a link to the host at the next.
        host.mkdir("/dir");
        host.link("/trap", &host.canary);
        let plan = host.plan(json!({})).unwrap();
        let rootfs = plan.open(Vec::new()).unwrap();
        let null = open("/dev/null", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
        let (mut made, mut bound) = (0, 0);
        while_swapping(host, "dir", "trap", || {
            for round in 0..ROUNDS {
                let path = std::ffi::CString::new(format!("/dir/sub{round}/leaf")).unwrap();
                made += u32::from(rootfs.root().make_directory(&path).is_ok());
                if round % 10 == 0 {
                    let file = format!("/dir/file{round}");
                    bound += u32::from(rootfs.root().bind_file(null.as_fd(), &file).is_ok());
                }
            }
        });
        host.assert_canary_untouched();
        assert!(
            made > 0 && bound > 0,
            "made {made}, bound {bound}: the race did not take place"
        );
    });
}

#[test]
fn a_racing_rename_never_moves_a_whole_mount_set_to_the_host() {
    const ROUNDS: u32 = 300;
    on_a_host(|host| {
        host.mkdir("/dev/pts");
        host.mkdir("/data");
        host.link("/trap", &host.canary);
        host.link("/swap", &host.canary);
        let source = host.bundle.join("volume");
        fs::create_dir(&source).unwrap();
        let bundle = host.bundle.clone();
        let config = json!([
            {"destination": "/data/volume", "source": source, "options": ["rbind", "ro", "rprivate"]},
            {"destination": "/data/scratch", "type": "tmpfs", "options": ["mode=700"]},
            {"destination": "/data/proc", "type": "proc"},
        ]);
        let plan = host.plan(mounts(config)).unwrap();
        while_swapping(host, "data", "trap", || {
            for _ in 0..ROUNDS {
                let _ = plan.open(Vec::new()).and_then(|mut rootfs| rootfs.mount_all());
                clear_mounts(&bundle);
            }
        });
        host.assert_canary_untouched();
    });
}

/// Unmounts the root that a round has mounted, so that rounds do not pile up.
fn clear_mounts(bundle: &Path) {
    nix::mount::umount2(&bundle.join("rootfs"), nix::mount::MntFlags::MNT_DETACH).unwrap();
}

#[test]
fn a_source_link_of_the_bundle_is_followed_as_the_engine_meant_it() {
    on_a_host(|host| {
        symlink(&host.canary, host.bundle.join("config")).unwrap();
        let config = json!([{"destination": "/config", "source": "config", "options": ["bind"]}]);
        host.mount(mounts(config)).unwrap();
        assert_eq!(fs::read_to_string(host.inside("/config/alive")).unwrap(), "yes");
    });
}
