//! A function of the crate that the suite does not call is not tested on both databases.

use std::fs;
use std::path::{Path, PathBuf};

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The module that callers name: `sources` for `sources/state.rs`.
fn module(source: &Path, file: &Path) -> String {
    let relative = file.strip_prefix(source).unwrap();
    let first = relative.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn every_function_is_called_by_this_suite() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = root.join("src");
    let suite: String = rust_files(&root.join("tests"))
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let (mut functions, mut missing) = (0, Vec::new());
    for file in rust_files(&source) {
        let module = module(&source, &file);
        for line in fs::read_to_string(&file).unwrap().lines() {
            let Some(rest) = line.trim_start().strip_prefix("pub async fn ") else { continue };
            let is_method = line.starts_with(' ');
            let name = rest.split(['(', '<']).next().unwrap();
            let call = if is_method { format!(".{name}(") } else { format!("{module}::{name}(") };
            functions += 1;
            if !suite.contains(&call) {
                missing.push(call);
            }
        }
    }
    assert!(functions > 80, "the functions were found: {functions}");
    assert!(missing.is_empty(), "not called by the suite: {missing:?}");
}
