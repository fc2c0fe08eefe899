//! prctl, prlimit, close_range and other calls on the own process.
