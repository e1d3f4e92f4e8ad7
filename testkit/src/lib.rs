#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

pub mod db;
pub mod mail_server;
pub mod model_folder;
pub mod model_server;

/// The address of a bucket (`s3://bucket/prefix`) that the `AWS_…` variables lead to; `None`, said on standard
/// error, when there is none. `scripts/test-s3.sh` starts a server with one.
///
/// # Panics
/// When it is required (`VOCERO_REQUIRE_S3=1`) and there is none.
pub fn s3_url(test: &str) -> Option<String> {
    let url = std::env::var("VOCERO_TEST_S3_URL").ok();
    if url.is_none() {
        let required = std::env::var("VOCERO_REQUIRE_S3").is_ok_and(|value| value == "1");
        assert!(!required, "VOCERO_REQUIRE_S3 is set but VOCERO_TEST_S3_URL is not");
        eprintln!(
            "NOT RUN on a bucket: {test} (set VOCERO_TEST_S3_URL, or use scripts/test-s3.sh)"
        );
    }
    url
}
