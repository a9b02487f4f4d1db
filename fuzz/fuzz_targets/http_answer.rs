//! An answer of an HTTP server: whatever its headers say and its bytes are, it becomes a result that the journal can carry
//! or an error, and is never larger than its limit allows.

#![no_main]

use libfuzzer_sys::fuzz_target;
use gleitzeit_workflow::json;

const LIMIT: usize = 100_000;
/// A byte takes six at most as text in JSON, and four thirds in base64; headers stand beside it.
const MOST: usize = 10 * LIMIT;

fuzz_target!(|input: (&str, &[u8])| {
    let (headers, body) = input;
    match gleitzeit_providers::read_http_answer(headers, body.to_vec(), LIMIT) {
        Ok(result) => {
            let text = result.get();
            assert!(text.len() <= MOST + 10 * headers.len(), "{} bytes", text.len());
            json::check(text).expect("it can be carried");
            let value = result.to_value().expect("it can be read");
            assert!(value["body"].is_string() && value["status"] == 200);
            assert!(value["json"].is_null() || value["json_error"].is_null());
        }
        Err(error) => assert!(format!("{error:?}").len() < LIMIT, "it is short"),
    }
});
