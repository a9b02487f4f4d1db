//! Makes one call: adds the token, sets the deadline, and repeats it a bounded number of times.

use std::time::Duration;

use gleitzeit_link::{SecretFile, TokenSource};
use gleitzeit_workflow::ErrorCode;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Response, Status};

use crate::config::ClientConfig;
use crate::error::{Error, Result};

/// The first delay before a repeat; it doubles up to [`MAX_DELAY`].
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest delay that the client chooses itself; the control plane may ask for more.
const MAX_DELAY: Duration = Duration::from_secs(2);
/// The longest delay that the client accepts from the control plane.
const MAX_ASKED: Duration = Duration::from_secs(30);

/// Adds the token and the caller's trace context to every call.
#[derive(Clone)]
pub(crate) struct Credentials {
    token: Token,
    traceparent: Option<MetadataValue<Ascii>>,
}

#[derive(Clone)]
enum Token {
    None,
    Fixed(MetadataValue<Ascii>),
    /// Read for each call, since the file may change.
    File(SecretFile),
}

impl Credentials {
    pub(crate) fn new(token: TokenSource, traceparent: Option<&str>) -> Result<Self> {
        let token = match token {
            TokenSource::File(file) => bearer(&file.current()).map(|_| Token::File(file)),
            other => other.current().map_or(Ok(Token::None), |token| bearer(&token).map(Token::Fixed)),
        };
        let token = token.map_err(Error::invalid)?;
        let traceparent = traceparent
            .map(|context| {
                context.parse().map_err(|_| Error::invalid("the trace context is not a valid W3C `traceparent`"))
            })
            .transpose()?;
        Ok(Self { token, traceparent })
    }
}

/// The value of the `authorization` header.
fn bearer(token: &str) -> std::result::Result<MetadataValue<Ascii>, &'static str> {
    let value = format!("Bearer {token}").parse::<MetadataValue<Ascii>>();
    let mut value = value.map_err(|_| "the token contains characters that a header cannot contain")?;
    value.set_sensitive(true);
    Ok(value)
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let token = match &self.token {
            Token::None => None,
            Token::Fixed(token) => Some(token.clone()),
            Token::File(file) => Some(bearer(&file.current()).map_err(Status::unauthenticated)?),
        };
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", token);
        }
        if let Some(context) = &self.traceparent {
            request.metadata_mut().insert("traceparent", context.clone());
        }
        Ok(request)
    }
}

/// Makes a call within the deadline.
pub(crate) async fn once<Q, A, F>(limit: Duration, message: Q, call: impl FnOnce(Request<Q>) -> F) -> Result<A>
where
    F: Future<Output = Result<Response<A>, Status>>,
{
    let mut request = Request::new(message);
    request.set_timeout(limit);
    match tokio::time::timeout(limit, call(request)).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(Error::timeout(limit)),
    }
}

/// Makes a call and repeats it while a repeat may succeed. Only for calls that are safe to repeat.
///
/// It takes a function that returns a future, not an async closure: the compiler cannot prove that the future of a
/// borrowing async closure is `Send`, so no caller could spawn the call.
pub(crate) async fn repeated<Q: Clone, A, F>(
    config: &ClientConfig,
    message: Q,
    mut call: impl FnMut(Request<Q>) -> F,
) -> Result<A>
where
    F: Future<Output = Result<Response<A>, Status>>,
{
    let mut retry = 0;
    loop {
        match once(config.call_timeout, message.clone(), &mut call).await {
            Err(error) if retry < config.max_retries && worth_repeating(&error) => {
                tokio::time::sleep(delay(retry, &error)).await;
                retry += 1;
            }
            result => return result.map_err(|error| error.at(&config.url)),
        }
    }
}

/// Whether the control plane was unreachable, or busy and asked the client to retry. Not if a whole deadline passed
/// without an answer: that was long enough.
pub(crate) fn worth_repeating(error: &Error) -> bool {
    let silent = error.known() == Some(ErrorCode::ConnectionTimeout);
    (error.is_unreachable() && !silent) || error.retry_after().is_some()
}

/// The delay before repeat number `retry` (from 0): it doubles each time and varies by up to a half, so that many
/// clients do not come back at once. It is at least as long as the control plane asked for.
pub(crate) fn delay(retry: u32, error: &Error) -> Duration {
    let own = FIRST_DELAY.saturating_mul(1 << retry.min(10)).min(MAX_DELAY);
    let varied = own.mul_f64(rand::random_range(0.5..=1.0));
    varied.max(error.retry_after().unwrap_or_default().min(MAX_ASKED))
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::time::Instant;

    use super::*;

    fn quick() -> ClientConfig {
        ClientConfig { max_retries: 2, ..ClientConfig::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreachable_control_plane_is_tried_a_bounded_number_of_times() {
        let mut calls = 0;
        let result = repeated(&quick(), (), |_| {
            calls += 1;
            ready(Err::<Response<()>, _>(Status::unavailable("connection refused")))
        })
        .await;
        assert!(result.expect_err("never reachable").is_unreachable());
        assert_eq!(calls, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_not_repeated_and_a_success_ends_the_repeats() {
        let mut calls = 0;
        let refused = repeated(&quick(), (), |_| {
            calls += 1;
            ready(Err::<Response<()>, _>(Status::not_found("no such run")))
        })
        .await;
        assert!(refused.is_err() && calls == 1);
        let mut answers = vec![Ok(Response::new(7)), Err(Status::unavailable("gone"))];
        let answer = repeated(&quick(), (), |_| ready(answers.pop().expect("asked at most twice"))).await;
        assert_eq!(answer.expect("second answer"), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn the_requested_delay_is_respected_up_to_a_limit() {
        use tonic_types::{ErrorDetails, StatusExt};
        let asked = |seconds| {
            let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(seconds)));
            Error::from(Status::with_error_details(tonic::Code::ResourceExhausted, "busy", details))
        };
        assert_eq!(delay(0, &asked(3)), Duration::from_secs(3));
        assert_eq!(delay(0, &asked(3_600)), MAX_ASKED);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_an_answer_ends_at_its_deadline() {
        let begun = Instant::now();
        let limit = Duration::from_secs(5);
        let result =
            once(limit, (), |_: Request<()>| std::future::pending::<std::result::Result<Response<()>, Status>>()).await;
        assert_eq!(result.expect_err("no answer").name(), "CONNECTION_TIMEOUT");
        assert!(begun.elapsed() < limit, "time was paused");
    }
}
