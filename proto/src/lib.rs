//! The gRPC contract of Gleitzeit: code generated from `gleitzeit/v1/*.proto` (by `tests/generated.rs`), and its two translations.
//!
//! [`v1`] is generated and nothing else lives in it; [`convert`] turns wire messages into domain types and back;
//! [`status`] does the same for errors. No server and no client policy lives here. The `.proto` files are the
//! reference: what a message means stands there.

pub mod convert;
pub mod status;

/// Messages, clients and servers of the package `gleitzeit.v1`.
#[allow(clippy::allow_attributes, reason = "whether generated code needs the next line depends on its generator")]
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, reason = "generated code")]
pub mod v1 {
    include!("generated/gleitzeit.v1.rs");
}

/// The encoded `google.protobuf.FileDescriptorSet` of the package and its imports, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/gleitzeit.v1.bin");
