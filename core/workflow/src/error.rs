//! The table of error codes: one for YAML validation, gRPC, mesh, command line and logs.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::payload::Payload;

/// The gRPC status a code maps to (names and meaning as in the gRPC status code specification).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the gRPC specification")]
pub enum GrpcCode {
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

macro_rules! codes {
    ($($variant:ident = $code:literal, $name:literal, $retryable:literal, $grpc:ident, $meaning:literal, $remedy:literal;)*) => {
        /// A stable error code. Numbers and names never change their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode {
            $(#[doc = $meaning] $variant,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the table.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The stable integer.
            pub fn code(self) -> i32 {
                match self { $(Self::$variant => $code,)* }
            }

            /// The stable name in capitals.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether the same work may succeed if it is tried again.
            pub fn is_retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)* }
            }

            /// The gRPC status it maps to.
            pub fn grpc(self) -> GrpcCode {
                match self { $(Self::$variant => GrpcCode::$grpc,)* }
            }

            /// What it means, one sentence without full stop.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }

            /// What to do about it.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)* }
            }

            /// The code with this integer, if it is in the table.
            pub fn from_code(code: i32) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }

            /// The code with this name, if it is in the table.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

/// Codes that were documented once, and that nothing in Gleitzeit returned: number, name, and whether a provider that
/// answered with it wanted another attempt. Journals and providers may know them; they are not given out again.
const RETIRED: [(i32, &str, bool); 7] = [
    (-30001, "PROTOCOL_NOT_FOUND", false),
    (-27001, "QUEUE_NOT_FOUND", false),
    (-27002, "QUEUE_FULL", true),
    (-27003, "QUEUE_EMPTY", false),
    (-27004, "SCHEDULING_FAILED", false),
    (-27005, "SCHEDULER_NOT_RUNNING", false),
    (-26004, "PERSISTENCE_TRANSACTION_FAILED", false),
];

codes! {
    ParseError = -32700, "PARSE_ERROR", false, InvalidArgument, "the text is not valid JSON or YAML", "fix the syntax at the place named";
    InvalidRequest = -32600, "INVALID_REQUEST", false, InvalidArgument, "the message is not a valid request", "compare it with the documented shape";
    MethodNotFound = -32601, "METHOD_NOT_FOUND", false, NotFound, "the method is not known", "check its name with `gleitzeit protocols`";
    InvalidParams = -32602, "INVALID_PARAMS", false, InvalidArgument, "the parameters do not match the method's schema", "see the method's schema with `gleitzeit protocols`";
    InternalError = -32603, "INTERNAL_ERROR", false, Internal, "an internal error occurred in Gleitzeit", "read the component's log and report the error";
    SystemNotInitialized = -31001, "SYSTEM_NOT_INITIALIZED", false, Unavailable, "the component is not ready yet", "wait until `/readyz` answers 200";
    SystemShutdown = -31002, "SYSTEM_SHUTDOWN", false, Unavailable, "the component is shutting down", "try again once it is back";
    ConfigurationError = -31003, "CONFIGURATION_ERROR", false, FailedPrecondition, "the configuration is not valid", "correct the setting named";
    ResourceExhausted = -31004, "RESOURCE_EXHAUSTED", true, ResourceExhausted, "a limit or buffer is full", "try again after the delay, or raise the limit named";
    RateLimitExceeded = -31005, "RATE_LIMIT_EXCEEDED", true, ResourceExhausted, "too many requests", "try again after the delay";
    ProviderNotFound = -30002, "PROVIDER_NOT_FOUND", false, NotFound, "the provider is not known", "check its name with `gleitzeit providers`";
    ProviderNotAvailable = -30003, "PROVIDER_NOT_AVAILABLE", true, Unavailable, "no connected provider could serve the call", "start a provider for the method";
    ProviderInitializationFailed = -30004, "PROVIDER_INITIALIZATION_FAILED", false, Unavailable, "the provider could not start", "read the message, correct its definition or install what it needs";
    ProviderUnhealthy = -30005, "PROVIDER_UNHEALTHY", true, Unavailable, "all providers of the method are unhealthy", "see the reason with `gleitzeit providers`, or on its machine with `gleitzeit doctor`";
    ProviderTimeout = -30006, "PROVIDER_TIMEOUT", true, DeadlineExceeded, "the provider did not answer in time", "raise the timeout or check the provider";
    ProviderOverloaded = -30007, "PROVIDER_OVERLOADED", true, ResourceExhausted, "the provider has no room", "try again later or add capacity";
    MethodNotSupported = -30008, "METHOD_NOT_SUPPORTED", false, Unimplemented, "the provider does not serve this method", "check its definition";
    ProtocolVersionMismatch = -30009, "PROTOCOL_VERSION_MISMATCH", false, FailedPrecondition, "the protocol is registered with other schemas under this version", "give the changed protocol a new version";
    CallNotFound = -30010, "CALL_NOT_FOUND", false, NotFound, "the answer is for an unknown call", "answer with the `id` that the call came with";
    CallEnded = -30011, "CALL_ENDED", false, FailedPrecondition, "the answer is for a call that has ended: answered already, cancelled, timed out or lost", "nothing to do: answer each call once, and do not answer cancelled calls";
    CallNotYours = -30012, "CALL_NOT_YOURS", false, PermissionDenied, "the answer is for a call that another provider was given", "answer with the `id` that the call came with; register again under the same `component_id` to keep calls";
    HistoryLost = -30013, "HISTORY_LOST", false, FailedPrecondition, "what the caller has seen is not in this journal: a backup was restored, or the store was removed", "discard everything from the lost journal and register again; restart old workers";
    ComponentIdTaken = -30014, "COMPONENT_ID_TAKEN", true, PermissionDenied, "the id belongs to another component that is connected or may reconnect", "send the `secret` of its registration, use another id, or wait until that component is lost";
    TaskValidationFailed = -29001, "TASK_VALIDATION_FAILED", false, InvalidArgument, "the task's parameters do not match the method's schema", "correct the parameter named";
    TaskExecutionFailed = -29002, "TASK_EXECUTION_FAILED", true, Unknown, "the task's work failed", "read the message; it comes from the task itself";
    TaskTimeout = -29003, "TASK_TIMEOUT", true, DeadlineExceeded, "the attempt ran longer than its timeout", "raise `timeout` or make the work smaller";
    TaskCancelled = -29004, "TASK_CANCELLED", false, Cancelled, "the task was cancelled", "submit or retry the run if this was not intended";
    TaskDependencyFailed = -29005, "TASK_DEPENDENCY_FAILED", false, FailedPrecondition, "a task this one depends on failed", "see the error of the task named";
    TaskParameterError = -29006, "TASK_PARAMETER_ERROR", false, InvalidArgument, "a reference could not be resolved or a value is too large", "correct the parameter named";
    TaskResultInvalid = -29007, "TASK_RESULT_INVALID", false, FailedPrecondition, "the result does not match the method's schema, or is not JSON that can be stored", "correct the provider";
    TaskRetryExhausted = -29008, "TASK_RETRY_EXHAUSTED", false, Aborted, "the task was lost too often", "look at the workers named";
    TaskNotFound = -29009, "TASK_NOT_FOUND", false, NotFound, "the task is not known", "check its id with `gleitzeit status RUN`";
    WorkflowValidationFailed = -28001, "WORKFLOW_VALIDATION_FAILED", false, InvalidArgument, "the workflow is not valid", "correct the places named";
    WorkflowNotFound = -28002, "WORKFLOW_NOT_FOUND", false, NotFound, "the run is not known", "list runs with `gleitzeit list`";
    WorkflowExecutionFailed = -28003, "WORKFLOW_EXECUTION_FAILED", false, Aborted, "the run failed", "see the failed tasks with `gleitzeit status RUN`";
    WorkflowTimeout = -28004, "WORKFLOW_TIMEOUT", false, DeadlineExceeded, "the run took longer than its timeout", "raise the workflow's `timeout`";
    WorkflowCancelled = -28005, "WORKFLOW_CANCELLED", false, Cancelled, "the run was cancelled", "`gleitzeit retry RUN` continues it as a new run";
    WorkflowCircularDependency = -28006, "WORKFLOW_CIRCULAR_DEPENDENCY", false, InvalidArgument, "tasks depend on each other in a cycle", "remove one of the dependencies named";
    WorkflowInvalidState = -28007, "WORKFLOW_INVALID_STATE", false, FailedPrecondition, "the run's state does not allow this", "see its state with `gleitzeit status RUN`";
    WorkflowInterrupted = -28008, "WORKFLOW_INTERRUPTED", false, FailedPrecondition, "the process that worked on the run is gone, and the run has not ended", "continue it as the message says";
    PersistenceConnectionFailed = -26001, "PERSISTENCE_CONNECTION_FAILED", true, Unavailable, "the store cannot be opened", "check the path and its permissions";
    PersistenceWriteFailed = -26002, "PERSISTENCE_WRITE_FAILED", false, Internal, "the store could not be written", "check disk space and permissions";
    PersistenceReadFailed = -26003, "PERSISTENCE_READ_FAILED", false, Internal, "the store could not be read", "check the disk";
    PersistenceIntegrityError = -26005, "PERSISTENCE_INTEGRITY_ERROR", false, DataLoss, "the store holds what this version cannot apply", "use the version that wrote it, or restore a backup";
    PersistenceStoreLost = -26007, "PERSISTENCE_STORE_LOST", false, DataLoss, "the store was removed while it was in use", "put its file back where it was, or restore a backup, and start the control plane again";
    NetworkUnreachable = -25001, "NETWORK_UNREACHABLE", true, Unavailable, "the network cannot be reached", "check the address and the network";
    ConnectionRefused = -25002, "CONNECTION_REFUSED", false, Unavailable, "the control plane refused the connection", "start one with `gleitzeit start`";
    ConnectionTimeout = -25003, "CONNECTION_TIMEOUT", true, Unavailable, "the connection took too long", "check the address and the network";
    ConnectionLost = -25004, "CONNECTION_LOST", true, Unavailable, "the connection was lost", "nothing to do: it is reestablished automatically";
    AuthenticationFailed = -25005, "AUTHENTICATION_FAILED", false, Unauthenticated, "the token is missing or wrong", "set GLEITZEIT_TOKEN to the control plane's token, or GLEITZEIT_TOKEN_FILE to a file that holds it";
    AuthorizationFailed = -25006, "AUTHORIZATION_FAILED", false, PermissionDenied, "this caller is not allowed here", "see the message for the option that allows it";
    NotAControlPlane = -25007, "NOT_A_CONTROL_PLANE", false, Unavailable, "the server at the address is not a control plane", "name the control plane's address with --hub-url or GLEITZEIT_HUB_URL";
    CertificateNotTrusted = -25008, "CERTIFICATE_NOT_TRUSTED", false, Unavailable, "the server's certificate is not trusted", "see the message; `--ca FILE` names the root of a private authority";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The largest error, with its details, in bytes. Errors are journaled, and copied to everything that fails because of
/// them.
pub const MAX_FAILURE_BYTES: usize = 256 * 1024;

/// Why something failed, in the form in which it is journaled, sent and shown: `{code, name, message, data?}`.
///
/// A foreign provider may use its own code outside the table; `name` is then `ERROR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The stable integer from the table, or a foreign provider's own.
    pub code: i32,
    /// What happened, with the names involved.
    pub message: String,
    /// Details for programs, for instance a traceback or the field that was wrong.
    pub data: Option<Payload>,
}

/// What an error's `data` may tell the engine about retries.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Advice {
    /// Whether another attempt may succeed; if absent, the code decides.
    pub retryable: Option<bool>,
    /// How long to wait before the next attempt, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// Whether the work was lost rather than failed.
    pub lost: bool,
}

impl Advice {
    /// Whether another attempt may succeed: as the data says, or else by the code of the failure that carried it.
    pub fn is_retryable(&self, error: &Failure) -> bool {
        let by_code = || match error.known() {
            None => RETIRED.iter().find(|(code, ..)| *code == error.code).is_none_or(|(.., retryable)| *retryable),
            Some(ErrorCode::TaskExecutionFailed) => true,
            Some(code) => code.is_retryable(),
        };
        self.retryable.unwrap_or_else(|| self.retry_after_ms.is_some() || by_code())
    }
}

impl Failure {
    /// A failure with a code of the table.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code: code.code(), message: message.into(), data: None }
    }

    /// Adds data for programs.
    #[must_use]
    pub fn with_data(mut self, data: Payload) -> Self {
        self.data = Some(data);
        self
    }

    /// The size of the variable parts, message and data, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.message.len() + self.data.as_ref().map_or(0, Payload::size_bytes)
    }

    /// The retry advice in its data; empty if the data is not an object. The hub checks what foreign providers send on
    /// arrival and refuses a field of the wrong type.
    pub fn advice(&self) -> Advice {
        self.data.as_ref().and_then(|data| data.read().ok()).unwrap_or_default()
    }

    /// Returns the failure within [`MAX_FAILURE_BYTES`] and with data that can be carried without change. Of a failure
    /// that is too large, or whose data cannot be carried, only the code, the start of the message and the retry advice
    /// in its data are kept.
    #[must_use]
    pub fn bounded(self) -> Self {
        /// Bytes of the message that are kept.
        const KEPT: usize = 4 * 1024;
        let size = self.size_bytes();
        let is_large = size > MAX_FAILURE_BYTES;
        let problem = self.data.as_ref().filter(|_| !is_large).and_then(|data| data.check().err());
        if !is_large && problem.is_none() {
            return self;
        }
        let advice = self.advice();
        let mut data = serde_json::Map::new();
        data.extend(advice.retryable.map(|it| ("retryable".to_owned(), it.into())));
        data.extend(advice.retry_after_ms.map(|it| ("retry_after_ms".to_owned(), it.into())));
        data.extend(advice.lost.then(|| ("lost".to_owned(), true.into())));
        if let Some(problem) = problem {
            data.insert("unreadable".to_owned(), problem.within("data").to_string().into());
            return Self { data: Some(Payload::from_value(&data.into())), ..self };
        }
        data.insert("omitted_bytes".to_owned(), size.into());
        let end = (0..=self.message.len().min(KEPT)).rev().find(|at| self.message.is_char_boundary(*at)).unwrap_or(0);
        let message = format!("{} (the error has {size} bytes; the rest is omitted)", &self.message[..end]);
        Self { code: self.code, message, data: Some(Payload::from_value(&data.into())) }
    }

    /// The code, if it is in the table.
    pub fn known(&self) -> Option<ErrorCode> {
        ErrorCode::from_code(self.code)
    }

    /// The code's name, or `ERROR` if it is not in the table.
    pub fn name(&self) -> &'static str {
        self.known().map_or("ERROR", ErrorCode::name)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.name(), self.code, self.message)
    }
}

impl std::error::Error for Failure {}

#[derive(Serialize)]
struct FailureOut<'a> {
    code: i32,
    name: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Payload>,
}

#[derive(Deserialize)]
struct FailureIn {
    code: i32,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Option<Payload>,
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        FailureOut { code: self.code, name: self.name(), message: &self.message, data: self.data.as_ref() }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Failure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let FailureIn { code, message, data } = FailureIn::deserialize(deserializer)?;
        Ok(Self { code, message, data })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_read_back() {
        let mut seen = BTreeSet::from(RETIRED.map(|(number, ..)| number));
        for code in ErrorCode::ALL {
            assert!(seen.insert(code.code()), "{code} has the number of another");
            assert!(RETIRED.iter().all(|(_, name, _)| *name != code.name()), "{code} has the name of a removed code");
            assert_eq!(ErrorCode::from_code(code.code()), Some(*code));
            assert_eq!(ErrorCode::from_name(code.name()), Some(*code));
        }
    }

    #[test]
    fn a_failure_carries_its_name_in_json() {
        let failure = Failure::new(ErrorCode::TaskTimeout, "too slow");
        let json = serde_json::to_string(&failure).expect("serializable");
        assert_eq!(json, r#"{"code":-29003,"name":"TASK_TIMEOUT","message":"too slow"}"#);
        assert_eq!(serde_json::from_str::<Failure>(&json).expect("readable"), failure);
    }

    #[test]
    fn a_failure_with_a_removed_code_is_read_and_passed_on() {
        for (number, name, retryable) in RETIRED {
            let json = format!(r#"{{"code":{number},"name":"{name}","message":"why","data":{{"n":1}}}}"#);
            let failure: Failure = serde_json::from_str(&json).expect("readable");
            assert_eq!((failure.code, failure.known(), failure.name()), (number, None, "ERROR"));
            assert_eq!((failure.message.as_str(), failure.data.is_some()), ("why", true));
            assert_eq!(Advice::default().is_retryable(&failure), retryable, "as the table said");
            let again = serde_json::to_string(&failure).expect("serializable");
            assert_eq!(serde_json::from_str::<Failure>(&again).expect("readable"), failure);
        }
    }

    #[test]
    fn a_huge_failure_keeps_its_code_and_retry_advice() {
        let data = serde_json::json!({"retryable": false, "retry_after_ms": 7, "trace": "x".repeat(MAX_FAILURE_BYTES)});
        let huge = Failure { code: 4_711, message: "é".repeat(5_000), data: Some(Payload::from_value(&data)) };
        let cut = huge.clone().bounded();
        assert_eq!(cut.code, 4_711);
        assert!(cut.size_bytes() < 5_000 && cut.message.starts_with('é'), "{} bytes are left", cut.size_bytes());
        let data = cut.data.as_ref().expect("data").to_value().expect("JSON");
        assert_eq!((&data["retryable"], &data["retry_after_ms"]), (&false.into(), &7.into()));
        assert_eq!(data["omitted_bytes"], huge.size_bytes());
        let small = Failure::new(ErrorCode::TaskTimeout, "too slow");
        assert_eq!(small.clone().bounded(), small);
        let data = Payload::grammatical(r#"{"retryable": true, "n": [1e400]}"#.to_owned()).expect("grammatical");
        let odd = Failure { code: 7, message: "no".to_owned(), data: Some(data) };
        let kept = odd.bounded();
        assert_eq!((kept.code, kept.message.as_str()), (7, "no"));
        let data = kept.data.expect("data").to_value().expect("JSON");
        assert_eq!(data["retryable"], true);
        assert!(data["unreadable"].as_str().expect("text").starts_with("in `data.n[0]`: the number 1e400"), "{data}");
    }
}
