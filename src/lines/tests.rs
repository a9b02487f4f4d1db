use serde_json::json;

use super::*;

fn piece(stream: Option<OutputStream>, offset: Option<u64>, text: &str) -> TaskOutput {
    TaskOutput {
        task_id: "a".to_owned(),
        attempt: 1,
        time: Some(Timestamp(1)),
        stream,
        offset,
        text: text.to_owned(),
        is_note: false,
    }
}

fn out(offset: u64, text: &str) -> TaskOutput {
    piece(Some(OutputStream::Stdout), Some(offset), text)
}

fn err(offset: u64, text: &str) -> TaskOutput {
    piece(Some(OutputStream::Stderr), Some(offset), text)
}

fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

#[test]
fn lines_are_printed_when_complete_and_streams_do_not_mix() {
    let (mut lines, now) = (Lines::default(), Instant::now());
    assert_eq!(texts(&lines.add(out(0, "one\ntw"), now)), ["one\n"]);
    assert_eq!(texts(&lines.add(err(0, "why\n"), now)), ["why\n"]);
    assert_eq!(texts(&lines.add(out(6, "o\n"), now)), ["two\n"]);
    assert_eq!(lines.due(), None);
    let told = lines.add(err(4, "x\n"), now);
    assert_eq!(told[0].shown(), "[a] x");
    assert_eq!((told[0].stream, told[0].time, told[0].note), (Some(OutputStream::Stderr), Some(Timestamp(1)), false));
}

#[test]
fn an_unfinished_line_is_printed_after_a_while_or_when_it_is_long_or_its_attempt_ends() {
    let (mut lines, now) = (Lines::default(), Instant::now());
    assert!(lines.add(out(0, "Password: "), now).is_empty());
    assert_eq!(lines.due(), Some(now + PATIENCE));
    assert!(lines.idle(now + PATIENCE / 2).is_empty());
    assert_eq!(texts(&lines.idle(now + PATIENCE)), ["Password: "]);
    assert_eq!(lines.due(), None);
    assert_eq!(lines.add(out(10, &"x".repeat(MOST_HELD)), now).len(), 1);
    assert!(lines.add(out(10 + MOST_HELD as u64, "rest"), now).is_empty());
    assert_eq!(texts(&lines.stopped("a", 1)), ["rest"]);
    assert!(lines.0.is_empty() && lines.stopped("a", 1).is_empty());
}

#[test]
fn nothing_is_printed_twice_and_gaps_are_reported() {
    let (mut lines, now) = (Lines::default(), Instant::now());
    assert_eq!(texts(&lines.add(out(100, "late\n"), now)), ["[100 bytes of the output are missing here]\n", "late\n"]);
    assert!(lines.add(out(100, "late\n"), now).is_empty());
    assert_eq!(texts(&lines.add(out(103, "e\nnew\n"), now)), ["new\n"]);
    let told = lines.add(out(200, "x"), now);
    assert_eq!((texts(&told), told[0].note), (vec!["[91 bytes of the output are missing here]\n"], true));
    let note = TaskOutput { is_note: true, ..out(201, "\n[no more is kept]\n") };
    let told = lines.add(note, now);
    assert_eq!(texts(&told), ["x", "[no more is kept]\n"]);
    assert_eq!([told[0].note, told[1].note], [false, true]);
}

#[test]
fn the_end_of_an_attempt_prints_the_rest() {
    let now = Instant::now();
    let ended = |heard: &[TaskOutput], end: End<'_>| {
        let mut lines = Lines::default();
        for piece in heard {
            lines.add(piece.clone(), now);
        }
        let told = lines.ended("a", 1, end, now);
        assert!(lines.0.is_empty());
        told.into_iter().map(|line| line.text).collect::<Vec<_>>()
    };
    let result = json!({"success": true, "output": "one\ntwo", "error_output": "why\n"});
    let result = End::Result(&result);
    assert_eq!(ended(&[], result), ["one\n", "two", "why\n"]);
    assert_eq!(ended(&[out(0, "one\n"), err(0, "why\n")], result), ["two"]);
    assert_eq!(ended(&[out(0, "one\nt")], result), ["two", "why\n"], "a line that had begun ends");
    assert_eq!(ended(&[out(0, "one\ntwo")], End::Error(&json!(null))), ["two"]);

    let long: String = (0..1_000).map(|number| format!("line {number:04}\n")).collect();
    let tail = long[long.len() - 8 * 1024..].to_owned();
    let error = json!({"output": tail});
    let error = End::Error(&error);
    let all: Vec<&str> = tail.split_inclusive('\n').collect();
    assert_eq!(ended(&[], error), all, "of a failed attempt the end");
    let heard = long.len() - 20;
    assert_eq!(ended(&[out(0, &long[..heard])], error), ["line 0998\n", "line 0999\n"]);
    let lost = ended(&[out(0, "something else\n")], error);
    assert_eq!(lost[0], "[some of the output is missing here]\n");
    assert_eq!(lost[1..], all);
    assert_eq!(ended(&[out(0, "short\n")], End::Error(&json!({"output": "short\nand more\n"}))), ["and more\n"]);
}

#[test]
fn an_answer_is_printed_once_either_while_it_is_written_or_at_the_end() {
    let (mut lines, now) = (Lines::default(), Instant::now());
    let answer = json!({"response": "Once upon\na time"});
    assert_eq!(texts(&lines.ended("a", 1, End::Result(&answer), now)), ["Once upon\n", "a time"]);
    assert!(lines.add(piece(None, None, "Once "), now).is_empty());
    assert_eq!(texts(&lines.add(piece(None, None, "upon\na"), now)), ["Once upon\n"]);
    lines.add(piece(None, None, " time"), now);
    assert_eq!(texts(&lines.ended("a", 1, End::Result(&answer), now)), ["a time"]);
}

#[test]
fn an_event_prints_its_piece_or_the_missing_part_at_the_end() {
    let event = |kind: &str, payload: Value| RunEvent {
        seq: 0,
        time: Some(Timestamp(1)),
        kind: kind.to_owned(),
        task_id: Some("a".to_owned()),
        attempt: 1,
        payload: Some(Payload::from(payload)),
        payload_omitted: false,
    };
    let said = event("method_progress", json!({"stream": "stdout", "offset": 0, "text": "one\nt"}));
    let completed = event("task_completed", json!({"result": {"output": "one\ntwo\n", "error_output": "why"}}));
    let failed = event("task_attempt_failed", json!({"error": {"message": "no", "data": {"output": "one\ntwo\n"}}}));
    let omitted = RunEvent { payload: None, payload_omitted: true, ..completed.clone() };
    let stopped = event("task_attempt_stopped", json!({"reason": "cancelled"}));
    for (end, missing) in
        [(completed, &["two\n", "why"][..]), (failed, &["two\n"]), (omitted, &["t"]), (stopped, &["t"])]
    {
        let (mut lines, now) = (Lines::default(), Instant::now());
        assert!(!lines.has_output("a", 1));
        assert_eq!(texts(&lines.event(&said, now)), ["one\n"]);
        assert!(lines.has_output("a", 1) && !lines.has_output("a", 2) && !lines.has_output("b", 1));
        assert!(lines.event(&event("method_progress", json!({"done": 5})), now).is_empty());
        assert_eq!(texts(&lines.event(&end, now)), missing, "{}", end.kind);
        assert!(!lines.has_output("a", 1));
    }
}

#[test]
fn truncation_is_reported_once() {
    let result = json!({"output": "abc\n\n[output cut: 4 of 9 bytes kept, see `max_output_bytes`]\n\n[output lost: a process]\n"});
    for is_noted in [true, false] {
        let (mut lines, now) = (Lines::default(), Instant::now());
        lines.add(out(0, "abc\n"), now);
        if is_noted {
            lines.add(TaskOutput { is_note: true, ..out(4, "[output goes on]\n") }, now);
        }
        let told = lines.ended("a", 1, End::Result(&result), now);
        let cut = "[output cut: 4 of 9 bytes kept, see `max_output_bytes`]\n";
        let expected = [cut, "[output lost: a process]\n"];
        assert_eq!(texts(&told), expected[usize::from(is_noted)..]);
        assert!(told.iter().all(|line| line.note));
    }
}

#[test]
fn lines_keep_their_time_when_their_attempt_ends() {
    let (mut lines, now) = (Lines::default(), Instant::now());
    assert!(lines.add(out(0, "no newline"), now).is_empty());
    let told = lines.ended("a", 1, End::Result(&json!({"output": "no newline"})), now);
    assert_eq!((texts(&told), told[0].time), (vec!["no newline"], Some(Timestamp(1))));
}

#[test]
fn of_each_stream_the_last_lines_are_shown() {
    let line = |task: &str, stream, text: &str| Line {
        time: None,
        task_id: task.to_owned(),
        attempt: 1,
        stream: Some(stream),
        text: text.to_owned(),
        note: false,
    };
    let all = || {
        let (stdout, stderr) = (OutputStream::Stdout, OutputStream::Stderr);
        vec![line("a", stdout, "1"), line("a", stderr, "2"), line("b", stdout, "3"), line("a", stdout, "4")]
    };
    assert_eq!(texts(&tail(all(), Some(1))), ["2", "3", "4"]);
    assert_eq!(texts(&tail(all(), None)), ["1", "2", "3", "4"]);
    assert!(tail(all(), Some(0)).is_empty());
}

#[test]
fn output_of_a_task_cannot_control_the_terminal() {
    let (mut lines, now) = (Lines::default(), Instant::now());
    let told = lines.add(out(0, "10 %\r20 %\r\x1b[2Jdone\u{202e}\r\n"), now);
    assert_eq!(told[0].shown(), "[a] \u{fffd}[2Jdone<U+202E>");
    let again = Line { attempt: 2, ..told[0].clone() };
    assert_eq!(again.shown(), "[a, attempt 2] \u{fffd}[2Jdone<U+202E>");
}
