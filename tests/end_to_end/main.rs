//! End-to-end tests: the binary `gleitzeit` in real processes, as a person or a script uses it.
//!
//! Every test has its own home, stores, ports and processes, and leaves none behind. Nothing waits for a fixed time:
//! conditions are polled against a deadline.

mod backpressure;
mod bad_files;
mod causes;
mod clients;
mod cluster;
mod commands;
mod completion;
mod connections;
mod content;
mod documents;
mod drain;
mod explain;
mod fairness;
mod foreign_examples;
mod foreign_json;
mod foreign_protocols;
mod foreign_provider;
mod foreign_strict;
mod frozen;
mod generated;
mod grpc_web;
mod habits;
mod health;
mod history;
mod hostile;
mod http;
mod interrupt;
mod journal_trouble;
mod live_output;
mod llm;
mod local_commands;
mod looks;
mod losses;
mod metrics;
mod monitor;
mod named_providers;
mod network;
mod past;
mod payloads;
mod progress;
mod proxied;
mod python;
mod reach;
mod readers;
mod repeats;
mod restart;
mod run;
mod rust_sdk;
mod service;
mod shell;
mod sources;
#[path = "../support/mod.rs"]
mod support;
mod timing;
mod tokens;
mod traces;
mod unreached;
mod ways_in;
