//! linux.resources: pids, hugepageLimits, network, rdma and unified.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxHugepageLimit, LinuxNetwork, LinuxPids, LinuxRdma};

use super::{Planner, Write, only_v1};
use crate::error::{Error, Result};

impl Planner<'_> {
    /// 0 is a limit (since runtime-spec 1.3): no process of the container can fork.
    pub(super) fn pids(&mut self, pids: &LinuxPids) -> Result<()> {
        const FIELD: &str = "linux.resources.pids.limit";
        let value = match pids.limit() {
            -1 => "max".to_owned(),
            limit @ 0.. => limit.to_string(),
            limit => {
                return Err(Error::invalid(
                    FIELD,
                    format_args!("{limit} is less than -1 (unlimited)"),
                ));
            }
        };
        self.add(self.write(FIELD, "pids.max", value)?);
        Ok(())
    }

    /// Both what is used and what is reserved (mapped but not yet touched) are limited; the second protects from SIGBUS and
    /// exists since Linux 5.7.
    pub(super) fn hugepages(&mut self, limits: &[LinuxHugepageLimit]) -> Result<()> {
        for (index, limit) in limits.iter().enumerate() {
            let field = format!("linux.resources.hugepageLimits[{index}]");
            let (size, bytes) = (limit.page_size(), limit.limit());
            if !is_page_size(size) {
                let why = format!("{size:?} is not a size such as 64KB, 2MB or 1GB");
                return Err(Error::invalid(format_args!("{field}.pageSize"), why));
            }
            if bytes < 0 {
                return Err(Error::invalid(
                    format_args!("{field}.limit"),
                    format_args!("{bytes} is negative"),
                ));
            }
            let end = if self.is_v2() { "max" } else { "limit_in_bytes" };
            self.add(Write {
                optional: true,
                ..self.write(&field, format!("hugetlb.{size}.rsvd.{end}"), bytes)?
            });
            self.add(self.write(&field, format!("hugetlb.{size}.{end}"), bytes)?);
        }
        Ok(())
    }

    pub(super) fn network(&mut self, network: &LinuxNetwork) -> Result<()> {
        const CLASS: &str = "linux.resources.network.classID";
        if let Some(class) = network.class_id().filter(|&class| class != 0) {
            if self.is_v2() {
                return Err(only_v1(CLASS));
            }
            self.add(self.write(CLASS, "net_cls.classid", class)?);
        }
        for (index, priority) in network.priorities().iter().flatten().enumerate() {
            let field = format!("linux.resources.network.priorities[{index}]");
            let name = priority.name();
            if name.is_empty()
                || name.len() > 15
                || name.chars().any(|letter| letter.is_whitespace() || letter == '/')
            {
                return Err(Error::invalid(
                    format_args!("{field}.name"),
                    format_args!("{name:?} is not the name of a network interface"),
                ));
            }
            if self.is_v2() {
                return Err(only_v1(&field));
            }
            self.add(self.write(
                &field,
                "net_prio.ifpriomap",
                format!("{name} {}", priority.priority()),
            )?);
        }
        Ok(())
    }

    pub(super) fn rdma(&mut self, rdma: &HashMap<String, LinuxRdma>) -> Result<()> {
        let mut devices: Vec<_> = rdma.iter().collect();
        devices.sort_by_key(|(device, _)| device.as_str());
        for (device, limits) in devices {
            let field = format!("linux.resources.rdma[{device:?}]");
            if device.is_empty()
                || device
                    .chars()
                    .any(|letter| letter.is_whitespace() || letter == '=')
            {
                return Err(Error::invalid(&field, "is not the name of a device"));
            }
            let mut line = device.clone();
            for (key, value) in [
                ("hca_handle", limits.hca_handles()),
                ("hca_object", limits.hca_objects()),
            ] {
                if let Some(value) = value {
                    line.push_str(&format!(" {key}={value}"));
                }
            }
            if line == *device {
                return Err(Error::invalid(&field, "must set hcaHandles or hcaObjects"));
            }
            self.add(self.write(&field, "rdma.max", line)?);
        }
        Ok(())
    }

    /// Files of version 2 by their names; the last to be written, so that they override. Files that take one entry a line
    /// (io.max) get one write for each line.
    pub(super) fn unified(&mut self, unified: &HashMap<String, String>) -> Result<()> {
        let mut files: Vec<_> = unified.iter().collect();
        files.sort();
        for (name, value) in files {
            let field = format!("linux.resources.unified[{name:?}]");
            if !self.is_v2() {
                return Err(Error::unsupported(
                    field,
                    "this host's controllers are on cgroup v1",
                ));
            }
            if name.contains(['/', '\0']) || !name.contains('.') || name.starts_with('.') {
                return Err(Error::invalid(
                    field,
                    "is not the name of a file such as memory.high",
                ));
            }
            let value = value.strip_suffix('\n').unwrap_or(value);
            self.add(self.write(&field, name.as_str(), value)?);
        }
        Ok(())
    }
}

fn is_page_size(size: &str) -> bool {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
    number.is_some_and(|number| {
        !number.is_empty() && !number.starts_with('0') && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}
