//! Protocols in the hub: which components serve which, and what happens when one is removed.

use gleitzeit_run::{ProtocolUse, Request};
use gleitzeit_workflow::ProtocolName;
use serde_json::{Value, json};

use crate::bench::Bench;

fn math() -> Value {
    json!([{"name": "math", "version": "v1", "methods": {"math/add": {}}}])
}

/// Each protocol with how many milliseconds ago it was served.
fn served(bench: &Bench) -> Vec<(String, u64)> {
    bench.hub.served(bench.now).into_iter().map(|it| (it.protocol.to_string(), it.ago_ms)).collect()
}

fn known(bench: &Bench) -> Vec<String> {
    bench.ledger.protocols().map(|(name, version, _)| format!("{name}/{version}")).collect()
}

/// Makes the journal remove the protocols that `served`, the hub's own account, does not name.
fn prune(bench: &mut Bench, served: Vec<ProtocolUse>) {
    bench.record(&Request::PruneProtocols { unused_ms: 0, served });
}

#[test]
fn a_provider_serves_the_protocols_that_it_names_or_has_methods_of() {
    let mut bench = Bench::new();
    let math = bench.join("provider", "p", json!({"protocols": math(), "methods": ["math/add"]}));
    // A new version has the same method; a component that names a protocol does not serve the others that have the
    // method.
    let newer = json!([{"name": "math", "version": "v2", "methods": {"math/add": {"description": "x"}}}]);
    let newer = bench.join("provider", "q", json!({"protocols": newer}));
    let two = |v1, v2| vec![("math/v1".to_owned(), v1), ("math/v2".to_owned(), v2)];
    assert_eq!(served(&bench), two(0, 0));
    bench.leave(math, true);
    bench.leave(newer, true);
    bench.pass(70);
    assert_eq!(served(&bench), two(70, 70));
    bench.join("provider", "r", json!({"methods": ["math/add"]}));
    assert_eq!(served(&bench), two(0, 0), "by its method alone");
    // A silent component may reconnect at any moment.
    let s = bench.join("provider", "s", json!({"methods": ["other/do"]}));
    bench.leave(s, false);
    assert!(served(&bench).contains(&("other/any.do".to_owned(), 0)));
    bench.pass(6_000);
    assert!(served(&bench).contains(&("other/any.do".to_owned(), 1_000)), "{:?}", served(&bench));
}

#[test]
fn engines_and_resolvers_forget_what_is_removed_and_its_provider_registers_it_again() {
    let mut bench = Bench::new();
    let engine = bench.join("engine", "e", json!({}));
    let provider = bench.join("provider", "p", json!({"protocols": math()}));
    bench.leave(provider, true);
    bench.take_sent(engine, "protocols");
    bench.pass(1);
    let served = bench.hub.served(bench.now);
    prune(&mut bench, served);
    assert_eq!(
        bench.take_sent(engine, "protocols"),
        [json!({"protocols": [], "removed": [{"name": "math", "version": "v1"}]})]
    );
    assert_eq!((known(&bench).len(), bench.hub.served(bench.now)), (0, Vec::new()));
    // Even through a method alone whose schema is no longer known.
    for (rest, expected) in [(json!({"methods": ["math/add"]}), "any.add"), (json!({"protocols": math()}), "v1")] {
        let provider = bench.join("provider", "p", rest);
        assert_eq!(bench.take_sent(provider, "component_registered").len(), 1);
        assert_eq!(bench.take_sent(engine, "protocols")[0]["protocols"][0]["version"], expected);
        bench.leave(provider, true);
    }
    assert_eq!(known(&bench), ["math/any.add", "math/v1"]);
}

#[test]
fn a_protocol_that_is_removed_while_its_provider_registers_is_registered_again() {
    let mut bench = Bench::new();
    let engine = bench.join("engine", "e", json!({}));
    let provider = bench.join("provider", "p", json!({"protocols": math()}));
    // The removal was requested before the provider came.
    prune(&mut bench, Vec::new());
    assert_eq!(known(&bench), ["math/v1"]);
    let told = bench.take_sent(engine, "protocols");
    assert_eq!(told.iter().map(|it| it.get("removed").is_some()).collect::<Vec<_>>(), [false, true, false]);
    bench.leave(provider, true);

    // It brings a second protocol; while that is being recorded, the first one is removed.
    let mut both = math();
    both.as_array_mut().expect("a list").push(json!({"name": "text", "version": "v1", "methods": {"text/cut": {}}}));
    bench.is_held = true;
    let provider = bench.join("provider", "p", json!({"protocols": both}));
    prune(&mut bench, vec![ProtocolUse { protocol: ProtocolName::new("other", "v1"), ago_ms: 0 }]);
    assert_eq!(bench.take_sent(provider, "component_registered").len(), 0);
    bench.release();
    assert_eq!(bench.take_sent(provider, "component_registered").len(), 1);
    assert_eq!(known(&bench), ["math/v1", "text/v1"]);
}
