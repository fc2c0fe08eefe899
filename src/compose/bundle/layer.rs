//! What a replica writes to its root: a directory of its own, which the runtime lays over the root file system of the bundle
//! (annotation `minirun.root-layer`). As in Docker it is the replica's until the replica is another one: it stays when that is
//! restarted or stopped, and goes when the file says something else of it, and with `down`.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::Path;

use super::place;
use crate::error::{OsContext as _, Result};

/// What the layer is of; written last.
const HASH: &str = "hash";

pub(super) fn ensure(layer: &Path, rootfs: &Path, hash: &str, fresh: bool) -> Result<()> {
    let marker = layer.join(HASH);
    let of = match fs::read_to_string(&marker) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        text => Some(text.os("read", marker.display())?),
    };
    if !fresh && of.as_deref() == Some(hash) {
        return Ok(());
    }
    place::remove_tree(layer)?;
    place::directory(layer)?;
    // The root of the two together is the upper one's.
    let like = fs::metadata(rootfs).os("stat", rootfs.display())?;
    let (upper, work) = (layer.join("upper"), layer.join("work"));
    for path in [&upper, &work] {
        DirBuilder::new()
            .mode(0o700)
            .create(path)
            .os("create", path.display())?;
    }
    chown(&upper, Some(like.uid()), Some(like.gid())).os("change owner of", upper.display())?;
    fs::set_permissions(&upper, like.permissions()).os("change mode of", upper.display())?;
    fs::write(&marker, hash).os("write", marker.display())
}
