//! getrandom(2).

/// Two bytes that nobody can guess; `None` when the kernel has no randomness yet, early in the boot.
pub fn u16() -> Option<u16> {
    let mut bytes = [0_u8; 2];
    // SAFETY: pointer and length describe the array.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    (got == 2).then(|| u16::from_ne_bytes(bytes))
}
