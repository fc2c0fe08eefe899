//! The busybox root filesystem, private to each container so that a scenario may write to it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The busybox that enters namespaces and fills root filesystems: the first static one in PATH.
pub(crate) fn busybox() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join("busybox"))
        .find(|file| file.is_file())
        .expect("the scenarios need busybox in PATH: install the package busybox-static")
}

/// Fills `dir`, from `MINIRUN_TEST_ROOTFS` when that is set, else with busybox, its applets and a user database.
pub(crate) fn fill(dir: &Path) {
    if let Some(source) = std::env::var_os("MINIRUN_TEST_ROOTFS") {
        let copied = Command::new("cp")
            .arg("-a")
            .arg("--")
            .arg(source)
            .arg(dir)
            .status()
            .unwrap();
        assert!(copied.success(), "copying MINIRUN_TEST_ROOTFS failed");
        return;
    }
    for name in [
        "bin", "dev", "etc", "home", "mnt", "proc", "root", "run", "sys", "tmp", "usr", "var",
    ] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    fs::set_permissions(dir.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    symlink("bin", dir.join("sbin")).unwrap();
    fs::copy(busybox(), dir.join("bin/busybox")).unwrap();
    for applet in applets() {
        // The list names busybox itself, and it may name a program that another line already made.
        let _ = symlink("busybox", dir.join("bin").join(applet));
    }
    fs::write(
        dir.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n",
    )
    .unwrap();
    fs::write(
        dir.join("etc/group"),
        "root:x:0:\napp:x:1000:\nextra:x:2000:app\n",
    )
    .unwrap();
    for name in ["hosts", "hostname", "resolv.conf"] {
        fs::write(dir.join("etc").join(name), "").unwrap();
    }
}

fn applets() -> &'static [String] {
    static APPLETS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    APPLETS.get_or_init(|| {
        let list = Command::new(busybox()).arg("--list").output().unwrap();
        String::from_utf8(list.stdout)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    })
}
