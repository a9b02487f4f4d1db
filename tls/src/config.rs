//! The one TLS configuration that is made of roots.

use std::sync::Arc;

use rustls::ClientConfig;

use crate::roots::{self, Trust};
use crate::verify::Verifier;

impl Trust {
    /// How a client with these roots speaks TLS, offering the application protocols in this order. Nothing is read yet.
    pub fn config(&self, protocols: &[&[u8]]) -> ClientConfig {
        let provider = roots::provider();
        let verifier = Arc::new(Verifier::new(self.clone(), provider.signature_verification_algorithms));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has suites for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
        config
    }
}
