//! clone3(2).
