//! Long options with one dash. Go's flag parser takes `-root` for `--root`, and callers rely on it: containerd's library says
//! `-no-subreaper` to restore.

use std::ffi::OsString;

/// runc's long options with a value.
const WITH_VALUE: [&str; 50] = [
    "additional-gids",
    "apparmor",
    "blkio-weight",
    "bundle",
    "cap",
    "cgroup",
    "cgroup-manager",
    "console-socket",
    "cpu-burst",
    "cpu-idle",
    "cpu-period",
    "cpu-quota",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "cpu-share",
    "cpuset-cpus",
    "cpuset-mems",
    "criu",
    "cwd",
    "empty-ns",
    "env",
    "format",
    "image-path",
    "interval",
    "kernel-memory",
    "kernel-memory-tcp",
    "l3-cache-schema",
    "log",
    "log-format",
    "lsm-mount-context",
    "lsm-profile",
    "manage-cgroups-mode",
    "mem-bw-schema",
    "memory",
    "memory-reservation",
    "memory-swap",
    "page-server",
    "parent-path",
    "pid-file",
    "pidfd-socket",
    "pids-limit",
    "preserve-fds",
    "process",
    "process-label",
    "resources",
    "root",
    "rootless",
    "status-fd",
    "user",
    "work-path",
];

/// runc's long options without.
const FLAGS: [&str; 27] = [
    "all",
    "auto-dedup",
    "debug",
    "detach",
    "ext-unix-sk",
    "file-locks",
    "force",
    "help",
    "ignore-paused",
    "keep",
    "lazy-pages",
    "leave-running",
    "link-remap",
    "no-new-keyring",
    "no-new-privs",
    "no-pivot",
    "no-subreaper",
    "pre-dump",
    "quiet",
    "shell-job",
    "stats",
    "systemd-cgroup",
    "tcp-established",
    "tcp-skip-in-flight",
    "tcp-close",
    "tty",
    "version",
];

/// Short options with a value.
const SHORT_WITH_VALUE: &str = "bcefgpru";

/// Our own, as far as there are verbs that have a [plain](super::plain) form.
const OURS_WITH_VALUE: [&str; 7] = [
    "add-host",
    "dns",
    "dns-search",
    "hostname",
    "name",
    "network",
    "publish",
];

/// Whether a long option has a value; `None` when it is not known here.
pub(super) fn takes_value(name: &str) -> Option<bool> {
    let with_value = WITH_VALUE.contains(&name) || OURS_WITH_VALUE.contains(&name);
    (with_value || FLAGS.contains(&name)).then_some(with_value)
}

/// These take a program, or words of another one, behind the id: nothing there is ours.
const ENDED_BY_ID: [&str; 3] = ["exec", "ps", "compose"];

/// The command line with a second dash wherever a long option has one only.
pub(super) fn with_two(mut args: Vec<OsString>) -> Vec<OsString> {
    let is_one = |arg: &OsString| matches!(arg.as_encoded_bytes(), [b'-', b'a'..=b'z', _, ..]);
    if !args.iter().any(is_one) {
        return args;
    }
    let (mut words, mut is_value) = (0, false);
    let mut ends_at = usize::MAX;
    for arg in args.iter_mut().skip(1) {
        if std::mem::take(&mut is_value) {
            continue;
        }
        let text = arg.to_string_lossy().into_owned();
        if text == "--" {
            break;
        }
        let Some(option) = text.strip_prefix('-').filter(|option| !option.is_empty()) else {
            words += 1;
            if words == 1 && ENDED_BY_ID.contains(&text.as_str()) {
                ends_at = 2;
            }
            if words == ends_at {
                break;
            }
            continue;
        };
        let long = option.strip_prefix('-').unwrap_or(option);
        let name = long.split_once('=').map_or(long, |(name, _)| name);
        if WITH_VALUE.contains(&name) || FLAGS.contains(&name) {
            is_value = !long.contains('=') && WITH_VALUE.contains(&name);
            if long == option {
                *arg = OsString::from(format!("-{text}"));
            }
        } else {
            is_value = option.len() == 1 && SHORT_WITH_VALUE.contains(option);
        }
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(line: &str) -> String {
        let args = line.split(' ').map(OsString::from).collect();
        let words = with_two(args).into_iter().map(|arg| arg.into_string().unwrap());
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn one_dash_is_enough_for_a_long_option() {
        assert_eq!(
            after("runc -root /r -log-format=json restore -no-subreaper -image-path i web"),
            "runc --root /r --log-format=json restore --no-subreaper --image-path i web"
        );
        assert_eq!(after("runc delete web -force"), "runc delete web --force");
    }

    #[test]
    fn short_options_values_and_what_belongs_to_a_program_stay_as_they_are() {
        for line in [
            "runc exec -it web ls -root -all",
            "runc exec -e -root web ls",
            "runc --root -all list",
            "runc run -b -root web",
            "runc update --cpu-quota -1 web",
            "runc kill web -9",
            "runc ps web -all",
        ] {
            assert_eq!(after(line), line);
        }
        assert_eq!(after("runc exec -tty web ls -all"), "runc exec --tty web ls -all");
    }

    #[test]
    fn every_long_option_of_the_command_line_that_runc_has_is_known() {
        let command = super::super::command();
        let verbs = [
            "checkpoint",
            "create",
            "delete",
            "exec",
            "kill",
            "list",
            "ps",
            "restore",
            "run",
            "start",
            "state",
        ];
        for verb in verbs {
            let verb = command.find_subcommand(verb).unwrap();
            for arg in verb
                .get_arguments()
                .filter(|arg| arg.get_help_heading().is_none())
            {
                let Some(long) = arg.get_long() else { continue };
                let takes = arg.get_action().takes_values();
                let ours = ["name"].contains(&long);
                let known = if takes {
                    WITH_VALUE.contains(&long)
                } else {
                    FLAGS.contains(&long)
                };
                assert!(ours || known, "{} --{long}", verb.get_name());
            }
        }
    }
}
