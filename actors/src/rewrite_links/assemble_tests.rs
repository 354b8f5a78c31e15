//! Kept fields.
