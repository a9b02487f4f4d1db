//! Asking over plain HTTP.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::wait::PATIENCE;

/// The status and text of an answer.
#[track_caller]
pub(crate) fn get(url: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let address = url.strip_prefix("http://").expect("an address");
    let mut connection = TcpStream::connect(address).expect("somebody listens");
    connection.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let mut request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
    connection.write_all(format!("{request}\r\n").as_bytes()).expect("it is asked");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status: {head}")), body.to_owned())
}
