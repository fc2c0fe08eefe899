//! openat2(2) and other calls on descriptors of files.
