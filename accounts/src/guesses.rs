//! Wrong passwords and mails that are asked for are counted, so that nobody tries many and nobody fills a mailbox.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use domain::{DomainError, ErrorKind};
use moka::sync::Cache;

use crate::{Error, Result};

/// How long they are remembered.
const WINDOW: Duration = Duration::from_mins(15);
/// Wrong passwords within it that close the door of an account, and that of an address.
const PASSWORDS: Most = Most {
    of_account: 10,
    of_address: 100,
    message: "too many wrong passwords; wait as long as Retry-After says",
};
/// Wrong codes of a second factor.
const CODES: Most = Most {
    of_account: 10,
    of_address: 100,
    message: "too many wrong codes; wait as long as Retry-After says",
};
/// Mails within it to an account, and asked for from an address.
const MAILS: Most = Most {
    of_account: 5,
    of_address: 50,
    message: "too many mails were asked for; wait as long as Retry-After says",
};
/// Accounts and addresses remembered; the ones that were least used go first.
const REMEMBERED: u64 = 100_000;

type Counts<K> = Cache<K, Arc<AtomicU32>>;

#[derive(Debug)]
struct Most {
    of_account: u32,
    of_address: u32,
    message: &'static str,
}

/// Counts what accounts and addresses try, in this process.
#[derive(Debug)]
pub(crate) struct Guesses {
    most: Most,
    accounts: Counts<String>,
    addresses: Counts<IpAddr>,
}

impl Guesses {
    /// Of passwords.
    pub(crate) fn of_passwords() -> Self {
        Self { most: PASSWORDS, accounts: counts(), addresses: counts() }
    }

    /// Of codes.
    pub(crate) fn of_codes() -> Self {
        Self { most: CODES, accounts: counts(), addresses: counts() }
    }

    /// Of mails.
    pub(crate) fn of_mails() -> Self {
        Self { most: MAILS, accounts: counts(), addresses: counts() }
    }

    /// An error when account or address had too many. An attempt counts from its beginning, so that many at once are no way
    /// around it; [`Self::was_right`] takes it back.
    pub(crate) fn begin(&self, email: &str, address: IpAddr) -> Result<()> {
        let account = self.accounts.get_with_by_ref(email, Arc::default);
        let address = self.addresses.get_with(address, Arc::default);
        for (count, most) in [(account, self.most.of_account), (address, self.most.of_address)] {
            if count.fetch_add(1, Ordering::Relaxed) >= most {
                let message = self.most.message;
                let error = DomainError::new(ErrorKind::RateLimited, "RATE_LIMITED", message);
                return Err(Error::Domain(DomainError { retry_after: Some(WINDOW), ..error }));
            }
        }
        Ok(())
    }

    /// The account begins anew: its password is another one.
    pub(crate) fn forgive(&self, email: &str) {
        self.accounts.invalidate(email);
    }

    /// The password was right: the account begins anew, and the address gets its attempt back.
    pub(crate) fn was_right(&self, email: &str, address: IpAddr) {
        self.accounts.invalidate(email);
        if let Some(count) = self.addresses.get(&address) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn counts<K: std::hash::Hash + Eq + Send + Sync + 'static>() -> Counts<K> {
    Cache::builder().max_capacity(REMEMBERED).time_to_live(WINDOW).build()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn ten_wrong_ones_close_an_account_and_a_hundred_an_address() {
        let guesses = Guesses::of_passwords();
        let address = |n: u8| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n));
        for n in 0..10 {
            guesses.begin("ana@ejemplo.com", address(n)).unwrap();
        }
        let refused = guesses.begin("ana@ejemplo.com", address(11)).unwrap_err();
        assert!(matches!(refused, Error::Domain(error) if error.retry_after == Some(WINDOW)));
        for n in 0..100 {
            guesses.begin(&format!("{n}@ejemplo.com"), address(99)).unwrap();
        }
        assert!(guesses.begin("otra@ejemplo.com", address(99)).is_err());
        assert!(guesses.begin("otra@ejemplo.com", address(98)).is_ok());
    }

    #[test]
    fn a_right_one_is_no_guess() {
        let guesses = Guesses::of_passwords();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for _ in 0..500 {
            guesses.begin("ana@ejemplo.com", address).unwrap();
            guesses.was_right("ana@ejemplo.com", address);
        }
    }
}
