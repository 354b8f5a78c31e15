//! Hints in places of every kind.
