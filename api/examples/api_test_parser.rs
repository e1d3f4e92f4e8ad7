//! The parser process of this crate's tests: what `vocero parse-worker` is in the product.

use std::process::ExitCode;

fn main() -> ExitCode {
    ingest::worker::main()
}
