//! Laws over real messages.
