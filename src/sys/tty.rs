//! Pseudo terminals.
