//! linux.resources.blockIO.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::{Planner, only_v1};
use crate::error::{Error, Result};

const FIELD: &str = "linux.resources.blockIO";

impl Planner<'_> {
    pub(super) fn block_io(&mut self, block_io: &LinuxBlockIo) -> Result<()> {
        let weight = format!("{FIELD}.weight");
        if let Some(value) = weight_of(&weight, block_io.weight())? {
            let choices = if self.is_v2() {
                vec![
                    ("io.bfq.weight".to_owned(), value.to_string()),
                    ("io.weight".to_owned(), io_weight(value).to_string()),
                ]
            } else {
                ["blkio.weight", "blkio.bfq.weight"]
                    .map(|name| (name.to_owned(), value.to_string()))
                    .to_vec()
            };
            self.add(self.write_first(&weight, choices)?);
        }
        let leaf = format!("{FIELD}.leafWeight");
        if let Some(value) = weight_of(&leaf, block_io.leaf_weight())? {
            if self.is_v2() {
                return Err(only_v1(&leaf));
            }
            self.add(self.write(&leaf, "blkio.leaf_weight", value)?);
        }
        self.weights_of_devices(block_io)?;
        self.throttle(block_io)
    }

    fn weights_of_devices(&mut self, block_io: &LinuxBlockIo) -> Result<()> {
        for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
            let field = format!("{FIELD}.weightDevice[{index}]");
            let numbers = device_numbers(&field, device.major(), device.minor())?;
            if let Some(value) = weight_of(&format!("{field}.weight"), device.weight())? {
                let line = |value| format!("{numbers} {value}");
                let choices = if self.is_v2() {
                    vec![
                        ("io.bfq.weight".to_owned(), line(value.into())),
                        ("io.weight".to_owned(), line(io_weight(value))),
                    ]
                } else {
                    ["blkio.weight_device", "blkio.bfq.weight_device"]
                        .map(|name| (name.to_owned(), line(value.into())))
                        .to_vec()
                };
                self.add(self.write_first(&field, choices)?);
            }
            let leaf = format!("{field}.leafWeight");
            if let Some(value) = weight_of(&leaf, device.leaf_weight())? {
                if self.is_v2() {
                    return Err(only_v1(&leaf));
                }
                self.add(self.write(&leaf, "blkio.leaf_weight_device", format!("{numbers} {value}"))?);
            }
        }
        Ok(())
    }

    fn throttle(&mut self, block_io: &LinuxBlockIo) -> Result<()> {
        type List<'a> = &'a Option<Vec<LinuxThrottleDevice>>;
        let lists: [(&str, &str, &str, List<'_>); 4] = [
            (
                "throttleReadBpsDevice",
                "read_bps",
                "rbps",
                block_io.throttle_read_bps_device(),
            ),
            (
                "throttleWriteBpsDevice",
                "write_bps",
                "wbps",
                block_io.throttle_write_bps_device(),
            ),
            (
                "throttleReadIOPSDevice",
                "read_iops",
                "riops",
                block_io.throttle_read_iops_device(),
            ),
            (
                "throttleWriteIOPSDevice",
                "write_iops",
                "wiops",
                block_io.throttle_write_iops_device(),
            ),
        ];
        for (name, v1, v2, list) in lists {
            for (index, device) in list.iter().flatten().enumerate() {
                let field = format!("{FIELD}.{name}[{index}]");
                let numbers = device_numbers(&field, device.major(), device.minor())?;
                let rate = device.rate();
                let write = match (self.is_v2(), rate) {
                    (false, _) => self.write(
                        &field,
                        format!("blkio.throttle.{v1}_device"),
                        format!("{numbers} {rate}"),
                    )?,
                    // 0 takes a limit away on version 1; version 2 has a word for it.
                    (true, 0) => self.write(&field, "io.max", format!("{numbers} {v2}=max"))?,
                    (true, rate) => self.write(&field, "io.max", format!("{numbers} {v2}={rate}"))?,
                };
                self.add(write);
            }
        }
        Ok(())
    }
}

/// A weight of version 1, 10 to 1000; 0 is how engines say that it is not set.
fn weight_of(field: &str, weight: Option<u16>) -> Result<Option<u16>> {
    match weight {
        Some(0) | None => Ok(None),
        Some(10..=1000) => Ok(weight),
        Some(other) => Err(Error::invalid(
            field,
            format_args!("{other} is not between 10 and 1000"),
        )),
    }
}

/// Stretches 10 to 1000 over 1 to 10000.
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight) - 10) * 9999 / 990
}

fn device_numbers(field: &str, major: i64, minor: i64) -> Result<String> {
    match (u32::try_from(major), u32::try_from(minor)) {
        (Ok(major), Ok(minor)) => Ok(format!("{major}:{minor}")),
        _ => Err(Error::invalid(
            field,
            format_args!("{major}:{minor} is not a device number"),
        )),
    }
}
