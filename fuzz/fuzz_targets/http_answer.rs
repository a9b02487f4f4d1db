//! An answer of an HTTP server: whatever its headers and bytes are, it becomes an error or a result that the journal
//! can carry, which never exceeds its limit.

#![no_main]

use libfuzzer_sys::fuzz_target;
use gleitzeit_workflow::json;

const LIMIT: usize = 100_000;
/// One byte may take six as JSON text, and four thirds in base64; headers are extra.
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
