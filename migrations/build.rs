//! The schema is read when this crate is compiled, so a changed file must compile it again.

fn main() {
    println!("cargo:rerun-if-changed=sqlite");
    println!("cargo:rerun-if-changed=postgres");
}
