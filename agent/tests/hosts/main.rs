//! Agents with a hub in the test's hand; the executors are real.

mod agent;
mod hub;
mod provider;
