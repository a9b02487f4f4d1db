//! How a component gets its link: over a socket, or over anything else that offers the same two ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use gleitzeit_core::id::ComponentId;
use gleitzeit_link::{Link, LinkConfig, LinkEvents};
use tokio_util::sync::CancellationToken;

/// A link and the work behind it.
pub struct Connection {
    /// To send.
    pub link: Link,
    /// To receive.
    pub events: LinkEvents,
    /// Runs the link; ends soon after [`Link::close`].
    pub driver: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Makes the link of one component; called once for each, in a runtime.
pub type Connector =
    Arc<dyn Fn(&ComponentId, LinkConfig) -> Result<Connection, gleitzeit_link::ConfigError> + Send + Sync>;

/// Socket.IO over TCP: the usual way.
pub fn sockets() -> Connector {
    Arc::new(|_component, config| {
        let (link, events, driver) = gleitzeit_link::connect(config, &CancellationToken::new())?;
        Ok(Connection { link, events, driver: Box::pin(driver.run()) })
    })
}
