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
