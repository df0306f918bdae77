//! Aside: a terminal chat whose model learns its user.
fn main() {}
