//! Memory that misleads, and what is seen of a walk over it.

pub mod host;
pub mod image;
