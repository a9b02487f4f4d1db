//! The agent: hosts for queue, resolver, engine and provider roles.
