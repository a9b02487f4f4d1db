//! Plain HTTP requests.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::wait::PATIENCE;

/// The status and text of an answer.
#[track_caller]
pub(crate) fn get(url: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let (status, _, body) = ask(url, &format!("GET {path}"), headers, &[]);
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// The status, head and body of an answer; `what` is a method and a path.
#[track_caller]
pub(crate) fn ask(url: &str, what: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String, Vec<u8>) {
    let address = url.strip_prefix("http://").expect("an address");
    let mut connection = TcpStream::connect(address).expect("somebody listens");
    connection.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let length = body.len();
    let mut request =
        format!("{what} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n");
    headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
    connection.write_all(&[format!("{request}\r\n").as_bytes(), body].concat()).expect("it is asked");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).expect("it answers");
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n").expect("a head and a body");
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status: {head}")), head, answer[end + 4..].to_vec())
}
