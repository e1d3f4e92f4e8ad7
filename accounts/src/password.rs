//! Passwords: how they are kept and checked.

use std::sync::LazyLock;

use argon2::password_hash::{PasswordHash, SaltString};
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use domain::{Ambient, DomainError};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::{Error, Result};

/// Characters that a password must have at least, and may have at most.
pub const LENGTH: (usize, usize) = (8, 200);
/// Passwords that are computed at a time: each takes 19 MiB and some 20 ms of a core.
const AT_ONCE: usize = 2;
/// KiB of memory and passes, as OWASP advises.
const COST: (u32, u32) = (19_456, 2);

/// Computes and checks hashes, a few at a time and off the async threads.
#[derive(Debug)]
pub(crate) struct Passwords {
    turns: Semaphore,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        Self { turns: Semaphore::new(AT_ONCE) }
    }

    /// What is kept of a password, in the PHC string format.
    pub(crate) async fn hash(&self, ambient: &Ambient, password: SecretString) -> Result<String> {
        let salt = ambient.random_bytes::<16>();
        self.compute(move || {
            let salt = SaltString::encode_b64(&salt)?;
            let hash = argon2().hash_password(password.expose_secret().as_bytes(), &salt)?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Whether a password is the one of which `hash` was kept. Without one the answer is no, after as long.
    pub(crate) async fn is(&self, hash: Option<String>, password: SecretString) -> Result<bool> {
        /// Of a password that nobody has.
        static NOBODY: LazyLock<String> = LazyLock::new(|| {
            let salt = SaltString::encode_b64(&[7; 16]);
            let hash = salt.and_then(|salt| Ok(argon2().hash_password(&[0], &salt)?.to_string()));
            hash.unwrap_or_default()
        });
        self.compute(move || {
            // Who came by an identity provider has no password, and what stands in its place is no hash.
            let hash = hash.filter(|hash| PasswordHash::new(hash).is_ok());
            let known = hash.is_some();
            let hash = hash.unwrap_or_else(|| NOBODY.clone());
            let hash = PasswordHash::new(&hash)?;
            let is = argon2().verify_password(password.expose_secret().as_bytes(), &hash).is_ok();
            Ok(is && known)
        })
        .await
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> argon2::password_hash::Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = self.turns.acquire().await;
        let done = tokio::task::spawn_blocking(work).await;
        drop(turn);
        match done {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Error::internal(format!("a password hash: {error}"))),
            Err(_) => Err(Error::internal("computing a password hash broke off")),
        }
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(COST.0, COST.1, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Checks a password that somebody wants to have.
pub(crate) fn check(field: &str, password: &SecretString, email: &str) -> Result<()> {
    let text = password.expose_secret();
    let chars = text.chars().count();
    let (least, most) = LENGTH;
    let refused = |message: String| Err(Error::Domain(DomainError::invalid(field, message)));
    if !(least..=most).contains(&chars) {
        return refused(format!(
            "`{field}` must have {least} to {most} characters; it has {chars}"
        ));
    }
    if text.to_lowercase() == email {
        return refused(format!("`{field}` must not be the e-mail address"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_and_nobody_has_none() {
        let (passwords, ambient) = (Passwords::new(), Ambient::system());
        let secret = || SecretString::from("correcto caballo ñ");
        let hash = passwords.hash(&ambient, secret()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash(&ambient, secret()).await.unwrap(), "each has a salt");
        assert!(passwords.is(Some(hash.clone()), secret()).await.unwrap());
        assert!(!passwords.is(Some(hash), "otra cosa".into()).await.unwrap());
        assert!(!passwords.is(None, "\0".into()).await.unwrap());
        assert!(!passwords.is(Some("none".to_owned()), "none".into()).await.unwrap());
    }

    #[test]
    fn a_wanted_password_has_a_length_and_is_not_the_address() {
        let wanted = |text: &str| check("password", &text.into(), "ana@ejemplo.com").is_ok();
        assert!(wanted("ñandúñan"));
        assert!(!wanted("ñandúña"));
        assert!(!wanted(&"x".repeat(201)));
        assert!(!wanted("Ana@Ejemplo.com"));
    }
}
