//! Command lines as engines write them, read without clap.
//!
//! Describing its options to clap and taking the description down again is a tenth of what `exec` takes. So the verbs of a
//! container's life read the plain forms themselves: options that runc has too, each with a value behind it or an equals sign. Whatever
//! else there is in a command line, a mistake above all, makes [`read`] give up, and clap reads it from the beginning and knows what
//! to say. What is read here means the same to clap: a test holds both to it.

use std::ffi::OsString;
use std::str::FromStr;

use super::{Cli, Command, LogFormat, args, one_dash, privileges};

/// Arguments of a verb that has a plain form.
pub(super) trait Plain: Sized {
    /// Short options and the long ones that they stand for.
    const SHORT: &'static [(&'static str, &'static str)] = &[];
    /// After so many words everything is a word.
    const WORDS: usize = usize::MAX;

    /// Takes what is the verb's; `None` when it has to be read by clap.
    fn take(line: &mut Line) -> Option<Self>;
}

/// Options and words of a command line.
pub(super) struct Line<'a> {
    options: Vec<(&'a str, Option<&'a str>)>,
    words: std::vec::IntoIter<&'a str>,
}

/// The command line, unless it takes more to understand it.
pub(super) fn read(arguments: &[OsString]) -> Option<Cli> {
    let arguments: Vec<&str> = arguments
        .iter()
        .map(|argument| argument.to_str())
        .collect::<Option<_>>()?;
    let mut line = Line::of(arguments.get(1..)?, &[], 1)?;
    let verb = line.words.next()?;
    let rest = line.words.as_slice();
    let command = match verb {
        "create" => Command::Create(verb_of(rest)?),
        "delete" => Command::Delete(verb_of(rest)?),
        "exec" => Command::Exec(verb_of(rest)?),
        "kill" => Command::Kill(verb_of(rest)?),
        "run" => Command::Run(verb_of(rest)?),
        "start" => Command::Start(verb_of(rest)?),
        "state" => Command::State(verb_of(rest)?),
        _ => return None,
    };
    let log_format = match line.value::<String>("log-format")?.as_deref() {
        None | Some("text") => LogFormat::Text,
        Some("json") => LogFormat::Json,
        Some(_) => return None,
    };
    let cli = Cli {
        version: false,
        root: line.value("root")?,
        log: line
            .value::<String>("log")?
            .map(|path| args::log_file(&path))
            .transpose()
            .ok()?,
        log_format,
        debug: line.flag("debug"),
        systemd_cgroup: line.flag("systemd-cgroup"),
        cgroup_manager: None,
        rootless: privileges::Flag::Auto,
        criu: None,
        command: Some(command),
    };
    line.options.is_empty().then_some(cli)
}

fn verb_of<T: Plain>(arguments: &[&str]) -> Option<super::Lazy<T>> {
    let mut line = Line::of(arguments, T::SHORT, T::WORDS)?;
    let taken = T::take(&mut line)?;
    (line.options.is_empty() && line.words.len() == 0).then(|| super::Lazy::from(taken))
}

impl<'a> Line<'a> {
    fn of(arguments: &[&'a str], short: &[(&str, &'static str)], words: usize) -> Option<Line<'a>> {
        let mut line = (Vec::new(), Vec::new());
        let mut arguments = arguments.iter();
        while let Some(&argument) = arguments.next() {
            let Some(option) = argument.strip_prefix('-') else {
                line.1.push(argument);
                if line.1.len() < words {
                    continue;
                }
                line.1.extend_from_slice(arguments.as_slice());
                break;
            };
            let (name, value) = match option.strip_prefix('-') {
                Some(long) => long
                    .split_once('=')
                    .map_or((long, None), |(name, value)| (name, Some(value))),
                None => (short.iter().find(|(short, _)| *short == option)?.1, None),
            };
            let value = match (one_dash::takes_value(name)?, value) {
                (true, None) => Some(*arguments.next()?),
                (false, Some(_)) => return None,
                (_, given) => given,
            };
            // An empty value, or one that could be an option, is for clap to judge.
            if value.is_some_and(|value| value.is_empty() || value.starts_with('-')) {
                return None;
            }
            line.0.push((name, value));
        }
        Some(Line {
            options: line.0,
            words: line.1.into_iter(),
        })
    }

    /// Whether an option without a value is there. One that is there twice is left over.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        let found = self.options.iter().position(|(option, _)| *option == name);
        found.map(|index| self.options.remove(index)).is_some()
    }

    /// The value of an option, if that is there; `None` when it cannot be understood.
    pub(super) fn value<T: FromStr>(&mut self, name: &str) -> Option<Option<T>> {
        let Some(index) = self.options.iter().position(|(option, _)| *option == name) else {
            return Some(None);
        };
        self.options.remove(index).1?.parse().ok().map(Some)
    }

    /// All values of an option that may be repeated.
    pub(super) fn values<T: FromStr>(&mut self, name: &str) -> Option<Vec<T>> {
        let mut values = Vec::new();
        while let Some(value) = self.value(name)? {
            values.push(value);
        }
        Some(values)
    }

    /// The next word.
    pub(super) fn word<T: FromStr>(&mut self) -> Option<T> {
        self.words.next()?.parse().ok()
    }

    /// All other words.
    pub(super) fn words<T: FromStr>(&mut self) -> Option<Vec<T>> {
        self.words.by_ref().map(|word| word.parse().ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use proptest::prelude::*;

    use super::*;

    fn both(line: &[&str]) -> (Option<Cli>, Result<Cli, clap::Error>) {
        let arguments: Vec<OsString> = line.iter().map(OsString::from).collect();
        (read(&arguments), Cli::try_parse_from(&arguments))
    }

    fn assert_plain(line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let (plain, claps) = both(&words);
        let plain = plain.unwrap_or_else(|| panic!("not plain: {line}"));
        assert_eq!(format!("{plain:?}"), format!("{:?}", claps.unwrap()), "{line}");
    }

    #[test]
    fn what_engines_write_is_plain() {
        for line in [
            "runc --root /run/docker/runtime-runc/moby --log /run/x/log.json --log-format json create --bundle /run/x --pid-file /run/x/init.pid web",
            "runc --root /r --log /l --log-format json --systemd-cgroup create --bundle /b --pid-file /p --console-socket /c --no-pivot web",
            "runc --root /r --log /l --log-format json start web",
            "runc --root /r --log /l --log-format json exec --process /p.json --console-socket /c --detach --pid-file /e.pid web",
            "runc --root /r --log /l --log-format json state web",
            "runc --root /r --log /l --log-format json kill --all web 9",
            "runc --root /r --log /l --log-format json delete --force web",
            "runc create --bundle=/b --pid-file=/p web",
            "runc exec --pid-file /p --process /f -d web",
            "runc exec -t -u 1000:1000 -e A=1 -e B=2 web sh -c true --all",
            "runc delete web",
            "minirun run -d --network shop --publish 8080:5000 --name other bundles/product-service",
            "minirun run bundles/hello/",
            "minirun run -b /b --preserve-fds 2 web",
        ] {
            assert_plain(line);
        }
    }

    #[test]
    fn what_takes_more_to_understand_is_claps() {
        for line in [
            "runc",
            "runc --version",
            "runc list",
            "runc state",
            "runc state a b",
            "runc state ../x",
            "runc state --help",
            "runc delete -ff web",
            "runc delete -f -f web",
            "runc exec -it web sh",
            "runc exec web -t sh",
            "runc exec -- web sh",
            "runc create --bundle --pid-file web",
            "runc create --bundle",
            "runc create --bundle= web",
            "runc create --pid-file /a --pid-file /b web",
            "runc create --detach web",
            "runc --root / --root /r state web",
            "runc --log journald:x state web",
            "runc --log-format xml state web",
            "runc kill web -9",
            "runc run --preserve-fds many web",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            assert!(both(&words).0.is_none(), "{line}");
        }
    }

    /// Words from which command lines are made, right ones and wrong ones.
    fn word() -> impl Strategy<Value = String> {
        let command = super::super::command();
        let mut words: Vec<String> = [
            "web",
            "/p",
            "1",
            "-",
            "--",
            "a=b",
            "json",
            "",
            "-x",
            "TERM",
            "1000:1000",
        ]
        .map(String::from)
        .into();
        for verb in ["create", "delete", "exec", "kill", "run", "start", "state"] {
            words.push(verb.into());
            let described = command.find_subcommand(verb).unwrap();
            for argument in described.get_arguments().chain(command.get_arguments()) {
                words.extend(argument.get_long().map(|long| format!("--{long}")));
                words.extend(argument.get_long().map(|long| format!("--{long}=1")));
                words.extend(argument.get_short().map(|short| format!("-{short}")));
            }
        }
        prop::sample::select(words)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn whatever_is_read_as_plain_means_the_same_to_clap(
            global in prop::collection::vec(word(), 0..3),
            verb in prop::sample::select(vec!["create", "delete", "exec", "kill", "run", "start", "state"]),
            rest in prop::collection::vec(word(), 0..7),
        ) {
            let mut line = vec!["minirun"];
            line.extend(global.iter().map(String::as_str));
            line.push(verb);
            line.extend(rest.iter().map(String::as_str));
            let (plain, claps) = both(&line);
            if let Some(plain) = plain {
                let claps = claps.map_err(|error| TestCaseError::fail(format!("{line:?}: {error}")))?;
                prop_assert_eq!(format!("{plain:?}"), format!("{claps:?}"), "{:?}", line);
            }
        }
    }
}
