//! Users and groups: the value of `--user`, and lookups in the text of a container's /etc/passwd and /etc/group.
//!
//! The files come from a hostile root file system, so the caller reads them through the root's descriptor and with a
//! size cap; here a line that is not well-formed does not exist. Numbers are decimal `u32` or nothing: every runtime that
//! was lenient here has had a security advisory for it (CVE-2016-3697, CVE-2024-40635).

use std::fmt::{self, Display};
use std::str::FromStr;

use crate::error::{Error, Kind, Result};

/// The largest user or group id. One more is -1, which the kernel's calls take as "leave it as it is".
pub const MAX_ID: u32 = u32::MAX - 1;

/// Longer lines of passwd and group are skipped.
const MAX_LINE: usize = 64 << 10;

/// A user or group as somebody named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// By number.
    Id(u32),
    /// By name.
    Name(String),
}

impl Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Id(id) => write!(f, "{id}"),
            Who::Name(name) => write!(f, "{name:?}"),
        }
    }
}

/// The value of `--user USER[:GROUP]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserArg {
    /// The part before the colon.
    pub user: Who,
    /// The part after it.
    pub group: Option<Who>,
}

impl FromStr for UserArg {
    type Err = Error;

    fn from_str(text: &str) -> Result<UserArg> {
        let who = |part: &str| {
            parse_who(part)
                .map_err(|why| Error::new(Kind::InvalidConfig, format_args!("--user {text:?}: {why}")))
        };
        match text.split_once(':') {
            Some((user, group)) => Ok(UserArg {
                user: who(user)?,
                group: Some(who(group)?),
            }),
            None => Ok(UserArg {
                user: who(text)?,
                group: None,
            }),
        }
    }
}

fn parse_who(text: &str) -> std::result::Result<Who, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match parse_id(text.as_bytes()) {
            Some(id) => Ok(Who::Id(id)),
            None => Err(format!("{text} is larger than {MAX_ID}, the largest id")),
        };
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-$".contains(&byte) || !byte.is_ascii();
    if text.is_empty() || text.starts_with('-') || !text.bytes().all(allowed) {
        return Err(format!("{text:?} is neither a number nor a name"));
    }
    Ok(Who::Name(text.to_owned()))
}

/// A decimal id: digits only, no sign, no blanks.
fn parse_id(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text)
        .ok()?
        .parse()
        .ok()
        .filter(|id| *id <= MAX_ID)
}

/// Who a process shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user id.
    pub uid: u32,
    /// The group id; nothing when neither the argument nor passwd names one: the caller keeps its own.
    pub gid: Option<u32>,
    /// The groups that /etc/group gives a user who was asked for by name, in the file's order; without `gid`.
    pub additional_gids: Vec<u32>,
}

impl UserArg {
    /// Finds the ids. Numbers stand for themselves, as in runc. A name must be in `passwd` (a group's in `group`) and
    /// brings its group and its supplementary groups along; a group that is given takes the place of both.
    ///
    /// # Errors
    /// When a name is in neither file.
    pub fn resolve(&self, passwd: &[u8], group: &[u8]) -> Result<Account> {
        let (uid, own_gid, name) = match &self.user {
            Who::Id(uid) => (*uid, None, None),
            Who::Name(name) => {
                let user = users(passwd)
                    .find(|user| user.name == name.as_bytes())
                    .ok_or_else(|| unknown("user", &self.user, "/etc/passwd"))?;
                (user.uid, Some(user.gid), Some(name))
            }
        };
        let given_gid = match &self.group {
            None => None,
            Some(Who::Id(gid)) => Some(*gid),
            Some(who @ Who::Name(name)) => {
                let found = groups(group).find(|group| group.name == name.as_bytes());
                Some(found.ok_or_else(|| unknown("group", who, "/etc/group"))?.gid)
            }
        };
        let gid = given_gid.or(own_gid);
        let mut additional_gids = Vec::new();
        if let (Some(name), None) = (name, given_gid) {
            for group in groups(group).filter(|group| group.has_member(name.as_bytes())) {
                if Some(group.gid) != gid && !additional_gids.contains(&group.gid) {
                    additional_gids.push(group.gid);
                }
            }
        }
        Ok(Account {
            uid,
            gid,
            additional_gids,
        })
    }
}

fn unknown(what: &str, who: &Who, file: &str) -> Error {
    Error::new(
        Kind::InvalidConfig,
        format_args!("--user: no {what} {who} in the container's {file}"),
    )
}

/// The home directory of `uid` in the text of /etc/passwd, when it is an absolute path.
pub fn home(passwd: impl AsRef<[u8]>, uid: u32) -> Option<String> {
    let user = users(passwd.as_ref()).find(|user| user.uid == uid)?;
    let home = std::str::from_utf8(user.home).ok()?;
    (home.starts_with('/') && !home.contains('\0')).then(|| home.to_owned())
}

/// The name of `uid` in the text of /etc/passwd.
pub fn name(passwd: impl AsRef<[u8]>, uid: u32) -> Option<String> {
    let user = users(passwd.as_ref()).find(|user| user.uid == uid)?;
    std::str::from_utf8(user.name).ok().map(str::to_owned)
}

/// A line of /etc/passwd: `name:password:uid:gid:comment:home:shell`, of which the last three may be missing.
struct User<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

fn users(passwd: &[u8]) -> impl Iterator<Item = User<'_>> {
    lines(passwd).filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = parse_id(fields.nth(1)?)?;
        let gid = parse_id(fields.next()?)?;
        let home = fields.nth(1).unwrap_or_default();
        Some(User { name, uid, gid, home })
    })
}

/// A line of /etc/group: `name:password:gid:member,member`, of which the last may be missing.
struct Group<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

impl Group<'_> {
    fn has_member(&self, name: &[u8]) -> bool {
        self.members
            .split(|byte| *byte == b',')
            .any(|member| member == name)
    }
}

fn groups(group: &[u8]) -> impl Iterator<Item = Group<'_>> {
    lines(group).filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = parse_id(fields.nth(1)?)?;
        let members = fields.next().unwrap_or_default();
        Some(Group { name, gid, members })
    })
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .filter(|line| line.len() <= MAX_LINE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
        broken\n\
        huge:x:4294967296:1::/h:/bin/sh\n\
        minus:x:-1:1::/h:/bin/sh\n\
        reserved:x:4294967295:1::/h:/bin/sh\n\
        plus:x:+7:1::/h:/bin/sh\n\
        blank:x: 7:1::/h:/bin/sh\n\
        :x:8:8::/empty-name:/bin/sh\n\
        app:x:1000:1001:App,,,:/home/app:/bin/sh\n\
        app:x:0:0:a second one:/root:/bin/sh\n\
        short:x:1002:1002\n\
        relative:x:1003:1003::home:/bin/sh\n\
        1005:x:0:0::/root:/bin/sh\n\
        last:x:1004:1004::/home/last";
    const GROUP: &[u8] =
        b"root:x:0:\nwheel:x:10:root,app\nbroken:x:zz:app\napp:x:1001:app\nvideo:x:44:app,last\n\
        video2:x:44:app\nnear:x:45:application\nshort:x:46";

    fn arg(text: &str) -> UserArg {
        text.parse().unwrap()
    }

    fn error(text: &str) -> String {
        text.parse::<UserArg>().unwrap_err().to_string()
    }

    #[test]
    fn numbers_stand_for_themselves_even_where_passwd_has_such_a_name() {
        let account = |text| arg(text).resolve(PASSWD, GROUP).unwrap();
        let expected = |uid, gid| Account {
            uid,
            gid,
            additional_gids: vec![],
        };
        assert_eq!(account("1005"), expected(1005, None));
        assert_eq!(account("1000"), expected(1000, None));
        assert_eq!(account("0:0"), expected(0, Some(0)));
        assert_eq!(account("4294967294:7"), expected(MAX_ID, Some(7)));
        assert_eq!(account("007"), expected(7, None));
    }

    #[test]
    fn a_name_brings_its_group_and_its_supplementary_groups() {
        let account = arg("app").resolve(PASSWD, GROUP).unwrap();
        assert_eq!((account.uid, account.gid), (1000, Some(1001)));
        assert_eq!(account.additional_gids, [10, 44]);
    }

    #[test]
    fn a_given_group_takes_the_place_of_the_names_groups() {
        let account = arg("app:video").resolve(PASSWD, GROUP).unwrap();
        assert_eq!(
            account,
            Account {
                uid: 1000,
                gid: Some(44),
                additional_gids: vec![]
            }
        );
    }

    #[test]
    fn what_is_neither_a_number_nor_a_name_is_refused() {
        for (text, expected) in [
            ("", "--user \"\": \"\" is neither a number nor a name"),
            ("-1", "--user \"-1\": \"-1\" is neither a number nor a name"),
            ("+1", "--user \"+1\": \"+1\" is neither a number nor a name"),
            ("1:", "--user \"1:\": \"\" is neither a number nor a name"),
            (":1", "--user \":1\": \"\" is neither a number nor a name"),
            (
                "1:2:3",
                "--user \"1:2:3\": \"2:3\" is neither a number nor a name",
            ),
            ("1 ", "--user \"1 \": \"1 \" is neither a number nor a name"),
            ("a/b", "--user \"a/b\": \"a/b\" is neither a number nor a name"),
            (
                "4294967295",
                "--user \"4294967295\": 4294967295 is larger than 4294967294, the largest id",
            ),
            (
                "4294967296",
                "--user \"4294967296\": 4294967296 is larger than 4294967294, the largest id",
            ),
            (
                "1:18446744073709551616",
                "--user \"1:18446744073709551616\": 18446744073709551616 is larger than 4294967294, the largest id",
            ),
        ] {
            assert_eq!(error(text), expected);
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_file_it_is_missing_from() {
        for (text, expected) in [
            (
                "nobody",
                "--user: no user \"nobody\" in the container's /etc/passwd",
            ),
            (
                "app:nogroup",
                "--user: no group \"nogroup\" in the container's /etc/group",
            ),
            ("huge", "--user: no user \"huge\" in the container's /etc/passwd"),
            (
                "reserved",
                "--user: no user \"reserved\" in the container's /etc/passwd",
            ),
            ("plus", "--user: no user \"plus\" in the container's /etc/passwd"),
            (
                "blank",
                "--user: no user \"blank\" in the container's /etc/passwd",
            ),
            (
                "0:broken",
                "--user: no group \"broken\" in the container's /etc/group",
            ),
        ] {
            assert_eq!(
                arg(text).resolve(PASSWD, GROUP).unwrap_err().to_string(),
                expected
            );
        }
    }

    #[test]
    fn home_is_the_first_matching_lines_absolute_path() {
        for (uid, expected) in [
            (0, Some("/root")),
            (1000, Some("/home/app")),
            (1002, None),
            (1003, None),
            (1004, Some("/home/last")),
            (7, None),
            (8, None),
            (9999, None),
        ] {
            assert_eq!(home(PASSWD, uid).as_deref(), expected, "{uid}");
        }
        assert_eq!(home(b"a:x:1:1::/h\xff:/bin/sh", 1), None);
        assert_eq!(home(b"a:x:1:1::/h\0:/bin/sh", 1), None);
    }

    #[test]
    fn a_users_name_is_that_of_its_first_line() {
        assert_eq!(name(PASSWD, 0).as_deref(), Some("root"));
        assert_eq!(name(PASSWD, 1000).as_deref(), Some("app"));
        assert_eq!(name(PASSWD, 9999), None);
    }

    #[test]
    fn a_line_without_end_is_skipped() {
        let mut passwd = b"a:x:1:1::/long".to_vec();
        passwd.resize(MAX_LINE + 1, b'x');
        passwd.extend_from_slice(b"\nb:x:1:1::/home/b:/bin/sh");
        assert_eq!(home(&passwd, 1).as_deref(), Some("/home/b"));
    }

    proptest! {
        #[test]
        fn no_files_make_lookups_panic(passwd: Vec<u8>, group: Vec<u8>, uid: u32) {
            let _ = (home(&passwd, uid), name(&passwd, uid));
            let _ = arg("app:wheel").resolve(&passwd, &group);
            let _ = arg("app").resolve(&passwd, &group);
        }

        #[test]
        fn no_text_becomes_the_reserved_id(text in "[0-9:+-]{0,24}") {
            if let Ok(UserArg { user: Who::Id(uid), .. }) = text.parse::<UserArg>() {
                prop_assert!(uid <= MAX_ID);
            }
        }
    }
}
