//! Which traces are kept: `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`, as OpenTelemetry defines them.

use gleitzeit_run::trace::TraceId;

use crate::error::CommandError;

/// The decision depends only on the trace id, so that all processes keep the same traces.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampling {
    /// Whether the caller's decision takes precedence.
    follows_caller: bool,
    /// The share of the other traces that is kept, from 0 to 1.
    ratio: f64,
}

impl Sampling {
    /// # Errors
    /// If the variables say something else than OpenTelemetry defines.
    pub(super) fn from_env() -> Result<Self, CommandError> {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::parse(read("OTEL_TRACES_SAMPLER").as_deref(), read("OTEL_TRACES_SAMPLER_ARG").as_deref())
    }

    fn parse(sampler: Option<&str>, argument: Option<&str>) -> Result<Self, CommandError> {
        let sampler = sampler.unwrap_or("parentbased_always_on");
        let (follows_caller, kind) = match sampler.strip_prefix("parentbased_") {
            Some(kind) => (true, kind),
            None => (false, sampler),
        };
        let ratio = match kind {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => {
                let text = argument.unwrap_or("1");
                text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)).ok_or_else(|| {
                    CommandError::usage(format!("OTEL_TRACES_SAMPLER_ARG is `{text}`"))
                        .hint("give a number from 0 (none) to 1 (all)")
                })?
            }
            _ => {
                return Err(CommandError::usage(format!("OTEL_TRACES_SAMPLER is `{sampler}`, which is not supported"))
                    .hint("use always_on, always_off, traceidratio, or one of them after `parentbased_`"));
            }
        };
        Ok(Self { follows_caller, ratio })
    }

    /// Whether a trace is kept; `is_sampled` is the caller's decision, if there is one.
    pub(super) fn keeps(self, trace_id: TraceId, is_sampled: Option<bool>) -> bool {
        match is_sampled.filter(|_| self.follows_caller) {
            Some(wish) => wish,
            None => self.ratio >= 1.0 || even(trace_id) < self.ratio,
        }
    }
}

/// A number from 0 to 1 that is evenly distributed (splitmix64): ids are not, since some of their bits hold the time.
fn even(TraceId(id): TraceId) -> f64 {
    let bytes = id.to_be_bytes();
    let half = |at: usize| bytes[at..at + 8].iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
    let mut hash = (half(0) ^ half(8).rotate_left(32)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_mean_what_opentelemetry_says() {
        let parse = |sampler, argument| Sampling::parse(sampler, argument).map_err(|error| error.to_string());
        let id = TraceId(7);
        for (sampler, argument, told, of_itself) in [
            (None, None, true, true),
            (Some("always_off"), None, false, false),
            (Some("always_on"), None, true, true),
            (Some("parentbased_always_off"), None, true, false),
            (Some("parentbased_traceidratio"), Some("0"), true, false),
            (Some("traceidratio"), Some("0"), false, false),
        ] {
            let sampling = parse(sampler, argument).expect("valid");
            assert_eq!((sampling.keeps(id, Some(true)), sampling.keeps(id, None)), (told, of_itself), "{sampler:?}");
        }
        assert!(!parse(None, None).expect("valid").keeps(id, Some(false)));
        assert!(parse(Some("some"), None).expect_err("unknown").contains("OTEL_TRACES_SAMPLER is `some`"));
        assert!(parse(Some("traceidratio"), Some("2")).expect_err("too much").contains("from 0 (none) to 1 (all)"));
    }

    #[test]
    fn a_ratio_keeps_about_as_many_of_ids_that_differ_little() {
        let sampling = Sampling::parse(Some("traceidratio"), Some("0.25")).expect("valid");
        // Like ids that were made within a few milliseconds.
        let ids = (0..40_000_u128).map(|n| TraceId(0x01a2_0da4_30bf_719f_b1b6_0000_0000_0000 | n));
        let kept = ids.filter(|id| sampling.keeps(*id, None)).count();
        assert!((9_500..10_500).contains(&kept), "{kept} of 40,000");
    }
}
