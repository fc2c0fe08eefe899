//! The root file system as a file descriptor.
