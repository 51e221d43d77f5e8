//! Passwords: long ones, kept as Argon2id hashes (RFC 9106), with the least cost that OWASP names for
//! it: 19 MiB, two passes, one lane.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

/// Letters of a password at least.
pub const CHARS_MIN: usize = 12;
/// Letters at most: what is longer is no password.
pub const CHARS_MAX: usize = 128;
/// Different letters at least.
const DIFFERENT_MIN: usize = 6;
/// Beginnings and endings that everybody tries first.
const COMMON: [&str; 8] =
    ["password", "passwort", "12345678", "qwertzui", "qwertyui", "administrator", "forebay", "letmein"];

/// Why a password is not good enough, with the fix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Weak {
    /// Too short.
    #[error("the password has fewer than {CHARS_MIN} letters; several words are easy to remember")]
    Short,
    /// Too long.
    #[error("the password has more than {CHARS_MAX} letters")]
    Long,
    /// Always the same letters.
    #[error("the password has fewer than {DIFFERENT_MIN} different letters")]
    Repeated,
    /// One that everybody tries.
    #[error("the password holds the name of the person, or a word that everybody tries first")]
    Common,
}

/// Checks a new password of this person.
///
/// # Errors
/// [`Weak`].
pub fn check(password: &str, name: &str) -> Result<(), Weak> {
    let letters = password.chars().count();
    if letters < CHARS_MIN {
        return Err(Weak::Short);
    }
    if letters > CHARS_MAX {
        return Err(Weak::Long);
    }
    let mut different: Vec<char> = password.chars().collect();
    different.sort_unstable();
    different.dedup();
    if different.len() < DIFFERENT_MIN {
        return Err(Weak::Repeated);
    }
    let small = password.to_lowercase();
    let has_name = name.chars().count() > 2 && small.contains(&name.to_lowercase());
    // What is left without the common word must be long enough by itself.
    let is_common = |word: &str| small.contains(word) && letters < CHARS_MIN + word.len();
    if has_name || COMMON.into_iter().any(is_common) {
        return Err(Weak::Common);
    }
    Ok(())
}

fn argon2() -> Argon2<'static> {
    // The parameters are within their bounds.
    let params = Params::new(19 * 1024, 2, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// The hash of a password, with a salt of its own.
///
/// # Errors
/// When the system gives no random numbers or no memory.
pub fn hash(password: &str) -> Result<String, String> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
    let salt = SaltString::encode_b64(&salt).map_err(|error| error.to_string())?;
    let hash = argon2().hash_password(password.as_bytes(), &salt).map_err(|error| error.to_string())?;
    Ok(hash.to_string())
}

/// Whether this is the hash of a password as [`hash`] makes it.
pub fn is_hash(hash: &str) -> bool {
    let read = PasswordHash::new(hash).ok();
    let params = read.as_ref().and_then(|hash| Params::try_from(hash).ok());
    // Others could make a check cost any amount of memory.
    let same = params.is_some_and(|params| params.m_cost() == 19 * 1024 && params.t_cost() == 2);
    same && read.is_some_and(|hash| hash.algorithm == Algorithm::Argon2id.ident() && hash.hash.is_some())
}

/// Whether the hash is that of the password.
pub fn is_right(password: &str, hash: &str) -> bool {
    let Some(hash) = is_hash(hash).then(|| PasswordHash::new(hash).ok()).flatten() else { return false };
    password.len() <= CHARS_MAX * 4 && argon2().verify_password(password.as_bytes(), &hash).is_ok()
}

/// Takes as long as [`is_right`], so that nobody can measure which names exist.
pub fn waste(password: &str) {
    let mut nothing = [0; 32];
    let bytes = password.as_bytes().get(..CHARS_MAX).unwrap_or(password.as_bytes());
    let _of_no_use = argon2().hash_password_into(bytes, b"nobody has this salt", &mut nothing);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_passwords_are_refused_and_long_ones_are_fine() {
        for (password, weak) in [
            ("short", Weak::Short),
            ("elevenchars", Weak::Short),
            ("aaaaaaaaaaaaaaaa", Weak::Repeated),
            ("ababababababab", Weak::Repeated),
            ("Passwort2026!", Weak::Common),
            ("1234567890ab", Weak::Common),
            ("anna-is-the-best", Weak::Common),
        ] {
            assert_eq!(check(password, "anna"), Err(weak), "{password}");
        }
        assert_eq!(check(&"xyz äöü 12".repeat(13), "anna"), Err(Weak::Long));
        for password in
            ["correct horse battery", "blaue Presse im Regen", "my forebay stands behind the old hall"]
        {
            assert_eq!(check(password, "anna"), Ok(()), "{password}");
        }
    }

    #[test]
    fn only_the_password_fits_its_hash() {
        let (one, two) = (hash("correct horse battery").unwrap(), hash("correct horse battery").unwrap());
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
        assert_ne!(one, two, "each has a salt of its own");
        assert!(is_right("correct horse battery", &one) && !is_right("correct horse", &one));
        assert!(
            !is_right("", "")
                && !is_right("x", "$argon2id$v=19$m=4294967295,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g")
        );
        waste(&"ä".repeat(1000));
    }
}
