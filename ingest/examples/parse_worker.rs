//! The parser process alone, for the tests of this crate and for timing it: `vocero parse-worker` is the
//! same function inside the product's binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    ingest::worker::main()
}
