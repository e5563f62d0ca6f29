//! Shares of await points against the target's own account.
fn main() {}
