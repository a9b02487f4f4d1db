//! Reads answers to calls, strictly by JSON-RPC 2.0: a body that is not an answer must not end a call. The invariant:
//! an answer that was read has the right version, an id, and either a result or an error, never both.

use std::fmt;

use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::json;
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::tagged::problem_of;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::id::CallId;
use crate::wire::call::{CallEnd, MethodOutcome, MethodResult, VERSION};

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Jsonrpc,
    Id,
    Result,
    Error,
    Results,
    /// `meta`, and fields that later versions may add.
    #[serde(other)]
    Other,
}

/// The fields of a body, either one answer or a list of them.
#[derive(Default)]
struct Parts {
    jsonrpc: Option<String>,
    id: Option<CallId>,
    result: Option<Payload>,
    error: Option<Failure>,
    results: Option<Vec<CallEnd>>,
}

impl Parts {
    fn read<'de, A: MapAccess<'de>>(mut map: A, list: bool) -> Result<Self, A::Error> {
        let mut parts = Self::default();
        while let Some(field) = map.next_key()? {
            match field {
                Field::Jsonrpc => {
                    let version: String = once(&mut map, &parts.jsonrpc, "jsonrpc")?;
                    if version != VERSION {
                        return Err(A::Error::custom(format_args!("expected `{VERSION}`, found `{version}`")));
                    }
                    parts.jsonrpc = Some(version);
                }
                Field::Id => parts.id = Some(once(&mut map, &parts.id, "id")?),
                // A `result` of `null` is a result.
                Field::Result => parts.result = Some(once(&mut map, &parts.result, "result")?),
                Field::Error if parts.error.is_some() => return Err(A::Error::duplicate_field("error")),
                Field::Error => parts.error = Some(map.next_value_seed(ReadError)?),
                Field::Results if list => parts.results = Some(once(&mut map, &parts.results, "results")?),
                Field::Results | Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(parts)
    }

    fn end<E: Error>(self) -> Result<CallEnd, E> {
        self.jsonrpc.ok_or_else(|| E::missing_field("jsonrpc"))?;
        let id = self.id.ok_or_else(|| E::missing_field("id"))?;
        let outcome = match (self.result, self.error) {
            (Some(_), Some(_)) => return Err(E::custom("expected `result` or `error`, found both")),
            (None, Some(error)) => MethodOutcome::Error(error),
            (Some(result), None) => MethodOutcome::Result(result),
            (None, None) => return Err(E::custom("expected `result` or `error`")),
        };
        Ok(CallEnd { id, outcome })
    }
}

fn once<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    before: &Option<T>,
    name: &'static str,
) -> Result<T, A::Error> {
    if before.is_some() {
        return Err(A::Error::duplicate_field(name));
    }
    map.next_value()
}

struct OneAnswer;

impl<'de> Visitor<'de> for OneAnswer {
    type Value = CallEnd;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer: a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CallEnd, A::Error> {
        Parts::read(map, false)?.end()
    }
}

struct Answers;

impl<'de> Visitor<'de> for Answers {
    type Value = MethodResult;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer: a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MethodResult, A::Error> {
        let mut parts = Parts::read(map, true)?;
        let Some(results) = parts.results.take() else {
            return Ok(MethodResult { results: vec![parts.end()?] });
        };
        if parts.id.is_some() || parts.result.is_some() || parts.error.is_some() {
            return Err(A::Error::custom("expected one answer or `results`, found both"));
        }
        if results.is_empty() {
            return Err(A::Error::custom("expected at least one answer in `results`"));
        }
        Ok(MethodResult { results })
    }
}

/// The `error` of an answer. Journaled errors are read more leniently.
struct ReadError;

impl<'de> DeserializeSeed<'de> for ReadError {
    type Value = Failure;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Failure, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ReadError {
    type Value = Failure;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error: {code, message, data?}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Failure, A::Error> {
        #[derive(Deserialize)]
        #[serde(field_identifier, rename_all = "lowercase")]
        enum Field {
            Code,
            Message,
            Data,
            #[serde(other)]
            Other,
        }
        let (mut code, mut message, mut data) = (None, None, None);
        while let Some(field) = map.next_key()? {
            match field {
                Field::Code => code = Some(once(&mut map, &code, "code")?),
                Field::Message => message = Some(once(&mut map, &message, "message")?),
                Field::Data => {
                    let found: Payload = once(&mut map, &data, "data")?;
                    check_advice(&found).map_err(A::Error::custom)?;
                    data = Some(found);
                }
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Failure {
            code: code.ok_or_else(|| A::Error::missing_field("code"))?,
            message: message.ok_or_else(|| A::Error::missing_field("message"))?,
            data: data.filter(|data| data.get() != "null"),
        })
    }
}

/// An error's data may be anything, but the fields that the engine reads must have the right type: otherwise a
/// `retryable: "no"` would be ignored and the attempt retried.
fn check_advice(data: &Payload) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Advice {
        #[serde(rename = "retryable")]
        _retryable: Option<bool>,
        #[serde(rename = "retry_after_ms")]
        _retry_after_ms: Option<u64>,
    }
    if !data.get().starts_with('{') {
        return Ok(());
    }
    let read = serde_json::from_str::<Advice>(data.get());
    read.map(drop).map_err(|error| problem_of(data.get(), &error).replacen("in `", "in `data.", 1))
}

/// The ends of the calls that the body of a `method_result` names although the body is not JSON: a provider that writes
/// `NaN` into one result still names the call. An answer in it that can be read ends its call as it says; one that is
/// not JSON ends its call with TASK_RESULT_INVALID. The list is empty if brackets or quotes are not closed, because
/// nothing is certain then.
pub fn salvage(body: &str) -> Vec<CallEnd> {
    let Some(fields) = fields(body) else { return Vec::new() };
    let listed = fields.iter().find(|(name, _)| *name == "\"results\"").and_then(|(_, list)| parts(list, '[', ']'));
    let answers = listed.unwrap_or_else(|| vec![body]);
    answers.into_iter().filter_map(|answer| serde_json::from_str(answer).ok().or_else(|| unreadable(answer))).collect()
}

/// The end of the call named by an answer that is not JSON.
fn unreadable(answer: &str) -> Option<CallEnd> {
    // An answer that is JSON but not valid ends nothing.
    let problem = json::check_grammar(answer).err()?;
    let fields = fields(answer)?;
    let mut ids = fields.iter().filter(|(name, _)| *name == "\"id\"");
    let (Some((_, id)), None) = (ids.next(), ids.next()) else { return None };
    let message = format!("the answer is not JSON: {problem}");
    let outcome = MethodOutcome::Error(Failure::new(ErrorCode::TaskResultInvalid, message));
    Some(CallEnd { id: serde_json::from_str(id).ok()?, outcome })
}

/// The names, as written, and values of an object, whatever its values contain.
fn fields(text: &str) -> Option<Vec<(&str, &str)>> {
    parts(text, '{', '}')?.into_iter().map(field).collect()
}

fn field(part: &str) -> Option<(&str, &str)> {
    let quote = 1 + closing_quote(part.strip_prefix('"')?)?;
    let (name, rest) = part.split_at_checked(quote + 1)?;
    Some((name, rest.trim_start().strip_prefix(':')?.trim()))
}

/// The texts between the commas of a list or object; `None` unless all of its brackets and quotes are closed.
fn parts(text: &str, open: char, close: char) -> Option<Vec<&str>> {
    let inside = text.trim().strip_prefix(open)?.strip_suffix(close)?;
    let (mut parts, mut start, mut at) = (Vec::new(), 0, 0);
    let mut expected = Vec::new();
    while let Some(&byte) = inside.as_bytes().get(at) {
        match byte {
            b'"' => at += 1 + closing_quote(&inside[at + 1..])?,
            b'[' => expected.push(b']'),
            b'{' => expected.push(b'}'),
            b']' | b'}' => {
                expected.pop().filter(|bracket| *bracket == byte)?;
            }
            b',' if expected.is_empty() => {
                parts.push(inside[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    parts.push(inside[start..].trim());
    expected.is_empty().then_some(parts)
}

/// The number of bytes before the quote that closes a string.
fn closing_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        closes
    })
}

impl<'de> Deserialize<'de> for CallEnd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OneAnswer)
    }
}

impl<'de> Deserialize<'de> for MethodResult {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_result_is_not_a_list_and_null_is_a_result() {
        let one: MethodResult = serde_json::from_str(r#"{"jsonrpc":"2.0","id":"a","result":null}"#).expect("valid");
        assert_eq!(one.results, vec![CallEnd { id: "a".into(), outcome: MethodOutcome::Result(Payload::null()) }]);
        assert_eq!(serde_json::to_string(&one).expect("json"), r#"{"jsonrpc":"2.0","id":"a","result":null}"#);
        assert!(serde_json::from_str::<MethodResult>(r#"{"jsonrpc":"2.0","id":"a"}"#).is_err());
    }

    #[test]
    fn invalid_json_ends_only_the_calls_that_it_names() {
        let said = |body: &str| -> Vec<(String, String)> {
            let ends = salvage(body).into_iter();
            let said = ends.map(|end| match end.outcome {
                MethodOutcome::Result(result) => (end.id.to_string(), result.get().to_owned()),
                MethodOutcome::Error(error) => (end.id.to_string(), error.to_string()),
            });
            said.collect()
        };
        let invalid = |id: &str, problem: &str| {
            let error = Failure::new(ErrorCode::TaskResultInvalid, format!("the answer is not JSON: {problem}"));
            (id.to_owned(), error.to_string())
        };
        let nan = |at| format!("in `result.x[1]`: NaN is no JSON; write null or text instead, at byte {at}");
        let one = r#"{"jsonrpc": "2.0", "id": "a/\u0062", "result": {"x": [1, NaN, "}\""]}}"#;
        assert_eq!(said(one), [invalid("a/b", &nan(57))]);
        let many = r#"{"meta": {"id": "m"}, "results": [{"jsonrpc":"2.0","id":"a","result":{"id":"b"}},
            {"jsonrpc":"2.0","id":"c","result":{"x":[1,NaN]}}, {"jsonrpc":"2.0","id":"d"}]}"#;
        assert_eq!(said(many), [("a".to_owned(), r#"{"id":"b"}"#.to_owned()), invalid("c", &nan(43))]);
        let error = r#"{"jsonrpc":"2.0","id":"a","error":{"code":1,"message":"no","data":Infinity}}"#;
        let problem = "in `error.data`: Infinity is no JSON; write null or text instead, at byte 66";
        assert_eq!(said(error), [invalid("a", problem)]);
        for unsure in [
            "",
            "{",
            "NaN",
            r#"{"jsonrpc":"2.0","result":NaN}"#,
            r#"{"id":"a","id":"b","result":NaN}"#,
            r#"{"id":7,"result":NaN}"#,
            r#"{"id":"a","result":[NaN}"#,
            r#"{"id":"a","result":"NaN}"#,
            r#"{"result":{"id":"a","x":NaN}}"#,
            r#"{"id":"a","result":NaN}}"#,
            r#"{"id":"a"}"#,
        ] {
            assert_eq!(said(unsure), [], "{unsure}");
        }
    }

    #[test]
    fn several_results_are_a_list() {
        let text = r#"{"results":[{"jsonrpc":"2.0","id":"a","result":[1, 2]},{"jsonrpc":"2.0","id":"b","error":{"code":7,"name":"ERROR","message":"no"}}]}"#;
        let many: MethodResult = serde_json::from_str(text).expect("valid");
        assert_eq!(serde_json::to_string(&many).expect("json"), text);
    }
}
