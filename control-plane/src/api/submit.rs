//! Submits and validates workflows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gleitzeit_mesh::wire::Role;
use gleitzeit_proto::{convert, status, v1};
use gleitzeit_run as run;
use gleitzeit_run::event::{RequestKey, WorkflowSubmitted};
use gleitzeit_run::submission::{Given, bind};
use gleitzeit_run::{RunId, Verdict};
use gleitzeit_workflow::spec::{
    Catalog, Checked, KnownProvider, KnownProviders, Others, Problem, WithProviders, examine, examine_value,
};
use gleitzeit_workflow::{ErrorCode, Failure, json};
use prost::Message as _;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::sync::SemaphorePermit;
use tonic::{Request, Status};

use crate::api::{State, journal_status, trace_context};

/// Workflow texts above this size, or with YAML aliases, are checked on a thread that may block.
const CHECK_ASIDE_BYTES: usize = 8 * 1024;
/// Typed workflows with more tasks than this are checked there too.
const CHECK_ASIDE_TASKS: usize = 50;
/// How long a workflow may wait for its turn to be checked on such a thread.
const CHECK_WAIT: Duration = Duration::from_secs(10);
/// The most problems that ValidateWorkflow lists.
const MAX_PROBLEMS: usize = 1_000;
/// When a client should retry a submission for which there was no room.
const RETRY_SUBMISSION_AFTER: Duration = Duration::from_millis(500);
const MAX_REQUEST_ID_BYTES: usize = 128;
const MAX_LABEL_BYTES: usize = 1_024;
/// The most labels of a run, including those of its workflow.
const MAX_LABELS: usize = 256;

/// A workflow definition as the client sent it.
enum Source {
    Text(String),
    Message(Box<v1::Workflow>),
}

impl State {
    pub(super) async fn submit(
        &self,
        request: Request<v1::SubmitWorkflowRequest>,
    ) -> Result<v1::SubmitWorkflowResponse, Status> {
        let trace = trace_context(request.metadata());
        let request = request.into_inner();
        let _room = self.room(request.encoded_len())?;
        let key = request_key(&request.request_id, || hash_submit(&request))?;
        if let Some(known) = self.known(key.as_ref()).await? {
            return self.submitted_before(known).await;
        }
        let source = match request.source {
            Some(v1::submit_workflow_request::Source::Yaml(yaml)) => Source::Text(yaml),
            Some(v1::submit_workflow_request::Source::Workflow(workflow)) => Source::Message(Box::new(workflow)),
            None => return Err(status::malformed("source", "expected `yaml` or `workflow`")),
        };
        let given = Given {
            inputs: inputs(&request.inputs_json)?,
            files: request.files.into_iter().map(|(name, bytes)| (name, bytes.to_vec())).collect(),
            labels: labels(request.labels)?,
        };
        let file = request.file_name;
        // A provider that the workflow names may connect later, and which one is meant is the author's decision.
        let checked = self.check(source, file.clone(), None).await?;
        let workflow = checked.workflow.map_err(|problems| invalid(&problems))?;
        let mut submitted = bind(workflow, given, &self.0.environment, &file).map_err(|problems| invalid(&problems))?;
        self.check_size(&submitted)?;
        if submitted.labels.len() > MAX_LABELS {
            let why = format!("a run has at most {MAX_LABELS} labels, not {}", submitted.labels.len());
            return Err(status::malformed("labels", &why));
        }

        let run_id = self.0.journal.new_run_id();
        let (correlation_id, traceparent) = match trace {
            Some((trace_id, header)) => (trace_id, Some(header)),
            None => (run_id.correlation_id(), None),
        };
        submitted.correlation_id.clone_from(&correlation_id);
        submitted.traceparent = traceparent;
        submitted.request = key;
        let submitted = prepared(submitted).await?;
        let request = run::Request::Submit { run_id, submitted, known: None };
        match self.0.journal.propose(request).await.map_err(|error| journal_status(&error))? {
            Verdict::Duplicate { run_id: Some(first) } => self.submitted_before(first).await,
            Verdict::Invalid(failure) => Err(status::to_status(&failure)),
            Verdict::Ok { .. } => Ok(v1::SubmitWorkflowResponse {
                run_id: run_id.to_string(),
                correlation_id,
                status: v1::RunStatus::Running.into(),
                duplicate: false,
                notes: checked.notes.iter().map(convert::note).collect(),
            }),
            other => Err(unexpected(&other)),
        }
    }

    /// Reserves room for a submission while it is checked and recorded.
    fn room(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Status> {
        // A submission that is larger than all the room takes all of it.
        let wanted = u32::try_from(bytes.div_ceil(1024).clamp(1, self.0.submitting_kib)).unwrap_or(u32::MAX);
        self.0.submitting.try_acquire_many(wanted).map_err(|_| status::busy(RETRY_SUBMISSION_AFTER))
    }

    pub(super) async fn retry(&self, request: Request<v1::RetryRunRequest>) -> Result<v1::RetryRunResponse, Status> {
        let trace = trace_context(request.metadata());
        let request = request.into_inner();
        let old = super::run_id(&request.run_id)?;
        let key = request_key(&request.request_id, || {
            let what = if request.all { b"retry all".as_slice() } else { b"retry" };
            hash([what, old.0.as_bytes()])
        })?;
        if let Some(first) = self.known(key.as_ref()).await? {
            return self.retried_before(first).await;
        }
        let old = self.find(old).await?;
        let run_id = self.0.journal.new_run_id();
        let (correlation_id, traceparent) = match trace {
            Some((trace_id, header)) => (trace_id, Some(header)),
            None => (run_id.correlation_id(), None),
        };
        let proposal = run::Request::Retry {
            old,
            run_id,
            all: request.all,
            correlation_id: correlation_id.clone(),
            traceparent,
            request: key,
            known: None,
        };
        match self.0.journal.propose(proposal).await.map_err(|error| journal_status(&error))? {
            Verdict::Duplicate { run_id: Some(first) } => self.retried_before(first).await,
            Verdict::Invalid(failure) => Err(status::to_status(&failure)),
            // A retried run whose tasks had all completed is final at once.
            Verdict::Ok { .. } => Ok(v1::RetryRunResponse {
                run_id: run_id.to_string(),
                correlation_id,
                status: convert::run_status(self.find(run_id).await?.status).into(),
                duplicate: false,
            }),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn validate(
        &self,
        request: v1::ValidateWorkflowRequest,
    ) -> Result<v1::ValidateWorkflowResponse, Status> {
        let source = match request.source {
            Some(v1::validate_workflow_request::Source::Yaml(yaml)) => Source::Text(yaml),
            Some(v1::validate_workflow_request::Source::Workflow(workflow)) => Source::Message(Box::new(workflow)),
            None => return Err(status::malformed("source", "expected `yaml` or `workflow`")),
        };
        let providers = self.known_providers().await?;
        let checked = self.check(source, request.file_name, Some(providers)).await?;
        let problems = checked.workflow.err().unwrap_or_default();
        Ok(v1::ValidateWorkflowResponse {
            problem_count: u32::try_from(problems.len()).unwrap_or(u32::MAX),
            problems: problems.iter().take(MAX_PROBLEMS).map(convert::problem).collect(),
            notes: checked.notes.iter().map(convert::note).collect(),
        })
    }

    /// The providers that are connected or silent now.
    async fn known_providers(&self) -> Result<KnownProviders, Status> {
        let providers = self.components().await?.into_iter().filter(|it| it.role == Role::Provider);
        let known = providers.map(|it| KnownProvider {
            name: it.name,
            methods: it.methods.iter().map(ToString::to_string).collect(),
            address: it.address,
        });
        Ok(KnownProviders::new(known, Others::Later))
    }

    /// Checks a definition against the protocols that are registered now and against the given providers.
    async fn check(&self, source: Source, file: String, providers: Option<KnownProviders>) -> Result<Checked, Status> {
        let large = match &source {
            Source::Text(text) => text.len() > CHECK_ASIDE_BYTES || text.contains('*'),
            Source::Message(workflow) => {
                workflow.tasks.len() > CHECK_ASIDE_TASKS || workflow.encoded_len() > CHECK_ASIDE_BYTES
            }
        };
        let checked = if large {
            // Only a few run at a time: each may use memory and a core for a while.
            let turn = tokio::time::timeout(CHECK_WAIT, self.0.checking.clone().acquire_owned());
            let Ok(Ok(turn)) = turn.await else { return Err(status::busy(RETRY_SUBMISSION_AFTER)) };
            let state = self.clone();
            let checked = tokio::task::spawn_blocking(move || {
                let checked = state.check_now(&source, &file, providers.as_ref());
                drop(turn);
                checked
            });
            checked.await.map_err(|error| internal(&format!("checking the workflow: {error}")))?
        } else {
            self.check_now(&source, &file, providers.as_ref())
        };
        // An exceeded size limit is an error of the request, not a problem inside the workflow.
        let too_large = checked.workflow.as_ref().err().and_then(|problems| problems.first());
        match too_large.filter(|problem| problem.code == ErrorCode::ResourceExhausted) {
            Some(problem) => {
                let message = format!("the workflow is too large: {} (`--max-workflow-bytes`)", problem.message);
                Err(status::to_status(&Failure::new(ErrorCode::ResourceExhausted, message)))
            }
            None => Ok(checked),
        }
    }

    fn check_now(&self, source: &Source, file: &str, providers: Option<&KnownProviders>) -> Checked {
        let registry = self.0.hub.registry().read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let with_providers = providers.map(|providers| WithProviders { catalog: &*registry, providers });
        let catalog: &dyn Catalog = match &with_providers {
            Some(catalog) => catalog,
            None => &*registry,
        };
        match source {
            Source::Text(text) => examine(text, file, catalog, &self.0.limits),
            Source::Message(workflow) => match convert::workflow_value(workflow, file, &self.0.limits) {
                Ok(value) => examine_value(&value, file, catalog, &self.0.limits),
                Err(problems) => problems.into(),
            },
        }
    }

    fn check_size(&self, submitted: &WorkflowSubmitted) -> Result<(), Status> {
        let files = submitted.files.values().map(|file| match file {
            gleitzeit_workflow::template::FileContent::Text(text)
            | gleitzeit_workflow::template::FileContent::Base64(text) => text.len(),
        });
        let size = files.sum::<usize>() + submitted.inputs.size_bytes();
        let limit = self.0.limits.bytes;
        if size <= limit {
            return Ok(());
        }
        let message = format!("inputs and files are {size} bytes; the limit is {limit} (`--max-workflow-bytes`)");
        Err(status::to_status(&Failure::new(ErrorCode::ResourceExhausted, message)))
    }

    /// The run that an earlier request with this request id created. It is looked up before anything is validated,
    /// because what was valid then may be invalid now.
    async fn known(&self, key: Option<&RequestKey>) -> Result<Option<RunId>, Status> {
        let Some(key) = key else { return Ok(None) };
        let found =
            self.0.journal.find_request(key.request_id.clone()).await.map_err(|error| journal_status(&error))?;
        match found {
            Some((run_id, hash)) if hash == key.body_hash => Ok(Some(run_id)),
            Some((run_id, _)) => {
                let message =
                    format!("request id `{}` was used before with another body, for run {run_id}", key.request_id);
                Err(status::to_status(&Failure::new(ErrorCode::InvalidRequest, message)))
            }
            None => Ok(None),
        }
    }

    async fn submitted_before(&self, first: RunId) -> Result<v1::SubmitWorkflowResponse, Status> {
        let run = self.find(first).await?;
        Ok(v1::SubmitWorkflowResponse {
            run_id: first.to_string(),
            correlation_id: run.submitted.correlation_id.clone(),
            status: convert::run_status(run.status).into(),
            duplicate: true,
            notes: Vec::new(),
        })
    }

    async fn retried_before(&self, first: RunId) -> Result<v1::RetryRunResponse, Status> {
        let run = self.find(first).await?;
        Ok(v1::RetryRunResponse {
            run_id: first.to_string(),
            correlation_id: run.submitted.correlation_id.clone(),
            status: convert::run_status(run.status).into(),
            duplicate: true,
        })
    }
}

/// Prepares a large submission on a blocking thread, so that the journal's writer does not have to.
async fn prepared(submitted: WorkflowSubmitted) -> Result<Arc<WorkflowSubmitted>, Status> {
    let submitted = Arc::new(submitted);
    if submitted.workflow.tasks.len() <= CHECK_ASIDE_TASKS {
        return Ok(submitted);
    }
    let preparing = submitted.clone();
    let prepared = tokio::task::spawn_blocking(move || preparing.prepare());
    prepared.await.map_err(|error| internal(&format!("preparing the workflow: {error}")))?;
    Ok(submitted)
}

fn invalid(problems: &[Problem]) -> Status {
    status::invalid_workflow(problems, problems.len())
}

fn unexpected(verdict: &Verdict) -> Status {
    internal(&format!("the journal answered {verdict:?}"))
}

fn internal(message: &str) -> Status {
    tracing::error!(message, "a request could not be answered");
    status::to_status(&Failure::new(ErrorCode::InternalError, "internal error of the control plane; see its log"))
}

fn inputs(text: &str) -> Result<Map<String, Value>, Status> {
    if text.is_empty() {
        return Ok(Map::new());
    }
    match json::parse(text) {
        Ok(Value::Object(inputs)) => Ok(inputs),
        Ok(_) => Err(status::malformed("inputs_json", "expected a JSON object of names to values")),
        Err(problem) if problem.is_content_fault() => Err(status::malformed("inputs_json", &problem.to_string())),
        Err(problem) => Err(status::malformed("inputs_json", &format!("expected a JSON object: {problem}"))),
    }
}

fn labels(given: impl IntoIterator<Item = (String, String)>) -> Result<BTreeMap<String, String>, Status> {
    let labels: BTreeMap<String, String> = given.into_iter().collect();
    match labels.iter().find(|(key, value)| key.is_empty() || key.len() + value.len() > MAX_LABEL_BYTES) {
        Some((key, _)) => {
            let why = format!("label `{key}`: expected a name and at most {MAX_LABEL_BYTES} bytes");
            Err(status::malformed("labels", &why))
        }
        None => Ok(labels),
    }
}

fn request_key(request_id: &str, hash: impl FnOnce() -> String) -> Result<Option<RequestKey>, Status> {
    if request_id.is_empty() {
        return Ok(None);
    }
    if request_id.len() > MAX_REQUEST_ID_BYTES || request_id.chars().any(char::is_control) {
        let why = format!("expected at most {MAX_REQUEST_ID_BYTES} bytes without control characters");
        return Err(status::malformed("request_id", &why));
    }
    Ok(Some(RequestKey { request_id: request_id.to_owned(), body_hash: hash() }))
}

/// A hash over everything that makes two submissions the same; the messages keep their maps in a fixed order.
fn hash_submit(request: &v1::SubmitWorkflowRequest) -> String {
    use prost::Message as _;
    let source = match &request.source {
        Some(v1::submit_workflow_request::Source::Yaml(yaml)) => yaml.clone().into_bytes(),
        Some(v1::submit_workflow_request::Source::Workflow(workflow)) => workflow.encode_to_vec(),
        None => Vec::new(),
    };
    let files = request.files.iter().flat_map(|(name, bytes)| [name.as_bytes(), bytes.as_ref()]);
    let labels = request.labels.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    let head = [b"submit".as_slice(), &source, request.inputs_json.as_bytes()];
    hash(head.into_iter().chain(files).chain([b"labels".as_slice()]).chain(labels))
}

fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
