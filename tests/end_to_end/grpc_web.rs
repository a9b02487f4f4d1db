//! gRPC-Web: the requests of a page in a browser, byte by byte.

use gleitzeit_proto::v1::GetStatusResponse;
use prost::Message as _;

use crate::support::{Cluster, ask};

const PAGE: &str = "http://localhost:3000";
const STATUS: &str = "POST /gleitzeit.v1.SystemService/GetStatus";
/// The frame of an empty message.
const EMPTY: [u8; 5] = [0; 5];

/// The frames of an answer, sent in HTTP chunks or as a whole: kind and content.
fn frames(head: &str, body: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut whole = Vec::new();
    if head.contains("transfer-encoding: chunked") {
        let mut rest = body;
        loop {
            let end = rest.windows(2).position(|it| it == b"\r\n").expect("the size of a chunk");
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).expect("text"), 16).expect("a number");
            if size == 0 {
                break;
            }
            whole.extend_from_slice(&rest[end + 2..end + 2 + size]);
            rest = &rest[end + 4 + size..];
        }
    } else {
        whole.extend_from_slice(body);
    }
    let (mut frames, mut rest) = (Vec::new(), &whole[..]);
    while let [kind, a, b, c, d, more @ ..] = rest {
        let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).expect("small");
        frames.push((*kind, more[..length].to_vec()));
        rest = &more[length..];
    }
    frames
}

#[test]
fn only_an_allowed_page_may_call_and_read_the_outcome() {
    let cluster = Cluster::all_in_one(&["--allow-origin", PAGE]);
    let call = [("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1"), ("origin", PAGE)];
    let (status, head, body) = ask(&cluster.url, STATUS, &call, &EMPTY);
    assert_eq!(status, 200, "{head}");
    assert!(head.contains(&format!("access-control-allow-origin: {PAGE}")), "{head}");
    assert!(head.contains("grpc-status-details-bin"), "its errors can be read: {head}");
    let frames = frames(&head, &body);
    let answer = GetStatusResponse::decode(&frames[0].1[..]).expect("the message");
    assert!(answer.ready);
    assert_eq!((frames[1].0, String::from_utf8_lossy(&frames[1].1).contains("grpc-status:0")), (0x80, true));

    let asked = [
        ("origin", PAGE),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,x-grpc-web,authorization"),
    ];
    let (status, head, _) = ask(&cluster.url, &STATUS.replace("POST", "OPTIONS"), &asked, &[]);
    assert_eq!(status, 200, "{head}");
    assert!(head.contains("access-control-allow-methods: post") && head.contains("authorization"), "{head}");

    let stranger = [call[0], call[1], ("origin", "http://evil.example")];
    let (status, head, _) = ask(&cluster.url, STATUS, &stranger, &EMPTY);
    assert!(status == 403 && !head.contains("access-control-allow-origin"), "{head}");
    // Other clients are served as before.
    assert_eq!(cluster.ask(&["status"])["ready"], true);
    assert_eq!(ask(&cluster.url, "GET /readyz", &[], &[]).0, 200);
}
