//! What the fixtures of the tests don't have: a Redis server's traffic, and PostgreSQL.

pub mod postgres;
pub mod traffic;
