//! Reports on the control plane itself and on the connected components.

use std::pin::Pin;
use std::time::{Duration, SystemTime};

use gleitzeit_mesh::hub::ComponentView;
use gleitzeit_mesh::wire::{HealthState, PresenceStatus, Role};
use gleitzeit_proto::v1::system_service_server::SystemService;
use gleitzeit_proto::{convert, status, v1};
use gleitzeit_run::Slice;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::api::{Answer, State, connection_of, journal_status, no_hub, page};
use crate::journal::{PrunedProtocols, Removed};

/// How long one call may spend on removing runs, and again on removing protocols: well below the time that clients wait
/// for an answer.
const PRUNING: Duration = Duration::from_secs(4);

#[tonic::async_trait]
impl SystemService for State {
    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Answer<v1::GetStatusResponse> {
        let components = self.components().await?;
        let counts = self.0.journal.counts();
        let connected = |role: Role| {
            let count =
                components.iter().filter(|it| it.role == role && it.status == PresenceStatus::Connected).count();
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        Ok(Response::new(v1::GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: Some(self.0.started_at.into()),
            ready: !self.0.stopping.is_cancelled(),
            journal_position: self.0.journal.position().0,
            runs: Some(v1::RunCounts {
                running: counts.running,
                completed: counts.completed,
                failed: counts.failed,
                cancelled: counts.cancelled,
            }),
            components: Some(v1::ComponentCounts {
                queue: connected(Role::Queue),
                resolver: connected(Role::Resolver),
                engine: connected(Role::Engine),
                provider: connected(Role::Provider),
            }),
        }))
    }

    async fn list_components(&self, request: Request<v1::ListComponentsRequest>) -> Answer<v1::ListComponentsResponse> {
        let request = request.into_inner();
        page::limit_filter_values("roles", request.roles.len())?;
        let roles = request
            .roles
            .iter()
            .map(|role| convert::role_from(*role))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| status::malformed("roles", "one of them is not known"))?;
        let mut components = self.components().await?;
        components.retain(|it| roles.is_empty() || roles.contains(&it.role));
        let of = format!("components {roles:?}");
        let components = components.into_iter().map(component);
        let (components, next_page_token) = page::slice(components, &of, request.page_size, &request.page_token)?;
        Ok(Response::new(v1::ListComponentsResponse { components, next_page_token }))
    }

    async fn list_providers(&self, request: Request<v1::ListProvidersRequest>) -> Answer<v1::ListProvidersResponse> {
        let request = request.into_inner();
        let mut providers = self.components().await?;
        providers.retain(|it| {
            let serves = request.method.is_empty() || it.methods.iter().any(|method| method.as_str() == request.method);
            it.role == Role::Provider && serves
        });
        let of = format!("providers {}", request.method);
        let providers = providers.into_iter().map(provider);
        let (providers, next_page_token) = page::slice(providers, &of, request.page_size, &request.page_token)?;
        Ok(Response::new(v1::ListProvidersResponse { providers, next_page_token }))
    }

    async fn list_protocols(&self, request: Request<v1::ListProtocolsRequest>) -> Answer<v1::ListProtocolsResponse> {
        let request = request.into_inner();
        let registry = self.0.hub.registry().read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known: Vec<_> = registry.iter().collect();
        let protocols = known.into_iter().map(protocol);
        let (protocols, next_page_token) = page::slice(protocols, "protocols", request.page_size, &request.page_token)?;
        Ok(Response::new(v1::ListProtocolsResponse { protocols, next_page_token }))
    }

    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<v1::WatchEventsResponse, Status>> + Send>>;

    async fn watch_events(&self, request: Request<v1::WatchEventsRequest>) -> Answer<Self::WatchEventsStream> {
        let connection = connection_of(&request);
        Ok(Response::new(Box::pin(self.watch_all(request.into_inner(), connection)?)))
    }

    async fn prune_runs(&self, request: Request<v1::PruneRunsRequest>) -> Answer<v1::PruneRunsResponse> {
        let older_than = match request.into_inner().older_than {
            Some(age) => Duration::try_from(age)
                .map_err(|_| status::malformed("older_than", "expected a duration that is not negative"))?,
            None => self.0.retention.ok_or_else(|| {
                status::malformed(
                    "older_than",
                    "this control plane keeps finished runs forever: set how old they must be",
                )
            })?,
        };
        let removed = self.0.journal.prune(older_than, PRUNING).await.map_err(|error| journal_status(&error))?;
        let Removed { runs, entries, more } = removed;
        if more {
            return Ok(Response::new(v1::PruneRunsResponse { runs, entries, more, protocols: 0 }));
        }
        // Protocols that only the removed runs needed may go now.
        let served = self.0.hub.served().await.ok_or_else(no_hub)?;
        let pruned = self.0.journal.prune_protocols(older_than, &served, PRUNING).await;
        let PrunedProtocols { protocols, entries: of_protocols, more } =
            pruned.map_err(|error| journal_status(&error))?;
        let entries = entries + of_protocols;
        Ok(Response::new(v1::PruneRunsResponse { runs, entries, more, protocols }))
    }
}

impl State {
    pub(super) async fn components(&self) -> Result<Vec<ComponentView>, Status> {
        self.0.hub.components().await.ok_or_else(no_hub)
    }
}

fn component(view: ComponentView) -> v1::Component {
    let mut owned_shards = Vec::new();
    let mut owned_queues = Vec::new();
    for slice in view.owned {
        match slice {
            Slice::Shard(shard) => owned_shards.push(u32::from(shard.0)),
            Slice::Queue(queue) => owned_queues.push(queue.to_string()),
        }
    }
    v1::Component {
        component_id: view.component_id.to_string(),
        role: convert::role(view.role).into(),
        name: view.name,
        version: view.version,
        status: convert::presence(view.status).into(),
        connected_since: view.connected_for_ms.map(|ms| (SystemTime::now() - Duration::from_millis(ms)).into()),
        capacity: view.capacity,
        in_use: u32::try_from(view.in_use).unwrap_or(u32::MAX),
        queues: view.queues.into_iter().flatten().map(|queue| queue.to_string()).collect(),
        methods: view.methods.iter().map(ToString::to_string).collect(),
        owned_shards,
        owned_queues,
        capabilities: view.capabilities,
    }
}

fn provider(view: ComponentView) -> v1::Provider {
    v1::Provider {
        name: view.name,
        component_id: view.component_id.to_string(),
        status: convert::presence(view.status).into(),
        protocols: view.protocols,
        methods: view.methods.iter().map(ToString::to_string).collect(),
        health: convert::health(view.health.state).into(),
        slow: view.health.state == HealthState::Slow,
        health_reason: view.health.reason.unwrap_or_default(),
        in_flight: u32::try_from(view.in_use).unwrap_or(u32::MAX),
        capacity: view.capacity,
        capabilities: view.capabilities,
        address: view.address.unwrap_or_default(),
    }
}

fn protocol(protocol: &gleitzeit_protocols::Protocol) -> v1::Protocol {
    let methods = protocol.methods.iter().map(|(name, method)| v1::ProtocolMethod {
        name: name.clone(),
        description: method.description.clone().unwrap_or_default(),
        parameters_schema_json: method.parameters.as_ref().map(ToString::to_string),
        returns_schema_json: method.returns.as_ref().map(ToString::to_string),
        timeout: method.timeout_ms.and_then(|ms| Duration::from_millis(ms).try_into().ok()),
    });
    v1::Protocol { name: protocol.name.clone(), version: protocol.version.clone(), methods: methods.collect() }
}
