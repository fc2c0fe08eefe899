//! Names in the form that messages have: each part after its length in a byte, in lower case, without the root's zero.
//! `db.shop` is `\2db\4shop`. Two names are equal when these bytes are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Reader;

/// The longest name, without the root's zero (RFC 1035, 2.3.4).
const LONGEST: usize = 254;
/// The longest part.
const LONGEST_LABEL: usize = 63;

/// A name that was read from a message. It lives on the stack: one is made for every question.
#[derive(Clone)]
pub(crate) struct Name {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Name {
    /// The name of no parts.
    pub(super) const ROOT: Self = Self {
        bytes: [0; LONGEST],
        length: 0,
    };

    /// Reads a name that is not compressed.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut name = Self::ROOT;
        loop {
            let length = reader.u8()?;
            if length == 0 {
                return Some(name);
            }
            if usize::from(length) > LONGEST_LABEL {
                return None;
            }
            let label = reader.bytes(usize::from(length))?;
            let end = name.length + 1 + label.len();
            let (first, rest) = name.bytes.get_mut(name.length..end)?.split_first_mut()?;
            *first = length;
            rest.copy_from_slice(label);
            rest.make_ascii_lowercase();
            name.length = end;
        }
    }

    /// A name as people write it; `None` when DNS cannot carry it.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let mut message = Vec::with_capacity(text.len() + 2);
        for label in text.strip_suffix('.').unwrap_or(text).split('.') {
            if label.is_empty() || label.len() > LONGEST_LABEL {
                return None;
            }
            message.push(label.len() as u8);
            message.extend_from_slice(label.as_bytes());
        }
        message.push(0);
        Self::read(&mut Reader::new(&message))
    }

    /// This name below that one.
    pub(crate) fn below(mut self, parent: &Self) -> Option<Self> {
        let end = self.length + parent.length;
        self.bytes
            .get_mut(self.length..end)?
            .copy_from_slice(parent.bytes());
        self.length = end;
        Some(self)
    }

    /// The bytes: what names are compared and looked up by.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Its parts, from the left.
    fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut reader = Reader::new(self.bytes());
        std::iter::from_fn(move || {
            let length = reader.u8()?;
            reader.bytes(usize::from(length))
        })
    }

    /// It is one part, like a host's name.
    pub(crate) fn is_single(&self) -> bool {
        self.labels().count() == 1
    }

    /// It stands for the client's own machine (RFC 6761, 6.3).
    pub(crate) fn is_localhost(&self) -> bool {
        self.labels().last() == Some(b"localhost")
    }

    /// It is that name or one below it.
    pub(crate) fn is_within(&self, parent: &Self) -> bool {
        let (own, parent) = (self.bytes(), parent.bytes());
        let Some(start) = own.len().checked_sub(parent.len()) else {
            return false;
        };
        // The end may only look the same: `\7a\4shop` ends like `\4shop`.
        let mut at = 0;
        while at < start {
            let Some(length) = own.get(at) else { return false };
            at += 1 + usize::from(*length);
        }
        at == start && own.get(start..) == Some(parent)
    }
}

/// Which addresses a name below `in-addr.arpa` or `ip6.arpa` stands for: one, or those that begin with the parts given.
pub(crate) fn reversed(name: &Name) -> Option<IpNet> {
    let mut labels: [&[u8]; 34] = [&[]; 34];
    let mut count = 0;
    for label in name.labels() {
        // Parts beyond an address do not matter: keep the last ones.
        if count == labels.len() {
            labels.rotate_left(1);
            count -= 1;
        }
        *labels.get_mut(count)? = label;
        count += 1;
    }
    match labels.get(..count)? {
        [rest @ .., b"in-addr", b"arpa"] => {
            let mut octets = [0; 4];
            let mut given = 0;
            for (octet, label) in octets.iter_mut().zip(rest.iter().rev()) {
                *octet = std::str::from_utf8(label).ok()?.parse().ok()?;
                given += 8;
            }
            Some(Ipv4Net::new(Ipv4Addr::from(octets), given).ok()?.into())
        }
        [rest @ .., b"ip6", b"arpa"] => {
            let mut bits = 0_u128;
            let mut given = 0;
            for label in rest.iter().rev() {
                let &[digit] = *label else { return None };
                bits = bits << 4 | u128::from(char::from(digit).to_digit(16)?);
                given += 4;
            }
            let bits = if given == 0 {
                0
            } else {
                bits << (128 - u32::from(given))
            };
            Some(Ipv6Net::new(Ipv6Addr::from(bits), given).ok()?.into())
        }
        _ => None,
    }
}

/// The one address that this stands for, when it is one.
pub(crate) fn single(reversed: IpNet) -> Option<IpAddr> {
    (reversed.prefix_len() == reversed.max_prefix_len()).then(|| reversed.addr())
}
