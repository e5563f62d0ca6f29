//! Support for the tests that run against live interpreters.
