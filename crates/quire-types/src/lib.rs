//! Ids, enums, money, clock and the closed set of error kinds that every other crate speaks.
