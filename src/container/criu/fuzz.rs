//! What `make fuzz` gives to the reader of CRIU's answers.

use super::Response;

/// One message.
pub fn response(bytes: &[u8]) {
    let _ = Response::parse(bytes);
}
