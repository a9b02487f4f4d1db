//! How a component gets its line to the hub: over a socket, inside this process, or over any other pair of link ends.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use gleitzeit_link::{Link, LinkConfig, LinkEvents};
use gleitzeit_mesh::wire::LocalHub;
use gleitzeit_run::id::ComponentId;
use tokio_util::sync::CancellationToken;

use crate::line::Line;

/// A component's line, and the future that drives it.
pub struct Connection {
    pub(crate) line: Line,
    /// Ends soon after the line is closed.
    pub(crate) driver: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Connection {
    /// Builds a connection over a link that `driver` runs; the driver must end soon after [`Link::close`].
    pub fn linked(link: Link, events: LinkEvents, driver: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { line: Line::linked(link, events), driver: Box::pin(driver) }
    }
}

/// Makes the line of one component. Called once for each component, inside a runtime.
pub type Connector =
    Arc<dyn Fn(&ComponentId, LinkConfig) -> Result<Connection, gleitzeit_link::ConfigError> + Send + Sync>;

/// Socket.IO over TCP, the usual connector.
pub fn sockets() -> Connector {
    Arc::new(|_component, config| {
        let (link, events, driver) = gleitzeit_link::connect(config, &CancellationToken::new())?;
        Ok(Connection::linked(link, events, driver.run()))
    })
}

/// A connector to a hub in this process.
pub fn within(hub: Arc<dyn LocalHub>) -> Connector {
    Arc::new(move |_component, _config| Ok(Connection { line: Line::within(hub.clone()), driver: Box::pin(ready(())) }))
}
