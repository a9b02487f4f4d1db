//! The link against a real Socket.IO server, and against servers that misbehave.

mod common;

use std::time::Duration;

use common::{Client, DEADLINE, TestHub, config};
use futures_util::{SinkExt, StreamExt};
use gleitzeit_link::{LinkConfig, LinkEvent, SendError, TokenSource};
use serde_json::value::RawValue;
use socketioxide::socket::DisconnectReason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

fn number(n: usize) -> serde_json::Value {
    serde_json::json!({ "n": n })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_keep_their_order_in_both_directions() {
    const COUNT: usize = 20_000;
    let mut hub = TestHub::start().await;
    let mut client = Client::to(hub.address);
    assert_eq!(client.connected().await, 1);
    let socket = hub.socket().await;
    for n in 0..COUNT {
        socket.emit("down", &number(n)).expect("the buffer holds them all");
    }
    for n in 0..COUNT {
        assert_eq!(client.message().await, ("down".to_owned(), format!("{{\"n\":{n}}}")));
    }
    for n in 0..COUNT {
        client.link.send("up", &number(n)).await.expect("connected");
    }
    for n in 0..COUNT {
        assert_eq!(hub.event().await, format!("[\"up\",{{\"n\":{n}}}]"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_arrive_as_they_were_written() {
    let mut hub = TestHub::start().await;
    let mut client = Client::to(hub.address);
    client.connected().await;
    let socket = hub.socket().await;
    let text = r#"{"big": 123456789012345678901234567890, "huge": 1e400, "f": 1.50, "s": "\u00e4 ä"}"#;
    let raw = RawValue::from_string(text.to_owned()).expect("valid JSON");
    client.link.send("raw", &raw).await.expect("connected");
    assert_eq!(hub.event().await, format!("[\"raw\",{text}]"));
    socket.emit("raw", &raw).expect("room");
    assert_eq!(client.message().await, ("raw".to_owned(), text.to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_reconnects_to_a_restarted_hub() {
    let mut hub = TestHub::start().await;
    let mut client = Client::to(hub.address);
    assert_eq!(client.connected().await, 1);
    hub.kill();
    client.disconnected().await;
    assert!(matches!(client.link.send("x", &number(1)).await, Err(SendError::NotConnected)));
    let restarted = Instant::now();
    let mut hub = TestHub::start_with(hub.address, None, true).await;
    assert_eq!(client.connected().await, 2);
    assert!(restarted.elapsed() < Duration::from_secs(5), "took {:?}", restarted.elapsed());
    client.link.send("x", &number(2)).await.expect("connected");
    assert_eq!(hub.event().await, "[\"x\",{\"n\":2}]", "nothing of the first connection is sent on the second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_reconnects_after_the_hub_closes_the_socket() {
    let mut hub = TestHub::start().await;
    let mut client = Client::to(hub.address);
    client.connected().await;
    hub.socket().await.disconnect().expect("room");
    client.disconnected().await;
    assert_eq!(client.connected().await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_is_reported_once_with_the_hubs_message() {
    let mut hub = TestHub::start_with("127.0.0.1:0".parse().expect("an address"), Some("right"), true).await;
    let mut client = Client::start(LinkConfig { token: TokenSource::Given("wrong".to_owned()), ..config(hub.address) });
    let refused = LinkEvent::Refused { status: None, message: "the token is wrong".to_owned() };
    assert_eq!(client.next().await, refused);
    // Long enough for several more attempts, none of which is told.
    assert!(timeout(Duration::from_millis(600), client.events.recv()).await.is_err(), "told more than once");
    hub.kill();
    let _hub = TestHub::start_with(hub.address, Some("wrong"), true).await;
    assert_eq!(client.connected().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_right_token_is_accepted() {
    let hub = TestHub::start_with("127.0.0.1:0".parse().expect("an address"), Some("right"), true).await;
    let mut client = Client::start(LinkConfig { token: TokenSource::Given("right".to_owned()), ..config(hub.address) });
    assert_eq!(client.connected().await, 1);
}

#[tokio::test]
async fn a_refused_upgrade_is_reported_with_its_status() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut client = Client::to(listener.local_addr().expect("bound"));
    let serve = async {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut request = [0; 2048];
        let read = stream.read(&mut request).await.expect("a request");
        assert!(String::from_utf8_lossy(&request[..read]).starts_with("GET /socket.io/?EIO=4&transport=websocket "));
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 9\r\n\r\nkeep out\n").await.expect("sent");
        stream.shutdown().await.expect("sent");
    };
    let (_, event) = tokio::join!(serve, client.next());
    let LinkEvent::Refused { status, message } = event else { panic!("expected Refused, got {event:?}") };
    assert_eq!(status, Some(403));
    assert!(message == "keep out" || message == "403 Forbidden", "{message}");
}

#[tokio::test]
async fn an_unreachable_hub_is_reported_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let mut client = Client::to(address);
    let event = client.next().await;
    let LinkEvent::Unreachable(cause) = event else { panic!("expected Unreachable, got {event:?}") };
    assert_eq!((cause.code.name(), cause.may_pass), ("CONNECTION_REFUSED", true));
    assert!(cause.message.contains(&format!("http://{address}")) && !cause.hint.is_empty(), "{cause:?}");
    // Long enough for several more attempts.
    assert!(timeout(Duration::from_millis(600), client.events.recv()).await.is_err(), "told more than once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_sends_no_welcome_is_tried_again() {
    let mut hub = TestHub::start_with("127.0.0.1:0".parse().expect("an address"), None, false).await;
    let mut client = Client::start(LinkConfig { welcome_timeout: Duration::from_millis(100), ..config(hub.address) });
    let event = client.next().await;
    assert!(matches!(event, LinkEvent::Unreachable(_)), "{event:?}");
    hub.socket().await;
    hub.socket().await;
    assert!(client.events.try_recv().is_none(), "it was never connected, and is told of once");
}

/// A connection as a hub welcomes it, in the test's hands. It promises a ping at least every so many milliseconds, and
/// then half of that again.
async fn welcomed(listener: &TcpListener, ping_interval: u64) -> WebSocketStream<TcpStream> {
    let (stream, _) = timeout(DEADLINE, listener.accept()).await.expect("in time").expect("a client");
    let mut server = tokio_tungstenite::accept_async(stream).await.expect("an upgrade");
    let open = serde_json::json!({
        "sid": "a", "upgrades": [], "pingInterval": ping_interval, "pingTimeout": ping_interval / 2, "maxPayload": 1
    });
    server.send(Message::text(format!("0{open}"))).await.expect("sent");
    assert_eq!(server.next().await.expect("open").expect("a frame").to_text().expect("text"), "40");
    for packet in ["40{\"sid\":\"b\"}", "42[\"early\",{}]", "42[\"welcome\",{\"hub\":\"test\"}]"] {
        server.send(Message::text(packet)).await.expect("sent");
    }
    server
}

#[tokio::test]
async fn a_frozen_hub_is_noticed_within_its_ping_times() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut client = Client::to(listener.local_addr().expect("bound"));
    let mut server = welcomed(&listener, 200).await;
    client.connected().await;
    server.send(Message::text("2")).await.expect("sent");
    assert_eq!(server.next().await.expect("open").expect("a frame").to_text().expect("text"), "3");
    let since = Instant::now();
    let reason = client.disconnected().await;
    assert!(reason.contains("nothing was received"), "{reason}");
    assert!(since.elapsed() < Duration::from_secs(3), "took {:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_does_not_receive_loses_the_connection_not_the_order() {
    let mut hub = TestHub::start().await;
    let patience = Duration::from_millis(100);
    let mut client =
        Client::start(LinkConfig { inbound_capacity: 10, inbound_patience: patience, ..config(hub.address) });
    client.connected().await;
    let socket = hub.socket().await;
    for n in 0..5_000 {
        socket.emit("down", &number(n)).expect("the buffer holds them all");
    }
    hub.gone().await;
    let mut next = 0;
    loop {
        match client.next().await {
            LinkEvent::Message { body, .. } => assert_eq!(body, number(next).to_string()),
            LinkEvent::Disconnected { reason } => {
                assert!(reason.contains("too slow"), "{reason}");
                break;
            }
            other => panic!("unexpected {other:?}"),
        }
        next += 1;
    }
    assert_eq!(next, 10, "what was queued is delivered, then the end");
    assert_eq!(client.connected().await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_pass_and_too_large_ones_are_refused_locally() {
    let mut hub = TestHub::start().await;
    let limit = 2 * 1024 * 1024;
    let mut client = Client::start(LinkConfig { max_frame_bytes: limit, ..config(hub.address) });
    client.connected().await;
    let socket = hub.socket().await;
    let large = serde_json::json!({ "text": "x".repeat(1_572_864) });
    socket.emit("down", &large).expect("room");
    assert_eq!(client.message().await.1, large.to_string());
    client.link.send("up", &large).await.expect("below the limit");
    assert_eq!(hub.event().await, format!("[\"up\",{large}]"));
    let huge = serde_json::json!({ "text": "x".repeat(limit) });
    assert!(matches!(client.link.send("up", &huge).await, Err(SendError::TooLarge { .. })));
    client.link.send("after", &number(1)).await.expect("still connected");
    assert_eq!(hub.event().await, "[\"after\",{\"n\":1}]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_links_work_side_by_side() {
    let mut hub = TestHub::start().await;
    let mut clients: Vec<_> = (0..50).map(|_| Client::to(hub.address)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.connected().await;
        client.link.send("hello", &number(n)).await.expect("connected");
    }
    let mut heard: Vec<_> = Vec::new();
    for _ in 0..clients.len() {
        heard.push(hub.event().await);
    }
    let mut expected: Vec<_> = (0..clients.len()).map(|n| format!("[\"hello\",{{\"n\":{n}}}]")).collect();
    heard.sort();
    expected.sort();
    assert_eq!(heard, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_sends_queued_messages_and_disconnects() {
    let mut hub = TestHub::start().await;
    let mut client = Client::to(hub.address);
    client.connected().await;
    for n in 0..500 {
        client.link.send("up", &number(n)).await.expect("connected");
    }
    client.link.close();
    for n in 0..500 {
        assert_eq!(hub.event().await, format!("[\"up\",{{\"n\":{n}}}]"));
    }
    assert_eq!(hub.gone().await, DisconnectReason::ClientNSDisconnect);
    timeout(DEADLINE, &mut client.driver).await.expect("the driver ends").expect("without panic");
    assert!(matches!(client.link.send("late", &number(0)).await, Err(SendError::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_hub_receives_everything_sent_before_the_disconnect() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let mut client = Client::start(LinkConfig { inbound_capacity: 1, ..config(address) });
    let mut server = welcomed(&listener, 20_000).await;
    client.connected().await;
    for n in 0..100 {
        client.link.send("up", &number(n)).await.expect("connected");
    }
    // More than the client takes: some of it lies unread when the client goes.
    for _ in 0..100 {
        server.send(Message::text("42[\"down\",{}]")).await.expect("sent");
    }
    client.link.close();
    timeout(Duration::from_millis(300), &mut client.driver).await.expect_err("it goes when the hub knows of it");
    for n in 0..100 {
        let frame = server.next().await.expect("open").expect("no reset");
        assert_eq!(frame.to_text().expect("text"), format!("42[\"up\",{{\"n\":{n}}}]"));
    }
    assert_eq!(server.next().await.expect("open").expect("no reset").to_text().expect("text"), "41");
    assert!(server.next().await.expect("open").expect("no reset").is_close());
    drop(server);
    timeout(DEADLINE, &mut client.driver).await.expect("the driver ends").expect("without panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_receiver_ends_the_driver_with_a_disconnect() {
    let mut hub = TestHub::start().await;
    let mut client = Client::to(hub.address);
    client.connected().await;
    let (_, unused, _) =
        gleitzeit_link::connect(config(hub.address), &tokio_util::sync::CancellationToken::new()).expect("valid");
    client.events = unused;
    assert_eq!(hub.gone().await, DisconnectReason::ClientNSDisconnect);
    timeout(DEADLINE, &mut client.driver).await.expect("the driver ends").expect("without panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_driver_leaves_nothing_behind() {
    let mut hub = TestHub::start().await;
    let mut client = Client::to(hub.address);
    client.connected().await;
    client.driver.abort();
    assert_eq!(hub.gone().await, DisconnectReason::TransportError, "no goodbye: the hub waits for its return");
    assert_eq!(timeout(DEADLINE, client.events.recv()).await.expect("in time"), None);
    assert!(matches!(client.link.send("late", &number(0)).await, Err(SendError::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_can_ask_for_another_connection() {
    let mut hub = TestHub::start().await;
    let mut client = Client::to(hub.address);
    client.connected().await;
    client.link.reconnect("deaf hub");
    assert_eq!(client.disconnected().await, "deaf hub");
    assert_eq!(hub.gone().await, DisconnectReason::TransportError);
    assert_eq!(client.connected().await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_messages_in_a_row_are_not_held_back() {
    let mut hub = TestHub::start().await;
    let mut client = Client::to(hub.address);
    client.connected().await;
    let start = Instant::now();
    for n in 0..50 {
        client.link.send("a", &number(n)).await.expect("connected");
        tokio::task::yield_now().await;
        client.link.send("b", &number(n)).await.expect("connected");
        hub.event().await;
        hub.event().await;
    }
    // With Nagle's algorithm a pair may wait 40 ms for an acknowledgement.
    assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
}
