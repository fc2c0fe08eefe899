//! The record on disk and the verbs on a container.
