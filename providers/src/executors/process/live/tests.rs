use serde_json::{Value, json};

use super::*;

fn open(kept: &[u8]) -> StreamOutput<'_> {
    StreamOutput { kept, is_full: false, has_ended: false }
}

fn told(from: &mut mpsc::Receiver<Payload>) -> Vec<Value> {
    std::iter::from_fn(|| from.try_recv().ok()).map(|data| data.to_value().expect("JSON")).collect()
}

fn text_of(piece: &Value) -> &str {
    piece["text"].as_str().expect("text")
}

#[test]
fn whole_lines_are_sent_before_an_unfinished_line() {
    let mut pieces = Pieces::default();
    assert_eq!(pieces.next(b"one\ntwo\nthr", false).as_deref(), Some("one\ntwo\n"));
    assert_eq!(pieces.next(b"one\ntwo\nthree", false).as_deref(), Some("three"));
    assert_eq!(pieces.next(b"one\ntwo\nthree", false), None);
    assert_eq!(pieces.next(b"one\ntwo\nthree\n", true).as_deref(), Some("\n"));
    assert_eq!((pieces.taken, pieces.given), (14, 14));
}

#[test]
fn however_bytes_arrive_their_pieces_are_the_text_of_all_of_them() {
    let samples: [&[u8]; 7] = [
        "ä€😀\nzürich".as_bytes(),
        b"\xff\xfe broken \xe2\x82\n\xe2\x82\xac\xf0\x9f\x98",
        b"\xe2\x82",
        b"\x80\x80\x80\x80\x80",
        b"a\xc0\xafb\xed\xa0\x80c\xf4\x90\x80\x80",
        b"\xf0\x9f\x98\x80\xf0\x9f\n\x98\x80",
        b"\0\x07\"\\\r\n",
    ];
    for bytes in samples {
        for step in 1..=bytes.len() {
            let (mut pieces, mut said) = (Pieces::default(), String::new());
            for end in (step..=bytes.len()).step_by(step) {
                while let Some(piece) = pieces.next(&bytes[..end], false) {
                    said.push_str(&piece);
                }
            }
            while let Some(piece) = pieces.next(bytes, true) {
                said.push_str(&piece);
            }
            assert_eq!(said, String::from_utf8_lossy(bytes), "{bytes:?} by {step}");
            assert_eq!((pieces.taken, pieces.given), (bytes.len(), said.len() as u64));
        }
    }
}

#[test]
fn no_piece_is_larger_than_may_be_as_json_and_long_text_is_cut_behind_lines() {
    for line in ["\u{1}\"\\ä€😀".repeat(2_000), "x".repeat(100_000), format!("{}\n", "word ".repeat(100)).repeat(500)]
    {
        let (mut pieces, mut said) = (Pieces::default(), String::new());
        while let Some(piece) = pieces.next(line.as_bytes(), true) {
            let json = serde_json::to_string(&piece).expect("JSON").len() - 2;
            assert!(json <= MAX_JSON_BYTES, "{json}");
            assert!(!line.contains('\n') || piece.ends_with('\n'), "cut within a line");
            said.push_str(&piece);
        }
        assert!(said == line);
    }
}

#[tokio::test(start_paused = true)]
async fn output_is_gathered_and_sent_at_intervals() {
    let (sender, mut receiver) = mpsc::channel(16);
    let mut live = Live::new(sender, "stdout", ActiveStreams::default());
    let begin = Instant::now();
    assert_eq!(live.due(), None);
    live.received(open(b"a\n"));
    live.received(open(b"a\nb\nc"));
    assert_eq!(live.due(), Some(begin + PACE), "of much that comes at once there is one piece");
    tokio::time::advance(PACE).await;
    live.send_next(open(b"a\nb\nc"));
    assert_eq!(told(&mut receiver), [json!({"stream": "stdout", "offset": 0, "text": "a\nb\n"})]);
    assert_eq!(live.due(), Some(begin + 2 * PACE), "the line that has not ended");
    tokio::time::advance(PACE).await;
    live.send_next(open(b"a\nb\nc"));
    assert_eq!(told(&mut receiver), [json!({"stream": "stdout", "offset": 4, "text": "c"})]);
    assert_eq!(live.due(), None, "there is nothing more to tell");
}

#[tokio::test(start_paused = true)]
async fn two_streams_share_the_pace_of_their_call() {
    let (sender, mut receiver) = mpsc::channel(1_000);
    let active_streams = ActiveStreams::default();
    let mut both = ["stdout", "stderr"].map(|stream| Live::new(sender.clone(), stream, active_streams.clone()));
    let (text, mut kept) = ("line\n".repeat(10_000), 0);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(10) {
        kept = (kept + 5).min(text.len());
        for live in &mut both {
            let output = open(&text.as_bytes()[..kept]);
            live.received(output);
            if live.due().is_some_and(|due| due <= Instant::now()) {
                live.send_next(output);
            }
        }
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    let told = told(&mut receiver);
    assert!((90..=105).contains(&told.len()), "{} pieces in 10 s", told.len());
    let of = |stream: &str| told.iter().filter(|piece| piece["stream"] == stream).count();
    assert!(of("stdout").abs_diff(of("stderr")) <= 2, "neither goes before the other");
}

#[tokio::test]
async fn a_slow_reader_blocks_nothing_and_gets_the_rest_later() {
    let (sender, mut receiver) = mpsc::channel(2);
    let mut live = Live::new(sender, "stderr", ActiveStreams::default());
    let text = "x".repeat(5 * MAX_JSON_BYTES);
    for _ in 0..10 {
        live.send_next(open(text.as_bytes()));
    }
    assert!(live.due().is_some(), "there is more to tell");
    let mut said = told(&mut receiver);
    assert_eq!(said.len(), 2);
    live.send_rest(StreamOutput { has_ended: true, ..open(text.as_bytes()) });
    said.extend(told(&mut receiver));
    assert_eq!(said.len(), 4, "at the end so much as there is room for");
    assert_eq!(said.iter().map(text_of).collect::<String>(), text[..4 * MAX_JSON_BYTES]);
    drop(receiver);
    live.send_next(open(text.as_bytes()));
    assert_eq!(live.due(), None, "nobody is there any more");
}

#[tokio::test]
async fn a_full_stream_is_noted_once() {
    let (sender, mut receiver) = mpsc::channel(16);
    let mut live = Live::new(sender, "stdout", ActiveStreams::default());
    let full = StreamOutput { is_full: true, ..open("abcä".as_bytes()) };
    live.received(full);
    for _ in 0..3 {
        live.send_next(full);
    }
    live.send_rest(StreamOutput { has_ended: true, ..full });
    let said = told(&mut receiver);
    let note = "\n[output goes on and is not shown: 5 bytes are kept, see `max_output_bytes`]\n";
    assert_eq!(
        said,
        [
            json!({"stream": "stdout", "offset": 0, "text": "abcä"}),
            json!({"stream": "stdout", "offset": 5, "text": note, "note": true}),
        ]
    );
}
