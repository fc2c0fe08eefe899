//! A root with a layer of its own: what the container writes goes beside its root file system, and never into it.
//!
//! The annotation `minirun.root-layer` names a directory of the host with two directories in it, `upper` and `work`
//! (Documentation/filesystems/overlayfs.rst). The overlay is made in the container's own mount namespace, so it goes with the
//! container: nothing is left to be unmounted, whoever is killed.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::plan::{Switch, c_string};
use crate::error::{Error, OsContext as _, Result};
use crate::sys::mount::Context;

/// The annotation.
pub const ROOT_LAYER_ANNOTATION: &str = "minirun.root-layer";

/// Where the layer is, on the host.
#[derive(Debug)]
pub(super) struct Layer {
    upper: CString,
    work: CString,
}

impl Layer {
    pub(super) fn plan(
        annotations: Option<&HashMap<String, String>>,
        switch: Switch,
        user_namespace: bool,
    ) -> Result<Option<Layer>> {
        let Some(directory) = annotations.and_then(|annotations| annotations.get(ROOT_LAYER_ANNOTATION))
        else {
            return Ok(None);
        };
        let field = format!("annotations[{ROOT_LAYER_ANNOTATION:?}]");
        let directory = Path::new(directory);
        if !directory.is_absolute() {
            return Err(Error::invalid(
                field,
                format_args!("{directory:?} is not an absolute path"),
            ));
        }
        if switch == Switch::Chroot {
            return Err(Error::invalid(field, "needs a mount namespace")
                .hint("add {\"type\": \"mount\"} to linux.namespaces"));
        }
        if user_namespace {
            return Err(Error::unsupported(
                field,
                "the files of a layer would belong to ids that a user namespace does not know",
            ));
        }
        Ok(Some(Layer {
            upper: c_string(&directory.join("upper"), &field)?,
            work: c_string(&directory.join("work"), &field)?,
        }))
    }

    /// A detached mount of the layer over the directory `lower`.
    pub(super) fn mount(&self, lower: &OwnedFd) -> Result<OwnedFd> {
        let (upper, work) = (directory(&self.upper)?, directory(&self.work)?);
        let context = Context::open(c"overlay").os("open file system", "overlay")?;
        let configured = (|| {
            // By descriptor: a path may be longer than fsconfig(2) takes, and would have to be quoted.
            for (option, fd) in [(c"lowerdir", lower), (c"upperdir", &upper), (c"workdir", &work)] {
                let path = CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default();
                context.string(option, &path)?;
            }
            // What would tie the layer to the root file system as it was: that one may be built anew meanwhile.
            for option in [c"index", c"redirect_dir", c"metacopy"] {
                context.string(option, c"off")?;
            }
            context.mount(0)
        })();
        configured.map_err(|errno| {
            let why = context.complaint().unwrap_or_default();
            Error::os("mount overlay for", "a writable root", errno).hint(format_args!(
                "{}{}let the root be read-only, with volumes and tmpfs where it is written to, or let {} be on a file system that can \
                 hold a layer, which another overlay cannot",
                why,
                if why.is_empty() { "" } else { "; " },
                self.upper.to_string_lossy(),
            ))
        })
    }
}

fn directory(path: &CStr) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).os("open", path.to_string_lossy())
}
