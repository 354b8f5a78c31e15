//! Laws over made-up messages.
