//! What `make fuzz` gives to the reader of systemd's answers.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use super::manager::Manager;

/// All that a manager ever says, up to the end of the connection.
pub fn answers(bytes: &[u8]) {
    const GREETING: &[u8] = b"DATA\r\nOK 0\r\n";
    for greeting in [&[], GREETING] {
        let Ok((ours, mut theirs)) = UnixStream::pair() else {
            return;
        };
        // Fits into the socket's buffer, so that nobody has to read meanwhile.
        let said = [greeting, bytes].concat();
        if theirs
            .write_all(&said)
            .and_then(|()| theirs.shutdown(Shutdown::Write))
            .is_ok()
            && let Ok(mut manager) = Manager::over(ours)
        {
            let _ = manager.control_group();
            let _ = manager.start_transient_unit("web.scope", &[]);
        }
    }
}
