//! The wire format of protocol buffers, as far as CRIU's messages need it: numbers, texts and messages in messages
//! (<https://protobuf.dev/programming-guides/encoding/>).

use crate::error::{Error, Kind, Result};

/// Wire types.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED_32: u64 = 5;

/// A message that is being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A number; a negative one of whatever size has ten bytes.
    pub(super) fn number(&mut self, field: u32, value: i64) {
        self.varint(u64::from(field) << 3 | VARINT);
        self.varint(value.cast_unsigned());
    }

    /// True; false is what a field without a value means.
    pub(super) fn flag(&mut self, field: u32, value: bool) {
        if value {
            self.number(field, 1);
        }
    }

    pub(super) fn text(&mut self, field: u32, value: &str) {
        self.varint(u64::from(field) << 3 | LENGTH);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value.as_bytes());
    }

    pub(super) fn message(&mut self, field: u32, value: &Writer) {
        self.varint(u64::from(field) << 3 | LENGTH);
        self.varint(value.0.len() as u64);
        self.0.extend_from_slice(&value.0);
    }
}

/// What stands in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl Value<'_> {
    /// As an int32.
    pub(super) fn number(self) -> i32 {
        match self {
            Value::Number(value) => value as i32,
            Value::Bytes(_) => 0,
        }
    }

    pub(super) fn text(self) -> String {
        match self {
            Value::Number(_) => String::new(),
            Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        }
    }
}

/// All fields of a message, in their order.
///
/// # Errors
/// Bytes that are no message.
pub(super) fn fields(mut bytes: &[u8]) -> Result<Vec<(u64, Value<'_>)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let field = next(&mut bytes)
            .ok_or_else(|| Error::new(Kind::Program, "criu sent a message that cannot be read"))?;
        fields.push(field);
    }
    Ok(fields)
}

fn next<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let key = varint(bytes)?;
    let value = match key & 7 {
        VARINT => Value::Number(varint(bytes)?),
        FIXED_64 => Value::Bytes(take(bytes, 8)?),
        FIXED_32 => Value::Bytes(take(bytes, 4)?),
        LENGTH => {
            let length = varint(bytes)?;
            Value::Bytes(take(bytes, usize::try_from(length).ok()?)?)
        }
        _ => return None,
    };
    Some((key >> 3, value))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(bytes, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_and_texts_are_encoded_as_the_format_says() {
        let mut message = Writer::default();
        message.number(1, 150);
        message.text(2, "testing");
        message.number(7, -1);
        assert_eq!(
            message.bytes(),
            b"\x08\x96\x01\x12\x07testing\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
        );
        let fields = fields(message.bytes()).unwrap();
        assert_eq!(fields[0], (1, Value::Number(150)));
        assert_eq!(fields[1].1.text(), "testing");
        assert_eq!(fields[2].1.number(), -1);
    }

    #[test]
    fn a_message_that_was_cut_is_an_error() {
        assert!(fields(b"\x12\x07test").is_err());
        assert!(fields(b"\x08").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = fields(&bytes);
        }
    }
}
