//! Protocol definitions and their JSON-Schema validation.
