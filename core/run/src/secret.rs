//! Proof of a component's identity: a secret that only the component knows, and ids that are derived from a secret.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::id::ComponentId;

/// The length of a secret in bytes. The minimum keeps it from being guessed.
const BYTES: std::ops::RangeInclusive<usize> = 16..=200;
/// How many hexadecimal digits of the secret's digest an id contains.
const DIGITS: usize = 16;

/// A secret that a component presents at each registration of its id. It is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// The SHA-256 of a secret, which is enough to recognize the secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Proof([u8; 32]);

impl Secret {
    /// A secret from a text that only the component knows.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The `number`-th secret derived from a random seed. Knowing one of them does not reveal another.
    pub fn of_seed(seed: &[u8; 32], number: u64) -> Self {
        let digest = Sha256::new().chain_update(seed).chain_update(number.to_be_bytes()).finalize();
        Self(hex(&digest))
    }

    /// Whether the length is valid for a secret.
    pub fn is_valid(&self) -> bool {
        BYTES.contains(&self.0.len())
    }

    /// The proof that identifies this secret.
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
    /// The suffix of an id that is derived from a secret.
    const OF_KEY: &str = "~key";
    /// The suffix of an id that is derived from a secret by a role in the hub's own process.
    const WITHIN_HUB: &str = "~hub";

    /// An id that its component can prove to any hub, even to one that has never seen it: `NAME-DIGEST~key`, or
    /// `NAME-DIGEST~hub` for a role in the hub's own process.
    pub fn of_secret(name: &str, secret: &Secret, is_within_hub: bool) -> Self {
        let ending = if is_within_hub { Self::WITHIN_HUB } else { Self::OF_KEY };
        Self::from(format!("{name}-{}{ending}", digits(&secret.proof())))
    }

    /// Whether the component is a role in the hub's own process. It ends with that process, and no later hub needs to
    /// wait for it.
    pub fn is_within_hub(&self) -> bool {
        self.as_str().ends_with(Self::WITHIN_HUB)
    }

    /// `None` if the id is not derived from a secret and needs no proof; otherwise whether this proof matches.
    pub fn check_proof(&self, proof: Option<&Proof>) -> Option<bool> {
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
            assert_eq!(id.check_proof(Some(&mine.proof())), Some(true));
            assert_eq!((id.check_proof(Some(&other.proof())), id.check_proof(None)), (Some(false), Some(false)));
        }
        assert_eq!(ComponentId::from("engine-1").check_proof(None), None, "any other id proves nothing");
        for forged in ["~key", "-~hub", "engine~key", "engine-9f9f5111f7b27a7~key"] {
            assert_eq!(ComponentId::from(forged).check_proof(Some(&mine.proof())), Some(false), "{forged}");
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
