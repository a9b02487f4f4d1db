//! The workflows that clients submit: small ones, whose every result can be computed beforehand.

use std::collections::BTreeMap;

use gleitzeit_mesh::wire::ProtocolDefinition;
use gleitzeit_run::ledger::Assignment;
use gleitzeit_workflow::spec::{Backoff, Priority, RetryPolicy, Task, Workflow};
use gleitzeit_workflow::{Payload, QueueName, TaskId};
use serde_json::{Value, json};

use super::chance::Chance;

/// The method that every provider serves.
pub(crate) const COMMON: &str = "sim/work";
/// The method that only some providers serve.
pub(crate) const SPECIAL: &str = "sim/special";
/// The provider name that some tasks ask for.
pub(crate) const NAMED: &str = "named";

/// The version of the protocol that has a method: each method has its own.
fn version(method: &str) -> &'static str {
    if method == SPECIAL { "v2" } else { "v1" }
}

/// The protocol that has a method.
pub(crate) fn protocol(method: &str) -> ProtocolDefinition {
    let methods = Payload::from_value(&json!({ method: {} }));
    ProtocolDefinition { name: "sim".to_owned(), version: version(method).to_owned(), methods }
}
pub(crate) const QUEUES: [&str; 4] = ["default", "large", "side", "slow"];

/// A workflow of one to eight tasks: each adds a number of its own to the values of its dependencies.
pub(crate) fn workflow(chance: &mut Chance) -> Workflow {
    let count = chance.within(1..9);
    let mut tasks: Vec<Task> = Vec::new();
    for number in 0..count {
        let ids: Vec<TaskId> = tasks.iter().map(|task| task.id.clone()).collect();
        let density = [0, 150, 400, 900][chance.index(4)];
        let dependencies: Vec<TaskId> = ids.into_iter().filter(|_| chance.permille(density)).collect();
        tasks.push(task(chance, number, dependencies));
    }
    let last = tasks.last().map_or_else(String::new, |task| format!("${{{}.value}}", task.id));
    Workflow {
        name: "simulated".to_owned(),
        description: None,
        version: None,
        labels: Default::default(),
        inputs: Default::default(),
        files: Default::default(),
        timeout_ms: chance.permille(60).then(|| chance.within(1_000..60_000)),
        tasks,
        outputs: [("last".to_owned(), Value::String(last))].into_iter().collect(),
    }
}

fn task(chance: &mut Chance, number: u64, dependencies: Vec<TaskId>) -> Task {
    let field = if chance.permille(15) { "nothing" } else { "value" };
    let sum: Vec<Value> = dependencies.iter().map(|id| json!(format!("${{{id}.{field}}}"))).collect();
    let method = if chance.permille(150) { SPECIAL } else { COMMON };
    Task {
        id: format!("t{number}").into(),
        method: method.into(),
        provider: chance.permille(150).then(|| NAMED.into()),
        protocol_version: version(method).to_owned(),
        priority: Priority(i32::try_from(chance.within(1..5)).unwrap_or(2)),
        queue: QueueName::from(QUEUES[if chance.permille(600) { 0 } else { chance.index(QUEUES.len()) }]),
        timeout_ms: chance.permille(300).then(|| chance.within(500..20_000)),
        retry: RetryPolicy {
            max_attempts: u32::try_from(chance.within(1..5)).unwrap_or(1),
            backoff: Backoff::Exponential,
            initial_delay_ms: chance.within(0..1_500),
            max_delay_ms: 5_000,
            jitter: if chance.permille(500) { 0.5 } else { 0.0 },
        },
        dependencies,
        parameters: json!({"own": number + 1, "sum": sum}),
        code: Default::default(),
    }
}

/// A provider's answer to a task's parameters, with the dispatch that it belongs to.
pub(crate) fn answer(parameters: &Value) -> Value {
    let own = parameters["own"].as_u64().unwrap_or(0);
    let sum: u64 = parameters["sum"].as_array().into_iter().flatten().filter_map(Value::as_u64).sum();
    json!({"value": own + sum, "of": parameters["of"]})
}

/// The same assignment, with the dispatch that it belongs to in its parameters.
pub(crate) fn tagged(assignment: &Assignment, tag: &str) -> Assignment {
    let mut parameters = assignment.parameters.to_value().unwrap_or_default();
    parameters["of"] = json!(tag);
    Assignment { parameters: Payload::from_value(&parameters), ..assignment.clone() }
}

/// The result of every task, if it completes.
pub(crate) fn results(workflow: &Workflow) -> BTreeMap<TaskId, Value> {
    let mut results: BTreeMap<TaskId, Value> = BTreeMap::new();
    for task in &workflow.tasks {
        let of_dependencies = task.dependencies.iter().filter_map(|id| results.get(id)?["value"].as_u64());
        let own = task.parameters["own"].as_u64().unwrap_or(0);
        let value = json!({"value": own + of_dependencies.sum::<u64>()});
        results.insert(task.id.clone(), value);
    }
    results
}
