//! config.json: load, validate, default.
