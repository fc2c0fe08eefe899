//! Which container a verb means that names a service.

use crate::compose::client;
use crate::compose::protocol::Status;
use crate::container::store::Store;
use crate::error::{Error, Kind, Result};

/// A running replica of a service: the one of this number, or the first.
pub(super) fn running(store: &Store, project: &str, service: &str, index: Option<u32>) -> Result<Status> {
    let all = client::replicas(store, project)?;
    if all.is_empty() {
        return Err(super::ask::not_up(project));
    }
    let mut services: Vec<&str> = all.iter().map(|replica| replica.service.as_str()).collect();
    services.dedup();
    let services = services.join(", ");
    let of_service = all.into_iter().filter(|replica| replica.service == service);
    let meant: Vec<Status> = of_service
        .filter(|replica| index.is_none_or(|index| replica.replica == index))
        .collect();
    let Some(first) = meant.first() else {
        let which = index
            .map(|index| format!(" with the number {index}"))
            .unwrap_or_default();
        return Err(Error::new(
            Kind::NotFound,
            format_args!("service {service} has no replica{which}"),
        )
        .hint(format_args!("there is {services}")));
    };
    let (id, state) = (first.id.clone(), first.state.clone());
    meant
        .into_iter()
        .find(|replica| replica.state == "running")
        .ok_or_else(|| Error::new(Kind::WrongState, format_args!("{id} is not running: {state}")))
}
