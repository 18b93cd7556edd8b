//! Makes the parts of the crate public to the benches.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cfg=sinew_internals");
}
