//! Only here so that the benches have a package. `cargo xtask bench rules` runs them.
