//! Errors on the wire: the domain's failures as `tonic::Status` with `google.rpc` details, and back.
//!
//! `ErrorInfo` carries our code, `BadRequest` one violation per problem, `RetryInfo` a delay. The place of a problem is
//! sent in its description as `line:column: `, so that clients that know only `google.rpc` can show it as it is.

use std::collections::HashMap;
use std::time::Duration;

use gleitzeit_run::RunId;
use gleitzeit_workflow::error::GrpcCode;
use gleitzeit_workflow::spec::Problem;
use gleitzeit_workflow::{ErrorCode, Failure};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::convert;

/// The domain in our `ErrorInfo`.
pub const DOMAIN: &str = "gleitzeit";

/// The most bytes of violations, before base64: details are sent in a header, and peers accept 8 KiB of headers.
const VIOLATION_BYTES: usize = 5 * 1024;
const MESSAGE_CHARS: usize = 1_000;
const DATA: &str = "data";

/// The folder under which the files of `google.rpc` are published.
const PUBLISHED: &str = "google/rpc/";

/// The descriptors of `google.rpc` for server reflection, so that tools can print details. They have the published file
/// names, since a tool may already know one of the files.
///
/// # Errors
/// If the descriptors of the crate that encodes the details cannot be read; a test rules this out.
pub fn descriptors() -> Result<FileDescriptorSet, prost::DecodeError> {
    let mut set = FileDescriptorSet::decode(tonic_types::pb::FILE_DESCRIPTOR_SET)?;
    let short: Vec<String> = set.file.iter().map(|file| file.name().to_owned()).collect();
    let publish = |name: &mut String| {
        if short.contains(name) && !name.contains('/') {
            name.insert_str(0, PUBLISHED);
        }
    };
    for file in &mut set.file {
        file.name.iter_mut().chain(&mut file.dependency).for_each(publish);
    }
    Ok(set)
}

fn code(code: ErrorCode) -> Code {
    match code.grpc() {
        GrpcCode::Cancelled => Code::Cancelled,
        GrpcCode::Unknown => Code::Unknown,
        GrpcCode::InvalidArgument => Code::InvalidArgument,
        GrpcCode::DeadlineExceeded => Code::DeadlineExceeded,
        GrpcCode::NotFound => Code::NotFound,
        GrpcCode::PermissionDenied => Code::PermissionDenied,
        GrpcCode::ResourceExhausted => Code::ResourceExhausted,
        GrpcCode::FailedPrecondition => Code::FailedPrecondition,
        GrpcCode::Aborted => Code::Aborted,
        GrpcCode::Unimplemented => Code::Unimplemented,
        GrpcCode::Internal => Code::Internal,
        GrpcCode::Unavailable => Code::Unavailable,
        GrpcCode::DataLoss => Code::DataLoss,
        GrpcCode::Unauthenticated => Code::Unauthenticated,
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn details(failure: &Failure) -> ErrorDetails {
    let mut metadata = HashMap::from([("code".to_owned(), failure.code.to_string())]);
    if let Some(data) = failure.data.as_ref().filter(|data| data.size_bytes() <= MESSAGE_CHARS) {
        metadata.insert(DATA.to_owned(), data.get().to_owned());
    }
    ErrorDetails::with_error_info(failure.name(), DOMAIN, metadata)
}

fn status(failure: &Failure, details: ErrorDetails) -> Status {
    let code = failure.known().map_or(Code::Unknown, code);
    Status::with_error_details(code, shorten(&failure.message), details)
}

/// A failure as a status.
pub fn to_status(failure: &Failure) -> Status {
    status(failure, details(failure))
}

/// `RESOURCE_EXHAUSTED`, with the delay before a retry.
pub fn busy(retry_after: Duration) -> Status {
    let failure = Failure::new(ErrorCode::ResourceExhausted, "the control plane is overloaded; try again shortly");
    let mut details = details(&failure);
    details.set_retry_info(Some(retry_after));
    status(&failure, details)
}

/// `NOT_FOUND` for a run.
pub fn not_found_run(run_id: RunId) -> Status {
    let failure = Failure::new(
        ErrorCode::WorkflowNotFound,
        format!("there is no run {run_id}; it was never submitted here, or was removed long after its end"),
    );
    let mut details = details(&failure);
    details.set_resource_info("run", run_id.to_string(), "", "");
    status(&failure, details)
}

/// `INVALID_ARGUMENT` for a field of the request itself.
pub fn malformed(field: &str, why: &str) -> Status {
    let failure = Failure::new(ErrorCode::InvalidRequest, format!("`{field}`: {why}"));
    let mut details = details(&failure);
    details.add_bad_request_violation(field, why);
    status(&failure, details)
}

/// `INVALID_ARGUMENT` with the problems of a workflow, as many as fit into the details; `total` is their number.
pub fn invalid_workflow(problems: &[Problem], total: usize) -> Status {
    let first = problems.first();
    let what = first.map_or_else(|| "the workflow is not valid".to_owned(), ToString::to_string);
    let more = if total > 1 { format!(" (and {} more)", total - 1) } else { String::new() };
    let code = first.map_or(ErrorCode::WorkflowValidationFailed, |problem| problem.code);
    let failure = Failure::new(code, format!("{}{more}", what.lines().next().unwrap_or_default()));
    let mut metadata =
        HashMap::from([("code".to_owned(), failure.code.to_string()), ("problem_count".to_owned(), total.to_string())]);
    if let Some(file) = first.map(|problem| &problem.file).filter(|file| !file.is_empty() && file.len() < 512) {
        metadata.insert("file".to_owned(), file.clone());
    }
    let mut violations = Vec::new();
    let mut bytes = 0;
    for problem in problems {
        let violation = violation(problem);
        bytes += violation.field.len() + violation.description.len() + violation.reason.len() + 16;
        if bytes > VIOLATION_BYTES && !violations.is_empty() {
            break;
        }
        violations.push(violation);
    }
    let mut details = ErrorDetails::with_error_info(failure.name(), DOMAIN, metadata);
    details.set_bad_request(violations);
    // The status is the same whatever the first problem is: an unknown method in a workflow is not a request for
    // something missing.
    Status::with_error_details(Code::InvalidArgument, shorten(&failure.message), details)
}

fn violation(problem: &Problem) -> FieldViolation {
    let place = match (problem.line, problem.column) {
        (Some(line), Some(column)) => format!("{line}:{column}: "),
        _ => String::new(),
    };
    let hint = problem.hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    let description = format!("{place}{}{hint}", problem.message);
    FieldViolation {
        reason: problem.code.name().to_owned(),
        ..FieldViolation::new(&problem.field, shorten(&description))
    }
}

/// What a client learns from a status.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// Our code, or the closest one to the status.
    pub failure: Failure,
    /// The problems of a workflow or request, as many as the server could send.
    pub problems: Vec<Problem>,
    /// The total number of problems.
    pub problem_count: usize,
    /// The delay before a retry.
    pub retry_after: Option<Duration>,
}

/// Reads a status, from our server or any other.
pub fn from_status(status: &Status) -> Refused {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == DOMAIN);
    let known = info.and_then(|info| ErrorCode::from_name(&info.reason));
    let mut failure = Failure::new(known.unwrap_or_else(|| closest(status.code())), status.message());
    let metadata = |key: &str| info.and_then(|info| info.metadata.get(key));
    if let Some(text) = metadata(DATA) {
        failure = failure.with_data(convert::data(text));
    }
    let file = metadata("file").cloned().unwrap_or_default();
    let violations = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
    let problems: Vec<Problem> = violations.iter().map(|violation| problem(violation, &file)).collect();
    let problem_count = metadata("problem_count").and_then(|count| count.parse().ok()).unwrap_or(problems.len());
    let retry_after = details.retry_info().and_then(|info| info.retry_delay);
    Refused { failure, problems, problem_count, retry_after }
}

fn problem(violation: &FieldViolation, file: &str) -> Problem {
    let code = ErrorCode::from_name(&violation.reason).unwrap_or(ErrorCode::InvalidRequest);
    let (text, hint) = match violation.description.split_once("\nhint: ") {
        Some((text, hint)) => (text, Some(hint.to_owned())),
        None => (violation.description.as_str(), None),
    };
    let (place, message) = place(text);
    let problem = Problem { field: violation.field.clone(), hint, ..Problem::of_file(file, code, message) };
    match place {
        Some((line, column)) => problem.at(line, column),
        None => problem,
    }
}

fn place(text: &str) -> (Option<(u32, u32)>, &str) {
    let parse = || {
        let (place, message) = text.split_once(": ")?;
        let (line, column) = place.split_once(':')?;
        Some(((line.parse().ok()?, column.parse().ok()?), message))
    };
    parse().map_or((None, text), |(place, message)| (Some(place), message))
}

/// The closest code for a status that is not ours.
fn closest(code: Code) -> ErrorCode {
    match code {
        Code::InvalidArgument | Code::OutOfRange => ErrorCode::InvalidRequest,
        Code::NotFound => ErrorCode::WorkflowNotFound,
        Code::DeadlineExceeded => ErrorCode::ConnectionTimeout,
        Code::PermissionDenied => ErrorCode::AuthorizationFailed,
        Code::Unauthenticated => ErrorCode::AuthenticationFailed,
        Code::ResourceExhausted => ErrorCode::ResourceExhausted,
        Code::FailedPrecondition | Code::Aborted | Code::AlreadyExists => ErrorCode::WorkflowInvalidState,
        Code::Unimplemented => ErrorCode::MethodNotFound,
        Code::Unavailable => ErrorCode::ConnectionLost,
        Code::DataLoss => ErrorCode::PersistenceIntegrityError,
        Code::Ok | Code::Cancelled | Code::Unknown | Code::Internal => ErrorCode::InternalError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(at: u32) -> Problem {
        Problem {
            field: format!("tasks[{at}].metod"),
            hint: Some("did you mean `method`?".to_owned()),
            ..Problem::of_file("w.yaml", ErrorCode::WorkflowValidationFailed, format!("unknown field `metod{at}`: x"))
        }
        .at(at, 5)
    }

    #[test]
    fn the_details_have_their_published_type_names() {
        let set = descriptors().expect("they can be read");
        let names: Vec<&str> = set.file.iter().map(|file| file.name()).collect();
        for file in ["google/rpc/status.proto", "google/rpc/error_details.proto"] {
            assert!(names.contains(&file), "{names:?}");
        }
        for file in &set.file {
            assert!(file.dependency.iter().all(|it| names.contains(&it.as_str())), "{:?}", file.dependency);
        }
    }

    #[test]
    fn every_code_is_decoded_as_it_was_encoded() {
        for code in ErrorCode::ALL {
            let failure = Failure::new(*code, "what happened");
            assert_eq!(from_status(&to_status(&failure)).failure, failure);
        }
    }

    #[test]
    fn problems_keep_place_field_code_and_hint() {
        let problems = vec![problem(1), problem(2)];
        let read = from_status(&invalid_workflow(&problems, 2));
        assert_eq!(read.problems, problems);
        assert_eq!(read.failure.known(), Some(ErrorCode::WorkflowValidationFailed));
    }

    #[test]
    fn more_problems_than_fit_are_counted_and_the_header_stays_small() {
        let problems: Vec<Problem> = (1..=500).map(problem).collect();
        let status = invalid_workflow(&problems, 500);
        assert!(status.details().len() < 6 * 1024, "{}", status.details().len());
        let read = from_status(&status);
        assert_eq!(read.problem_count, 500);
        assert!(read.problems.len() > 20 && read.problems.len() < 500);
    }

    #[test]
    fn a_delay_and_foreign_statuses_are_read() {
        assert_eq!(from_status(&busy(Duration::from_millis(250))).retry_after, Some(Duration::from_millis(250)));
        let foreign = from_status(&Status::unavailable("no route"));
        assert_eq!(
            (foreign.failure.known(), foreign.failure.message.as_str()),
            (Some(ErrorCode::ConnectionLost), "no route")
        );
    }
}
