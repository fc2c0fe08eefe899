//! From clone3 to execve.
