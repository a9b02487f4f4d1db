//! The gRPC contract of Gleitzeit: code generated from `gleitzeit/v1/*.proto` (by `tests/generated.rs`), and its
//! conversions.
//!
//! [`v1`] contains only generated code; [`convert`] converts wire messages to domain types and back; [`status`] does
//! the same for errors. No server and no client policy lives here. The `.proto` files are the reference for what a
//! message means.

pub mod convert;
pub mod status;

/// The messages, clients and servers of the package `gleitzeit.v1`.
#[allow(clippy::allow_attributes, reason = "whether generated code needs the next line depends on its generator")]
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, reason = "generated code")]
pub mod v1 {
    include!("generated/gleitzeit.v1.rs");
}

/// The encoded `google.protobuf.FileDescriptorSet` of the package and its imports, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/gleitzeit.v1.bin");
