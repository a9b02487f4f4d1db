use gleitzeit_sdk::Payload;
use serde_json::{Value, json};

use super::state::NAMED;
use super::*;

const SIZE: Size = Size { columns: 40, rows: 24 };

fn event(kind: &str, task: &str) -> RunEvent {
    RunEvent {
        seq: 1,
        time: None,
        kind: kind.to_owned(),
        task_id: (!task.is_empty()).then(|| task.to_owned()),
        attempt: 1,
        payload: None,
        payload_omitted: false,
    }
}

fn progress(task: &str, data: Value) -> RunEvent {
    RunEvent { seq: 0, payload: Some(Payload::from(data)), ..event("method_progress", task) }
}

/// A run that is observed second by second.
struct Bench {
    state: State,
    now: Instant,
}

impl Bench {
    fn new(total: usize) -> Self {
        let now = Instant::now();
        Self { state: State::new(Some(("Name".to_owned(), total)), now), now }
    }

    fn event(&mut self, event: &RunEvent) {
        self.state.event(event, self.now);
    }

    fn says(&mut self, task: &str, text: &str) {
        self.event(&progress(task, json!({"text": text})));
    }

    fn lines(&self) -> Vec<String> {
        self.state.lines(self.now, false, SIZE)
    }
}

/// The screen of a terminal after everything that was written to it.
fn screen(drawings: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for drawing in drawings {
        let mut rest = drawing.as_str();
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '\n' => lines.push(String::new()),
                '\x1b' => {
                    let end = rest.find(|c: char| c.is_ascii_alphabetic()).expect("a whole sequence");
                    let (number, command) = (&rest[1..end], &rest[end..=end]);
                    rest = &rest[end + 1..];
                    match command {
                        "F" => {
                            let up: usize = number.parse().expect("a number");
                            lines.truncate(lines.len() - up);
                            *lines.last_mut().expect("a line") = String::new();
                        }
                        "J" | "m" => {}
                        other => panic!("unknown: {other}"),
                    }
                }
                c => lines.last_mut().expect("a line").push(c),
            }
        }
    }
    assert_eq!(lines.pop().as_deref(), Some(""), "the cursor stands below");
    lines
}

#[test]
fn the_live_view_counts_and_names_what_runs() {
    let mut bench = Bench::new(12);
    for number in 0..10 {
        bench.event(&event("task_dispatched", &format!("t{number}")));
    }
    bench.event(&event("task_completed", "t0"));
    bench.event(&event("task_failed", "never-dispatched"));
    let lines = bench.lines();
    assert_eq!(lines[0], "Name  1/12 done, 9 running, 1 failed  0 ms");
    assert_eq!(lines.len(), 1 + NAMED + 1);
    assert_eq!(lines[1], "  · t1  0 ms", "the oldest first");
    assert_eq!(lines.last().map(String::as_str), Some("  … and 1 more"));
}

#[test]
fn a_stopped_attempt_runs_no_more() {
    let mut bench = Bench::new(1);
    bench.event(&event("task_dispatched", "a"));
    bench.event(&event("task_attempt_stopped", "a"));
    assert!(!bench.state.is_running());
}

#[test]
fn a_line_is_cut_to_the_terminal_without_counting_colours() {
    assert_eq!(cut("\x1b[31mabc\x1b[0mdef", 5), "\x1b[31mabc\x1b[0md");
    assert_eq!(cut("a世界b", 5), "a世", "wide characters take two columns, and nothing follows what did not fit");
}

#[test]
fn text_grows_below_its_task_and_goes_with_it() {
    let (mut bench, mut drawings) = (Bench::new(3), Vec::new());
    let mut live = Live { colour: true, drawn: 0, drawn_at: None };
    let mut draw = |bench: &Bench| {
        let lines = bench.state.lines(bench.now, true, SIZE);
        drawings.push(live.drawing(&lines, SIZE));
        screen(&drawings)
    };
    bench.event(&event("task_dispatched", "outline"));
    bench.now += Duration::from_millis(1_200);
    bench.event(&event("task_dispatched", "picture"));
    for piece in ["Trains", " are late", " because the clock in the hall is fast.\n\nSo", " much for", " that"] {
        bench.says("outline", piece);
    }
    bench.event(&progress("picture", json!({"done": 3, "of": 10})));
    bench.event(&progress("picture", json!({"done": 4, "of": 10})));
    let expected = [
        "Name  0/3 done, 2 running  1.2 s",
        "  · outline  1.2 s",
        "    Trains are late because the clock",
        "    in the hall is fast.",
        "    So much for that",
        "  · picture  0 ms",
        "    {\"done\":4,\"of\":10}",
    ];
    assert_eq!(draw(&bench), expected);
    bench.event(&event("task_completed", "outline"));
    assert_eq!(draw(&bench), ["Name  1/3 done, 1 running  1.2 s", "  · picture  0 ms", "    {\"done\":4,\"of\":10}"]);
    bench.says("outline", "too late");
    bench.event(&event("task_completed", "picture"));
    assert_eq!(draw(&bench), ["Name  2/3 done  1.2 s"]);
}

#[test]
fn only_the_end_of_much_text_is_shown_and_kept() {
    let mut bench = Bench::new(1);
    bench.event(&event("task_dispatched", "a"));
    bench.says("a", &"x".repeat(1_000_000));
    for number in 0..10_000 {
        bench.says("a", &format!("word{number} "));
    }
    let lines = bench.lines();
    assert_eq!(lines.len(), 2 + 6);
    assert_eq!(lines.last().map(String::as_str), Some("    word9997 word9998 word9999"));
    assert!(lines.iter().all(|line| line.chars().count() < SIZE.columns), "{lines:#?}");
    let low = bench.state.lines(bench.now, false, Size { rows: 6, ..SIZE });
    assert_eq!(low.len(), 4, "head, name and as much as there is room for: {low:#?}");
    let tiny = bench.state.lines(bench.now, false, Size { columns: 1, rows: 1 });
    let mut live = Live { colour: false, drawn: 0, drawn_at: None };
    assert_eq!(live.drawing(&tiny, Size { columns: 1, rows: 1 }), "", "there is no room at all");
}

#[test]
fn the_streams_of_a_process_do_not_mix_within_a_line() {
    let mut bench = Bench::new(1);
    bench.event(&event("task_dispatched", "a"));
    for (stream, text) in [("stdout", "half a line"), ("stderr", "why\n"), ("stdout", "the "), ("stdout", "rest\n")] {
        bench.event(&progress("a", json!({"stream": stream, "offset": 0, "text": text})));
    }
    let lines = bench.lines();
    assert_eq!(lines[2..].iter().map(|line| line.trim()).collect::<Vec<_>>(), ["half a line", "why", "the rest"]);
}

#[test]
fn tasks_with_output_share_the_rows() {
    let mut bench = Bench::new(9);
    for number in 0..9 {
        let task = format!("t{number}");
        bench.event(&event("task_dispatched", &task));
        bench.says(&task, "one\ntwo\nthree\nfour");
    }
    let lines = bench.lines();
    assert_eq!(lines.len(), 1 + NAMED * 2 + 1);
    assert_eq!(lines[1..3], ["  · t0  0 ms", "    four"]);
}

#[test]
fn output_of_a_task_cannot_control_the_terminal() {
    let mut bench = Bench::new(1);
    bench.event(&event("task_dispatched", "a"));
    bench.says("a", "\x1b[2J\x1b]0;title\x07\u{9b}31mred\u{202e}drow\u{200b}\ttab\r\nnext");
    assert_eq!(bench.lines()[2..], ["    [2J]0;title31mreddrow tab", "    next"]);
    bench.event(&progress("a", json!({"a\x1b": "\x1b[2J"})));
    assert!(!bench.lines().concat().contains('\x1b'));
}

#[test]
fn a_new_attempt_begins_with_no_text() {
    let mut bench = Bench::new(1);
    bench.event(&event("task_dispatched", "a"));
    bench.says("a", "first");
    bench.event(&event("task_attempt_failed", "a"));
    bench.event(&RunEvent { attempt: 2, ..event("task_dispatched", "a") });
    bench.says("a", "late word of the first");
    assert_eq!(bench.lines()[1..], ["  · a (attempt 2)  0 ms"]);
}

#[test]
fn below_lines_of_others_there_is_no_head() {
    let now = Instant::now();
    let mut state = State::new(None, now);
    assert!(state.lines(now, false, SIZE).is_empty());
    state.event(&event("task_dispatched", "a"), now);
    assert_eq!(state.lines(now, false, SIZE), ["  · a  0 ms"]);
}
