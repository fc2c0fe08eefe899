//! In which order services start and stop. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::model::Project;

/// Services in ranks: those of a rank wait only for services of the ranks before it, so that a rank may start at once.
/// Stopping goes the other way. Services of a rank are in the order of their names.
///
/// Services that wait for each other, which no project that was loaded has, are left out.
pub fn ranks(project: &Project) -> Vec<Vec<&str>> {
    let mut waits: BTreeMap<&str, usize> = BTreeMap::new();
    let mut waiting: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, service) in &project.services {
        let known = service
            .depends_on
            .keys()
            .filter(|other| project.services.contains_key(*other));
        let known: Vec<&str> = known.map(String::as_str).collect();
        waits.insert(name, known.len());
        for other in known {
            waiting.entry(other).or_default().push(name);
        }
    }
    let mut rank: Vec<&str> = waits
        .iter()
        .filter(|(_, waits)| **waits == 0)
        .map(|(name, _)| *name)
        .collect();
    let mut ranks = Vec::new();
    while !rank.is_empty() {
        let mut next = BTreeSet::new();
        for name in rank
            .iter()
            .flat_map(|name| waiting.remove(name).unwrap_or_default())
        {
            if let Some(waits) = waits.get_mut(name) {
                *waits -= 1;
                if *waits == 0 {
                    next.insert(name);
                }
            }
        }
        ranks.push(std::mem::replace(&mut rank, next.into_iter().collect()));
    }
    ranks
}

/// Services of which each waits for the next, and the last for the first, which is there twice: `[a, b, a]`.
pub(super) fn circle(project: &Project) -> Option<Vec<&str>> {
    let free: BTreeSet<&str> = ranks(project).into_iter().flatten().collect();
    let bound = |name: &&str| !free.contains(name);
    // Whoever is in no rank waits for somebody who is in none: follow them until one comes again.
    let mut way = vec![project.services.keys().map(String::as_str).find(bound)?];
    loop {
        let service = project.services.get(*way.last()?)?;
        let next = service.depends_on.keys().map(String::as_str).find(bound)?;
        if let Some(first) = way.iter().position(|earlier| *earlier == next) {
            return Some(way.into_iter().skip(first).chain([next]).collect());
        }
        way.push(next);
    }
}

/// The services of these names with all that they wait for; unknown names are left out.
pub fn with_dependencies<'a>(project: &'a Project, names: &[String]) -> BTreeSet<&'a str> {
    reach(
        names,
        |name| {
            let service = project.services.get(name);
            service
                .into_iter()
                .flat_map(|service| service.depends_on.keys())
                .map(String::as_str)
                .collect()
        },
        project,
    )
}

/// The services of these names with all that wait for them; unknown names are left out.
pub fn with_dependents<'a>(project: &'a Project, names: &[String]) -> BTreeSet<&'a str> {
    reach(
        names,
        |name| {
            let dependents = project
                .services
                .iter()
                .filter(|(_, service)| service.depends_on.contains_key(name));
            dependents.map(|(name, _)| name.as_str()).collect()
        },
        project,
    )
}

fn reach<'a>(
    names: &[String],
    next: impl Fn(&str) -> Vec<&'a str>,
    project: &'a Project,
) -> BTreeSet<&'a str> {
    let known = project.services.keys().map(String::as_str);
    let mut pending: Vec<&str> = known
        .filter(|name| names.iter().any(|wanted| wanted == name))
        .collect();
    let mut reached = BTreeSet::new();
    while let Some(name) = pending.pop() {
        if project.services.contains_key(name) && reached.insert(name) {
            pending.extend(next(name));
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::model::{Condition, Dependency};

    /// A project of services `name: what it depends on`.
    fn project(services: &[(&str, &[&str])]) -> Project {
        let service = |(name, on): &(&str, &[&str])| {
            let dependency = Dependency {
                condition: Condition::Started,
                restart: false,
                required: true,
            };
            let service = serde_json::json!({
                "name": name, "bundle": "/", "environment": {}, "ports": [], "expose": [], "networks": {},
                "depends_on": on.iter().map(|on| (*on, dependency)).collect::<BTreeMap<_, _>>(),
                "restart": crate::compose::model::Restart::default(), "replicas": 1,
                "limits": crate::compose::model::Limits::default(), "mounts": [], "configs": [], "secrets": [], "dns": [],
                "dns_search": [], "extra_hosts": [], "cap_add": [], "cap_drop": [], "stop_grace_period": {"secs": 10, "nanos": 0},
                "labels": {}, "logging": crate::compose::model::Logging::default(),
            });
            ((*name).to_owned(), serde_json::from_value(service).unwrap())
        };
        Project {
            name: "p".to_owned(),
            directory: "/".into(),
            files: Vec::new(),
            services: services.iter().map(service).collect(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            configs: BTreeMap::new(),
            secrets: BTreeMap::new(),
        }
    }

    #[test]
    fn a_rank_waits_only_for_those_before_it() {
        let shop = project(&[
            ("lb", &["gateway"]),
            ("gateway", &["orders", "products"]),
            ("orders", &["postgres"]),
            ("products", &["redis"]),
            ("postgres", &[]),
            ("redis", &[]),
            ("registry", &[]),
        ]);
        let expected = [
            &["postgres", "redis", "registry"][..],
            &["orders", "products"],
            &["gateway"],
            &["lb"],
        ];
        assert_eq!(ranks(&shop), expected);
        assert_eq!(circle(&shop), None);
        assert_eq!(ranks(&project(&[])), Vec::<Vec<&str>>::new());
    }

    #[test]
    fn a_circle_is_found_without_those_who_only_wait_for_it() {
        let bound = project(&[
            ("a", &["b"]),
            ("b", &["c", "free"]),
            ("c", &["d"]),
            ("d", &["b"]),
            ("free", &[]),
        ]);
        assert_eq!(circle(&bound).unwrap(), ["b", "c", "d", "b"]);
        assert_eq!(ranks(&bound), [["free"]]);
    }

    #[test]
    fn a_long_row_of_services_needs_no_stack() {
        let names: Vec<String> = (0..2_000).map(|n| format!("s{n:05}")).collect();
        let on: Vec<Vec<&str>> = (0..2_000)
            .map(|n| names.get(n + 1).map(String::as_str).into_iter().collect())
            .collect();
        let services: Vec<(&str, &[&str])> = names
            .iter()
            .map(String::as_str)
            .zip(on.iter().map(Vec::as_slice))
            .collect();
        assert_eq!(ranks(&project(&services)).len(), 2_000);
    }

    #[test]
    fn names_bring_what_they_wait_for_and_who_waits_for_them() {
        let shop = project(&[("a", &["b"]), ("b", &["c"]), ("c", &[]), ("d", &[])]);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            with_dependencies(&shop, &names(&["b", "none"])),
            BTreeSet::from(["b", "c"])
        );
        assert_eq!(with_dependents(&shop, &names(&["b"])), BTreeSet::from(["a", "b"]));
    }
}
