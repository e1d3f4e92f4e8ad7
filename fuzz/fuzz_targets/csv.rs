#![no_main]

use libfuzzer_sys::fuzz_target;
use vocero_fuzz::extract::Format;

fuzz_target!(|bytes: &[u8]| vocero_fuzz::extract(Format::Csv, bytes));
