//! Agents with a hub in the test's hand; the executors are real.

mod agent;
mod health;
mod hub;
mod provider;
