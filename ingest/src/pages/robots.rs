//! What a site lets robots read (RFC 9309).

use texting_robots::Robot;
use url::Url;

use super::USER_AGENT_NAME;

/// Bytes of a robots.txt that are looked at; the standard asks for at least 500 KiB.
pub(super) const MAX_BYTES: usize = 512 * 1_024;

/// Where a site's rules stand.
pub(super) const PATH: &str = "/robots.txt";

/// The rules of one site.
#[derive(Debug)]
pub(super) enum Rules {
    /// There are none (4xx), or the file makes no sense.
    AllowAll,
    /// What the file says for us.
    Listed(Robot),
}

impl Rules {
    /// Reads a robots.txt.
    pub(super) fn parse(text: &[u8]) -> Self {
        Robot::new(USER_AGENT_NAME, text).map_or(Self::AllowAll, Self::Listed)
    }

    /// Whether a page may be read.
    pub(super) fn allow(&self, url: &Url) -> bool {
        match self {
            Self::AllowAll => true,
            Self::Listed(robot) => robot.allowed(url.as_str()),
        }
    }
}
