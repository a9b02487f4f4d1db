//! TLS for every client here: which roots are trusted, and what is reported about a certificate that is not.
//!
//! [`Trust`] holds the roots: a bundled list, the machine's own or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name,
//! and the files of `--ca`. Nothing is read before the first handshake, so code that needs no TLS pays nothing and
//! cannot fail because of a certificate file. [`Untrusted`] describes a refused certificate: which host showed it, who
//! issued it, what is wrong with it, and what to do. The command line, agents, SDKs, providers and exporters all take
//! their configuration from here.
//!
//! The invariant: no client builds its own roots or verifier, and no certificate is accepted unchecked.

mod config;
mod connect;
mod name;
mod roots;
mod stream;
mod untrusted;
mod verify;

pub use connect::{ConnectError, Connector};
pub use roots::{CA_VARIABLE, CaError, Trust};
pub use stream::Stream;
pub use untrusted::{Fault, Untrusted};
