//! Submits a workflow and prints what a task of it returns.
#![expect(clippy::print_stdout, reason = "an example")]
use gleitzeit_sdk::{Client, ClientConfig, TaskBuilder, WorkflowBuilder};

#[tokio::main(flavor = "current_thread")]
async fn main() -> gleitzeit_sdk::Result<()> {
    let greet = TaskBuilder::new("greet", "util/echo").parameter("text", "Hello, Ada");
    let run =
        Client::connect(ClientConfig::from_env()).await?.submit(WorkflowBuilder::new("Hello").task(greet)).await?;
    println!("{}", run.result::<serde_json::Value>("greet").await?["text"]);
    Ok(())
}
