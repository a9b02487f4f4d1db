//! Errors of talking to a control plane. Callers decide by [`Error::code`] and the methods beside it, never by the
//! text.

use std::fmt;
use std::time::Duration;

use gleitzeit_link::Cause;
use gleitzeit_workflow::spec::Problem;
use gleitzeit_workflow::{ErrorCode, Failure};
use tonic::Code;
use tonic_types::StatusExt;

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call did not succeed.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    failure: Failure,
    retry_after: Option<Duration>,
    problems: Vec<Problem>,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The control plane answered with an error.
    Refused,
    /// No control plane answered.
    Unreachable,
    /// The request could not be made, or its answer could not be understood.
    Local,
}

impl Error {
    /// The stable number from the error table.
    pub fn code(&self) -> i32 {
        self.0.failure.code
    }

    /// The code, if this version's table contains it.
    pub fn known(&self) -> Option<ErrorCode> {
        self.0.failure.known()
    }

    /// The code's name, such as `WORKFLOW_NOT_FOUND`.
    pub fn name(&self) -> &'static str {
        self.0.failure.name()
    }

    /// What happened, with the names involved.
    pub fn message(&self) -> &str {
        &self.0.failure.message
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        (self.is_unreachable() && self.known() != Some(ErrorCode::NotAControlPlane))
            || self.0.retry_after.is_some()
            || self.0.failure.known().is_some_and(ErrorCode::is_retryable)
    }

    /// How long the control plane asks the client to wait before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// All problems of the workflow, its inputs or its files, if the error is about those.
    pub fn problems(&self) -> &[Problem] {
        &self.0.problems
    }

    /// Advice that is more specific than the code's own ([`ErrorCode::remedy`]), if there is any.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Whether no control plane answered: nothing listens there, the connection broke, the call took too long, or the
    /// control plane was shutting down.
    pub fn is_unreachable(&self) -> bool {
        self.0.kind == Kind::Unreachable
    }

    /// Whether the control plane refused the call: it answered, and a repeat would change nothing.
    pub fn is_refused(&self) -> bool {
        self.0.kind == Kind::Refused
    }

    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::of(Kind::Local, Failure::new(code, message))
    }

    /// A mistake of the caller, noticed before anything was sent.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidParams, message)
    }

    /// A workflow that is invalid in itself.
    pub(crate) fn of_problems(problems: Vec<Problem>) -> Self {
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let code = problems.first().map_or(ErrorCode::WorkflowValidationFailed, |problem| problem.code);
        let mut this = Self::new(code, told.join("; "));
        this.0.problems = problems;
        this
    }

    /// An answer that this version does not understand.
    pub(crate) fn answer(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InternalError, message)
    }

    pub(crate) fn timeout(limit: Duration) -> Self {
        let message = format!("the control plane did not answer within {limit:?}");
        Self::of(Kind::Unreachable, Failure::new(ErrorCode::ConnectionTimeout, message))
    }

    /// The connection could not be made, or the server there does not know our calls.
    pub(crate) fn unreached(cause: Cause) -> Self {
        let is_refusal = matches!(cause.code, ErrorCode::AuthorizationFailed | ErrorCode::AuthenticationFailed);
        let kind = if is_refusal { Kind::Refused } else { Kind::Unreachable };
        let mut this = Self::of(kind, Failure::new(cause.code, cause.message));
        this.0.hint = Some(cause.hint);
        this
    }

    /// Adds the address, for a connection that broke while it was in use.
    pub(crate) fn at(mut self, url: &str) -> Self {
        let failure = &mut self.0.failure;
        if failure.known() == Some(ErrorCode::ConnectionLost) && !failure.message.contains(url) {
            failure.message = format!("the connection to {url} was lost: {}", failure.message);
        }
        self
    }

    /// Adds the address and for how long the client kept trying.
    pub(crate) fn away(mut self, url: &str, tried: Duration) -> Self {
        let cause = &self.0.failure.message;
        self.0.failure.message =
            format!("the control plane at {url} did not answer for {} s: {cause}", tried.as_secs());
        self
    }

    /// The stream ended before the run did.
    pub(crate) fn broken_stream() -> Self {
        Self::of(Kind::Unreachable, Failure::new(ErrorCode::ConnectionLost, "the stream of events was lost"))
    }

    fn of(kind: Kind, failure: Failure) -> Self {
        Self(Box::new(Inner { kind, failure, retry_after: None, problems: Vec::new(), hint: None, source: None }))
    }
}

/// Control planes always identify themselves (`ErrorInfo`, domain `gleitzeit`). A status without that was made on the
/// way: by the transport, or by a server that is not a control plane.
impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        let details = status.get_error_details();
        let ours = details.error_info().filter(|info| info.domain == "gleitzeit");
        let code = ours.and_then(|info| {
            ErrorCode::from_name(&info.reason)
                .or_else(|| ErrorCode::from_code(info.metadata.get("code")?.parse().ok()?))
        });
        let on_the_way = matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal | Code::DeadlineExceeded
        );
        let (kind, code) = match code {
            Some(ErrorCode::SystemShutdown | ErrorCode::SystemNotInitialized) => {
                (Kind::Unreachable, code.unwrap_or(ErrorCode::SystemShutdown))
            }
            Some(code) => (Kind::Refused, code),
            None if ours.is_none() && on_the_way => (Kind::Unreachable, ErrorCode::ConnectionLost),
            None => (Kind::Refused, code_of(status.code())),
        };
        // Control planes of every version answer our services; without details, `Unimplemented` comes from a server
        // that has none of them.
        let is_unknown = ours.is_none() && status.code() == Code::Unimplemented;
        let message = match status.message() {
            message if is_unknown => format!("the server does not support this call: {message}"),
            "" => code.meaning().to_owned(),
            message => message.to_owned(),
        };
        let mut this = Self::of(kind, Failure::new(code, message));
        this.0.hint = is_unknown.then(|| {
            let own = env!("CARGO_PKG_VERSION");
            format!("the control plane has another version than this client ({own}), or another server answers; check with `gleitzeit doctor`")
        });
        this.0.retry_after = details.retry_info().and_then(|info| info.retry_delay);
        this.0.problems = gleitzeit_proto::status::from_status(&status).problems;
        this.0.source = Some(Box::new(status));
        this
    }
}

fn code_of(code: Code) -> ErrorCode {
    match code {
        Code::InvalidArgument | Code::OutOfRange => ErrorCode::InvalidParams,
        Code::NotFound => ErrorCode::WorkflowNotFound,
        Code::Unauthenticated => ErrorCode::AuthenticationFailed,
        Code::PermissionDenied => ErrorCode::AuthorizationFailed,
        Code::ResourceExhausted => ErrorCode::ResourceExhausted,
        Code::FailedPrecondition => ErrorCode::WorkflowInvalidState,
        Code::Unimplemented => ErrorCode::MethodNotSupported,
        _ => ErrorCode::InternalError,
    }
}

/// The most specific cause: the last of the chain.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn status(code: Code, reason: &str) -> (tonic::Status, ErrorDetails) {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, "gleitzeit", HashMap::new());
        (tonic::Status::with_error_details(code, "text", details.clone()), details)
    }

    #[test]
    fn a_refusal_by_a_control_plane_does_not_count_as_unreachable() {
        let (status, _) = status(Code::Unavailable, "PROVIDER_NOT_AVAILABLE");
        let error = Error::from(status);
        assert_eq!((error.name(), error.is_unreachable(), error.is_refused()), ("PROVIDER_NOT_AVAILABLE", false, true));
        for code in [Code::Unavailable, Code::Unknown, Code::Cancelled] {
            assert!(Error::from(tonic::Status::new(code, "broken pipe")).is_unreachable(), "{code:?}");
        }
        assert!(!Error::from(tonic::Status::new(Code::Unauthenticated, "no")).is_unreachable());
    }

    #[test]
    fn a_code_that_this_version_does_not_know_is_still_a_refusal() {
        let (status, _) = status(Code::ResourceExhausted, "QUEUE_FULL");
        let error = Error::from(status);
        assert_eq!((error.name(), error.message(), error.is_refused()), ("RESOURCE_EXHAUSTED", "text", true));
    }

    #[test]
    fn problems_are_decoded_with_their_places() {
        let (_, mut details) = status(Code::InvalidArgument, "WORKFLOW_VALIDATION_FAILED");
        details.add_bad_request_violation("tasks[0]", "3:5: unknown field: `x`");
        details.add_bad_request_violation("inputs.n", "input `n` is required");
        let error = Error::from(tonic::Status::with_error_details(Code::InvalidArgument, "two problems", details));
        let places: Vec<_> = error.problems().iter().map(|p| (p.line, p.column, p.message.as_str())).collect();
        assert_eq!(places, [(Some(3), Some(5), "unknown field: `x`"), (None, None, "input `n` is required")]);
    }

    #[test]
    fn only_calls_that_may_succeed_are_repeated() {
        let (full, mut details) = status(Code::ResourceExhausted, "WORKFLOW_VALIDATION_FAILED");
        assert!(!Error::from(full).is_retryable(), "a workflow over a limit stays over it");
        details.set_retry_info(Some(Duration::from_millis(250)));
        let busy = Error::from(tonic::Status::with_error_details(Code::ResourceExhausted, "busy", details));
        assert_eq!((busy.is_retryable(), busy.retry_after()), (true, Some(Duration::from_millis(250))));
    }
}
