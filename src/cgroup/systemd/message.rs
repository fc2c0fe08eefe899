//! Messages of the D-Bus protocol (D-Bus specification, "Message Protocol"), as far as systemd's manager needs them.

/// A method's parameter or a unit's property.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `y`
    Byte(u8),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `x`
    I64(i64),
    /// `t`
    U64(u64),
    /// `d`
    F64(f64),
    /// `s`
    Text(String),
    /// `as`
    Texts(Vec<String>),
    /// `au`
    Numbers(Vec<u32>),
    /// `ay`
    Bytes(Vec<u8>),
}

/// A unit's property: name and value.
pub type Property = (String, Value);

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;
/// Messages have the byte order of their sender.
const ORDER: u8 = if cfg!(target_endian = "little") {
    b'l'
} else {
    b'B'
};
/// Up to the header's fields.
pub(super) const FIXED: usize = 16;

/// Bytes under construction; a value is aligned to its size, counted from the message's begin.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, size: usize) {
        self.0.resize(self.0.len().next_multiple_of(size), 0);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_ne_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.u32(length(text.len()));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, signature: &str) {
        self.0.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.0.extend(signature.as_bytes());
        self.0.push(0);
    }

    /// An array whose elements are aligned to `size`: its length in bytes does not count the padding before the first.
    fn array(&mut self, size: usize, elements: impl FnOnce(&mut Writer)) {
        self.u32(0);
        let at = self.0.len() - 4;
        self.align(size);
        let begin = self.0.len();
        elements(self);
        let bytes = length(self.0.len() - begin);
        if let Some(place) = self.0.get_mut(at..at + 4) {
            place.copy_from_slice(&bytes.to_ne_bytes());
        }
    }

    pub(super) fn numbers(&mut self, numbers: &[u32]) {
        self.array(4, |array| numbers.iter().for_each(|number| array.u32(*number)));
    }

    /// `a(sv)`
    pub(super) fn properties(&mut self, properties: &[Property]) {
        self.array(8, |array| {
            for (name, value) in properties {
                array.align(8);
                array.text(name);
                array.variant(value);
            }
        });
    }

    /// An array of any type without elements; `size` is the alignment of one.
    pub(super) fn empty_array(&mut self, size: usize) {
        self.array(size, |_| ());
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Bool(value) => self.u32(u32::from(*value)),
            Value::Byte(value) => self.0.push(*value),
            Value::I32(value) => self.u32(value.cast_unsigned()),
            Value::U32(value) => self.u32(*value),
            Value::I64(value) => self.u64(value.cast_unsigned()),
            Value::U64(value) => self.u64(*value),
            Value::F64(value) => self.u64(value.to_bits()),
            Value::Text(text) => self.text(text),
            Value::Texts(texts) => self.array(4, |array| texts.iter().for_each(|text| array.text(text))),
            Value::Numbers(numbers) => self.numbers(numbers),
            Value::Bytes(bytes) => self.array(1, |array| array.0.extend(bytes)),
        }
    }

    fn u64(&mut self, value: u64) {
        self.align(8);
        self.0.extend(value.to_ne_bytes());
    }

    pub(super) fn flag(&mut self, value: bool) {
        self.u32(u32::from(value));
    }
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Value::Bool(_) => "b",
            Value::Byte(_) => "y",
            Value::I32(_) => "i",
            Value::U32(_) => "u",
            Value::I64(_) => "x",
            Value::U64(_) => "t",
            Value::F64(_) => "d",
            Value::Text(_) => "s",
            Value::Texts(_) => "as",
            Value::Numbers(_) => "au",
            Value::Bytes(_) => "ay",
        }
    }
}

/// Nothing that is sent comes near the protocol's limit of 128 MiB.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// A call of systemd's manager; `signature` describes what `body` holds.
pub(super) fn call(serial: u32, interface: &str, member: &str, signature: &str, body: Writer) -> Vec<u8> {
    let mut message = Writer(vec![ORDER, METHOD_CALL, 0, 1]);
    message.u32(length(body.0.len()));
    message.u32(serial);
    let fields = [
        (1, "o", "/org/freedesktop/systemd1"),
        (2, "s", interface),
        (3, "s", member),
        (6, "s", "org.freedesktop.systemd1"),
        (8, "g", signature),
    ];
    message.array(8, |array| {
        for (code, kind, text) in fields.into_iter().filter(|(_, _, text)| !text.is_empty()) {
            array.align(8);
            array.0.push(code);
            array.signature(kind);
            if kind == "g" {
                array.signature(text);
            } else {
                array.text(text);
            }
        }
    });
    message.align(8);
    message.0.extend(body.0);
    message.0
}

/// What has come.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    kind: u8,
    /// The call that it answers.
    pub(super) answers: u32,
    /// The signal's name.
    pub(super) member: String,
    /// The error's name.
    pub(super) error: String,
    body: Vec<u8>,
}

impl Message {
    pub(super) fn is_answer(&self) -> bool {
        matches!(self.kind, METHOD_RETURN | ERROR)
    }

    pub(super) fn is_error(&self) -> bool {
        self.kind == ERROR
    }

    pub(super) fn is_signal(&self) -> bool {
        self.kind == SIGNAL
    }

    /// How long the rest is, by a message's first bytes: its fields, padded, and its body. None when these are not the
    /// first bytes of a message.
    pub(super) fn rest(fixed: &[u8; FIXED]) -> Option<usize> {
        const LIMIT: usize = 1 << 20;
        let mut reader = Reader { bytes: fixed, at: 4 };
        let (body, _serial, fields) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let rest = (fields as usize).next_multiple_of(8).checked_add(body as usize)?;
        (fixed[0] == ORDER && rest <= LIMIT).then_some(rest)
    }

    /// The message from its bytes.
    pub(super) fn parse(bytes: &[u8]) -> Option<Message> {
        let mut reader = Reader { bytes, at: 12 };
        let end = FIXED + reader.u32()? as usize;
        let mut message = Message {
            kind: *bytes.get(1)?,
            ..Message::default()
        };
        while reader.at < end {
            reader.align(8);
            let code = reader.byte()?;
            match (code, reader.signature()?) {
                (3, "s") => reader.text()?.clone_into(&mut message.member),
                (4, "s") => reader.text()?.clone_into(&mut message.error),
                (5, "u") => message.answers = reader.u32()?,
                (_, "s" | "o") => drop(reader.text()?),
                (_, "g") => drop(reader.signature()?),
                (_, "u") => drop(reader.u32()?),
                _ => return None,
            }
        }
        message.body = bytes.get(end.next_multiple_of(8)..)?.to_owned();
        Some(message)
    }

    pub(super) fn body(&self) -> Reader<'_> {
        Reader {
            bytes: &self.body,
            at: 0,
        }
    }
}

/// Values in their order.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn align(&mut self, size: usize) {
        self.at = self.at.next_multiple_of(size);
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_ne_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()? as usize;
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        self.byte().map(|_| text)
    }

    pub(super) fn signature(&mut self) -> Option<&'a str> {
        let length = usize::from(self.byte()?);
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        self.byte().map(|_| text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_reads_back_as_it_was_written() {
        let mut body = Writer::default();
        body.text("web.scope");
        body.properties(&[
            ("Delegate".to_owned(), Value::Bool(true)),
            ("MemoryMax".to_owned(), Value::U64(7)),
        ]);
        let bytes = call(9, "org.example.Manager", "Start", "sa(sv)", body);
        let fixed: [u8; FIXED] = bytes[..FIXED].try_into().unwrap();
        assert_eq!(Message::rest(&fixed), Some(bytes.len() - FIXED));
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.member, "Start");
        let mut reader = message.body();
        assert_eq!(reader.text(), Some("web.scope"));
        let _length = reader.u32().unwrap();
        reader.align(8);
        assert_eq!(
            (reader.text(), reader.signature(), reader.u32()),
            (Some("Delegate"), Some("b"), Some(1))
        );
    }

    #[test]
    fn what_is_cut_off_or_no_message_is_refused_without_a_panic() {
        let bytes = call(1, "a.b", "C", "", Writer::default());
        for length in FIXED..bytes.len() {
            let _ = Message::parse(&bytes[..length]);
        }
        assert_eq!(Message::rest(&[0xff; FIXED]), None);
        assert_eq!(Message::parse(&[0xff; 64]), None);
    }
}
