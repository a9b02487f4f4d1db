//! Thousands of simulated worlds in which everything fails: no rule may be broken, and once the faults stop, every run
//! must end.
//!
//! A seed that breaks a rule prints the rule and the last steps; `cargo run -p gleitzeit-mesh --example simulate -- 1
//! SEED` prints all steps. `planted` shows that the rules can be broken at all.

mod planted;
mod seeds;
mod world;

/// The number of seeds in a normal test run.
const SEEDS: u64 = 2_500;
/// Additional seeds in which a since-fixed bug once broke a rule. They must be found anew when the simulation changes.
const KEPT: &[u64] = &[3_712, 19_328];

#[test]
fn no_fault_breaks_a_rule() {
    let total = seeds::run_seeds(0..SEEDS).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(total.sum.runs > 4_000 && total.sum.completed > 2_000, "the simulation does too little:\n{total}");
    assert_eq!(total.sum.faults.len(), 13, "some faults never happen:\n{total}");
}

#[test]
fn earlier_failing_seeds_pass() {
    for &seed in KEPT {
        seeds::run_seeds(seed..seed + 1).unwrap_or_else(|violation| panic!("{violation}"));
    }
}

#[test]
fn a_seed_is_deterministic() {
    let life = || world::simulate(7, world::Mistake::None, false).expect("no rule is broken");
    let (one, other) = (life(), life());
    assert_eq!((one.steps, one.virtual_ms, one.entries), (other.steps, other.virtual_ms, other.entries));
}

#[test]
fn an_answer_before_the_sync_is_found() {
    let broken = (0..200).find_map(|seed| world::simulate(seed, world::Mistake::AnswerEarly, false).err());
    let broken = broken.expect("some seed loses what was acknowledged");
    assert!(broken.to_string().contains("acknowledged"), "{broken}");
}
