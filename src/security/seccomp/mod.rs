//! Our own compiler from an OCI seccomp profile to a classic BPF program.
