//! How long to wait before the next attempt.

use gleitzeit_workflow::id::TaskId;
use gleitzeit_workflow::spec::{Backoff, RetryPolicy};

use crate::id::{Attempt, RunId};

/// The longest delay that a provider can ask for, in milliseconds: a day. A longer one is a mistake, and would make the
/// task appear to hang.
const MAX_ASKED_MS: u64 = 24 * 60 * 60 * 1_000;

/// The delay after the `failures`-th failure (from 1), in milliseconds. It never exceeds the policy's maximum, except
/// that `retry_after_ms`, set by the provider, is a lower bound (up to a day). Jitter shortens or lengthens it by at
/// most the policy's share. It is derived from a hash of run, task and attempt, so every component computes the same
/// delay.
pub fn delay_ms(
    policy: &RetryPolicy,
    failures: u32,
    retry_after_ms: Option<u64>,
    run_id: RunId,
    task_id: &TaskId,
    attempt: Attempt,
) -> u64 {
    let step = failures.max(1) - 1;
    let grown = match policy.backoff {
        Backoff::Fixed => policy.initial_delay_ms,
        Backoff::Linear => policy.initial_delay_ms.saturating_mul(u64::from(step) + 1),
        Backoff::Exponential => {
            policy.initial_delay_ms.saturating_mul(1u64.checked_shl(step.min(63)).unwrap_or(u64::MAX))
        }
    };
    let delay = vary(grown.min(policy.max_delay_ms), policy.jitter, hash(run_id, task_id, attempt));
    delay.min(policy.max_delay_ms).max(retry_after_ms.unwrap_or(0).min(MAX_ASKED_MS))
}

/// Varies `delay` by up to ± `share` of it, depending on where the hash lies in its range.
fn vary(delay: u64, share: f64, hash: u64) -> u64 {
    let permille_share = [0.0, share.clamp(0.0, 0.5) * 1000.0].into_iter().fold(0.0f64, f64::max);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=500 above")]
    let share = permille_share as u64;
    let span = delay.saturating_mul(2 * share) / 1000;
    let low = delay - (delay.saturating_mul(share) / 1000).min(delay);
    if span == 0 { delay } else { low + hash % (span + 1) }
}

/// FNV-1a, 64 bits: stable across versions and machines, unlike the standard library's hasher.
fn hash(run_id: RunId, task_id: &TaskId, attempt: Attempt) -> u64 {
    let bytes = run_id.0.as_bytes().iter().chain(task_id.as_str().as_bytes()).copied().chain(attempt.to_le_bytes());
    let fnv =
        bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    // FNV's low bits are weak for short inputs; mix them once.
    (fnv ^ (fnv >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay(policy: &RetryPolicy, failures: u32, retry_after_ms: Option<u64>) -> u64 {
        delay_ms(policy, failures, retry_after_ms, RunId(uuid::Uuid::from_u128(7)), &"a".into(), failures)
    }

    #[test]
    fn delays_grow_as_the_policy_says_up_to_its_maximum() {
        let policy =
            |backoff| RetryPolicy { backoff, initial_delay_ms: 100, max_delay_ms: 450, ..RetryPolicy::default() };
        let all = |backoff| (1..=5).map(|failures| delay(&policy(backoff), failures, None)).collect::<Vec<_>>();
        assert_eq!(all(Backoff::Fixed), [100, 100, 100, 100, 100]);
        assert_eq!(all(Backoff::Linear), [100, 200, 300, 400, 450]);
        assert_eq!(all(Backoff::Exponential), [100, 200, 400, 450, 450]);
        assert_eq!(delay(&policy(Backoff::Exponential), u32::MAX, None), 450);
    }

    #[test]
    fn a_provider_may_ask_for_more_than_the_maximum() {
        assert_eq!(delay(&RetryPolicy::default(), 1, Some(120_000)), 120_000);
        assert_eq!(delay(&RetryPolicy::default(), 1, Some(1)), 1_000);
    }

    #[test]
    fn jitter_stays_within_its_share_and_is_the_same_each_time() {
        let policy = RetryPolicy { jitter: 0.5, max_delay_ms: 1_000_000, ..RetryPolicy::default() };
        let mut different = std::collections::BTreeSet::new();
        for attempt in 1..200 {
            let once = delay_ms(&policy, 1, None, RunId(uuid::Uuid::from_u128(9)), &"b".into(), attempt);
            assert_eq!(once, delay_ms(&policy, 1, None, RunId(uuid::Uuid::from_u128(9)), &"b".into(), attempt));
            assert!((500..=1_500).contains(&once), "{once}");
            different.insert(once);
        }
        assert!(different.len() > 100);
    }
}
