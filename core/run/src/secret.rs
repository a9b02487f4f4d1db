//! What proves that a component is the one that it says it is: a secret that only it knows, and ids that are made from
//! one.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::id::ComponentId;

/// A secret has at least so many bytes, so that it cannot be guessed, and at most so many.
const BYTES: std::ops::RangeInclusive<usize> = 16..=200;
/// So many hexadecimal digits of the secret's digest stand in an id that is made from it.
const DIGITS: usize = 16;

/// What a component brings to each registration of its id. It is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// The SHA-256 of a secret: enough to know it again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Proof([u8; 32]);

impl Secret {
    /// Of a text that nobody else knows.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The `number`th secret that follows from a random seed; whoever knows one knows no other.
    pub fn of_seed(seed: &[u8; 32], number: u64) -> Self {
        let digest = Sha256::new().chain_update(seed).chain_update(number.to_be_bytes()).finalize();
        Self(hex(&digest))
    }

    /// Whether it can be one.
    pub fn is_valid(&self) -> bool {
        BYTES.contains(&self.0.len())
    }

    /// By which it is known again.
    pub fn proof(&self) -> Proof {
        Proof(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof(…)")
    }
}

impl ComponentId {
    /// How ids end that are made from a secret.
    const OF_KEY: &str = "~key";
    /// How those end that are made from one by a role in the process of the hub itself.
    const WITHIN_HUB: &str = "~hub";

    /// An id that its component can prove to any hub, also to one that has never heard of it: `NAME-DIGEST~key`, or
    /// `NAME-DIGEST~hub` for a role in the process of the hub itself.
    pub fn of_secret(name: &str, secret: &Secret, is_within_hub: bool) -> Self {
        let ending = if is_within_hub { Self::WITHIN_HUB } else { Self::OF_KEY };
        Self::from(format!("{name}-{}{ending}", digits(&secret.proof())))
    }

    /// Whether the component is a role in the hub's own process. When that process ends so does the component, and no
    /// later hub needs to wait for it.
    pub fn is_within_hub(&self) -> bool {
        self.as_str().ends_with(Self::WITHIN_HUB)
    }

    /// Whether the id is made from a secret, so that it must be proven; and whether this is that secret.
    pub fn needs(&self, proof: Option<&Proof>) -> Option<bool> {
        let text = self.as_str();
        let named = text.strip_suffix(Self::OF_KEY).or_else(|| text.strip_suffix(Self::WITHIN_HUB))?;
        Some(proof.is_some_and(|proof| named.rsplit('-').next() == Some(digits(proof).as_str())))
    }
}

fn digits(proof: &Proof) -> String {
    let mut digits = hex(&proof.0);
    digits.truncate(DIGITS);
    digits
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_secret_is_proven_by_that_secret_alone() {
        let (mine, other) = (Secret::new("0123456789abcdef"), Secret::new("0123456789abcdeF"));
        for (is_within_hub, expected) in [(false, "engine-9f9f5111f7b27a78~key"), (true, "engine-9f9f5111f7b27a78~hub")]
        {
            let id = ComponentId::of_secret("engine", &mine, is_within_hub);
            assert_eq!(id.as_str(), expected);
            assert_eq!(id.is_within_hub(), is_within_hub);
            assert_eq!(id.needs(Some(&mine.proof())), Some(true));
            assert_eq!((id.needs(Some(&other.proof())), id.needs(None)), (Some(false), Some(false)));
        }
        assert_eq!(ComponentId::from("engine-1").needs(None), None, "any other id proves nothing");
        for forged in ["~key", "-~hub", "engine~key", "engine-9f9f5111f7b27a7~key"] {
            assert_eq!(ComponentId::from(forged).needs(Some(&mine.proof())), Some(false), "{forged}");
        }
    }

    #[test]
    fn a_secret_is_not_shown_and_not_guessed() {
        assert_eq!(format!("{:?}", Secret::new("0123456789abcdef")), "Secret(…)");
        assert!(!Secret::new("short").is_valid() && !Secret::new("x".repeat(201)).is_valid());
        let (one, two) = (Secret::of_seed(&[1; 32], 1), Secret::of_seed(&[1; 32], 2));
        assert!(one.is_valid() && one != two && one != Secret::of_seed(&[2; 32], 1));
    }
}
