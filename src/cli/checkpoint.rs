//! `minirun checkpoint`, and what `restore` takes too.

use std::os::fd::RawFd;
use std::path::PathBuf;

use crate::container::checkpoint::{self, Options};
use crate::container::criu::{CgroupMode, Common};
use crate::container::store::Store;
use crate::error::{Error, Result};
use crate::spec::id::Id;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// An earlier --pre-dump, relative to --image-path
    #[arg(long, value_name = "DIR")]
    parent_path: Option<PathBuf>,
    /// Do not end the container
    #[arg(long)]
    leave_running: bool,
    /// Leave out TCP connections that are being made
    #[arg(long)]
    tcp_skip_in_flight: bool,
    /// Give deleted files that are open a name again
    #[arg(long)]
    link_remap: bool,
    /// Descriptor that gets a zero byte when --lazy-pages is ready to serve
    #[arg(long, value_name = "FD")]
    status_fd: Option<RawFd>,
    /// Send memory there instead of to a file
    #[arg(long, value_name = "ADDRESS:PORT")]
    page_server: Option<PageServer>,
    /// Write memory only, and let the container run
    #[arg(long)]
    pre_dump: bool,
    /// The container's id
    id: Id,
}

#[derive(Debug, clap::Args)]
pub(super) struct CommonArgs {
    /// Directory of the checkpoint
    #[arg(long, value_name = "DIR", default_value = "checkpoint")]
    pub(super) image_path: PathBuf,
    /// Directory of CRIU's log; --image-path unless given
    #[arg(long, value_name = "DIR")]
    pub(super) work_path: Option<PathBuf>,
    /// Allow open TCP connections
    #[arg(long)]
    tcp_established: bool,
    /// Allow sockets whose other end is outside of the container
    #[arg(long)]
    ext_unix_sk: bool,
    /// Allow processes that belong to a session of the caller
    #[arg(long)]
    shell_job: bool,
    /// Keep file locks
    #[arg(long)]
    file_locks: bool,
    /// What becomes of control groups: soft, full, strict or ignore
    #[arg(long, value_name = "MODE", default_value = "soft")]
    manage_cgroups_mode: CgroupMode,
    /// Namespace that is made but not filled; there is `network`
    #[arg(long, value_name = "NAMESPACE")]
    empty_ns: Vec<EmptyNamespace>,
    /// Take memory out of the earlier checkpoints that a later one has
    #[arg(long)]
    auto_dedup: bool,
    /// Serve memory when it is needed
    #[arg(long)]
    lazy_pages: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum EmptyNamespace {
    Network,
}

impl CommonArgs {
    pub(super) fn common(&self) -> Common {
        Common {
            tcp_established: self.tcp_established,
            ext_unix_sk: self.ext_unix_sk,
            shell_job: self.shell_job,
            file_locks: self.file_locks,
            auto_dedup: self.auto_dedup,
            lazy_pages: self.lazy_pages,
            empty_network: self.empty_ns.contains(&EmptyNamespace::Network),
            cgroups: self.manage_cgroups_mode,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PageServer(String, u16);

impl std::str::FromStr for PageServer {
    type Err = Error;

    fn from_str(text: &str) -> Result<PageServer> {
        let parsed = text.rsplit_once(':').and_then(|(address, port)| {
            let address = address.trim_start_matches('[').trim_end_matches(']');
            Some((address.to_owned(), port.parse().ok()?)).filter(|(address, _)| !address.is_empty())
        });
        let (address, port) = parsed
            .ok_or_else(|| Error::invalid("--page-server", format_args!("{text:?} is not ADDRESS:PORT")))?;
        Ok(PageServer(address, port))
    }
}

pub(super) fn run(store: &Store, args: &Args) -> Result<u8> {
    let options = Options {
        images: args.common.image_path.clone(),
        work: args.common.work_path.clone(),
        parent: args.parent_path.clone(),
        leave_running: args.leave_running,
        pre_dump: args.pre_dump,
        tcp_skip_in_flight: args.tcp_skip_in_flight,
        link_remap: args.link_remap,
        status_fd: args.status_fd,
        page_server: args
            .page_server
            .clone()
            .map(|PageServer(address, port)| (address, port)),
        common: args.common.common(),
    };
    checkpoint::checkpoint(store, &args.id, &options).map(|()| 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_server_is_an_address_and_a_port() {
        assert_eq!(
            "10.0.0.1:99".parse::<PageServer>().unwrap(),
            PageServer("10.0.0.1".into(), 99)
        );
        assert_eq!(
            "[::1]:99".parse::<PageServer>().unwrap(),
            PageServer("::1".into(), 99)
        );
        for wrong in ["", "10.0.0.1", ":99", "a:b", "a:70000"] {
            assert!(wrong.parse::<PageServer>().is_err(), "{wrong}");
        }
    }
}
