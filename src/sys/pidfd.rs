//! pidfd_open, pidfd_send_signal and setns by pidfd.
