//! Serves `squares/area` until Ctrl-C.
use gleitzeit_sdk::provider::{CallError, Provider, Schemas};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> gleitzeit_sdk::Result<()> {
    let number = json!({"type": "number"});
    let sides = json!({"type": "object", "required": ["a", "b"], "properties": {"a": number, "b": number}});
    let area = async |sides: Value, _call| match (sides["a"].as_f64(), sides["b"].as_f64()) {
        (Some(a), Some(b)) if a >= 0.0 && b >= 0.0 => Ok(a * b),
        _ => Err(CallError::new("a side is negative")),
    };
    let provider = Provider::new("squares").method("squares/area", Schemas::new(sides, number), area);
    provider.serve(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await
}
