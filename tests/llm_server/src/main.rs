//! Runs the test server by hand: `llm-server [PORT [KEY]]`.

use std::io::Write as _;

use gleitzeit_llm_server::LlmServer;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().map_or(0, |port| port.parse().expect("the first argument is a port"));
    let server = LlmServer::start_with(port, arguments.next());
    // Nobody may be reading.
    let _ = writeln!(std::io::stdout(), "{}", server.url());
    server.wait();
}
