//! The update, tallies, accounts and marks.
