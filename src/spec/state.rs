//! The state document: what `state` prints, what hooks read from standard input, and one element of `list`
//! (runtime.md, "State").

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

/// Where a container is in its life (runtime.md, "status"; `paused` is runc's).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// `create` is under way.
    Creating,
    /// `create` has returned; the process waits for `start`.
    Created,
    /// The process runs.
    Running,
    /// The process has ended.
    Stopped,
    /// The process is frozen by `pause`.
    Paused,
}

impl Status {
    /// The word that engines match.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Stopped => "stopped",
            Status::Paused => "paused",
        }
    }
}

impl Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The state of a container. Paths are text: bytes that are not UTF-8 are replaced, as JSON has no others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// `ociVersion` of config.json.
    pub oci_version: String,
    /// The container id.
    pub id: String,
    /// The container's first process as the host sees it; 0 when there is none.
    pub pid: i32,
    /// Where the container is in its life.
    pub status: Status,
    /// The absolute path of the bundle.
    pub bundle: String,
    /// The absolute path of the root file system.
    pub rootfs: String,
    /// When the container was made: RFC 3339 in UTC, with nanoseconds.
    pub created: String,
    /// `annotations` of config.json.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The name of the user who made it; empty when unknown.
    pub owner: String,
}

/// The specification's own part of the state: hooks get no more than that.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HookState<'a> {
    oci_version: &'a str,
    id: &'a str,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    bundle: &'a str,
    #[serde(skip_serializing_if = "is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

fn is_empty(annotations: &&BTreeMap<String, String>) -> bool {
    annotations.is_empty()
}

impl State {
    /// What a hook reads from standard input: one line, slashes as they are, no `pid` when there is no process.
    pub fn to_hook_json(&self) -> String {
        let state = HookState {
            oci_version: &self.oci_version,
            id: &self.id,
            status: self.status,
            pid: (self.pid > 0).then_some(self.pid),
            bundle: &self.bundle,
            annotations: &self.annotations,
        };
        // Strings, numbers and maps with text keys: there is nothing in it that JSON cannot say.
        serde_json::to_string(&state).unwrap_or_default()
    }

    /// What `state` prints: indented by two, without a newline at the end, as runc does.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            oci_version: "1.3.0".into(),
            id: "web".into(),
            pid: 42,
            status: Status::Running,
            bundle: "/bundles/web".into(),
            rootfs: "/bundles/web/rootfs".into(),
            created: "2026-01-02T03:04:05.000000006Z".into(),
            annotations: BTreeMap::new(),
            owner: "root".into(),
        }
    }

    #[test]
    fn state_prints_runcs_keys_in_runcs_order() {
        let mut state = state();
        state
            .annotations
            .insert("com.example/key".into(), "a \"value\"".into());
        assert_eq!(
            state.to_json(),
            "{\n  \"ociVersion\": \"1.3.0\",\n  \"id\": \"web\",\n  \"pid\": 42,\n  \"status\": \"running\",\n  \
             \"bundle\": \"/bundles/web\",\n  \"rootfs\": \"/bundles/web/rootfs\",\n  \
             \"created\": \"2026-01-02T03:04:05.000000006Z\",\n  \"annotations\": {\n    \
             \"com.example/key\": \"a \\\"value\\\"\"\n  },\n  \"owner\": \"root\"\n}"
        );
    }

    #[test]
    fn a_stopped_container_has_pid_0_in_state_and_no_pid_for_hooks() {
        let state = State {
            pid: 0,
            status: Status::Stopped,
            ..state()
        };
        let value: serde_json::Value = serde_json::from_str(&state.to_json()).unwrap();
        assert_eq!(value["pid"], 0);
        assert_eq!(
            state.to_hook_json(),
            "{\"ociVersion\":\"1.3.0\",\"id\":\"web\",\"status\":\"stopped\",\"bundle\":\"/bundles/web\"}"
        );
    }

    #[test]
    fn hooks_read_one_line_with_plain_slashes_that_the_specifications_type_takes() {
        let mut state = state();
        state.annotations.insert("k".into(), "line 1\nline 2".into());
        let line = state.to_hook_json();
        assert!(!line.contains('\n') && line.contains("/bundles/web"), "{line}");
        let typed: oci_spec::runtime::State = serde_json::from_str(&line).unwrap();
        assert_eq!(*typed.pid(), Some(42));
        assert_eq!(typed.bundle(), std::path::Path::new("/bundles/web"));
    }

    #[test]
    fn every_status_is_written_as_the_word_it_prints() {
        for status in [
            Status::Creating,
            Status::Created,
            Status::Running,
            Status::Stopped,
            Status::Paused,
        ] {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
            assert_eq!(status.to_string(), status.as_str());
        }
        assert_eq!(format!("{:<8}|", Status::Paused), "paused  |");
    }
}
