use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A shell that leads its own group.
fn shell(script: &str) -> Child {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
    command.spawn().expect("starts")
}

/// The numbers that a script prints, one per line.
fn numbers(child: &mut Child, count: usize) -> Vec<u32> {
    use std::io::BufRead as _;
    let lines = std::io::BufReader::new(child.stdout.take().expect("a pipe")).lines();
    lines.take(count).map(|line| line.expect("text").trim().parse().expect("a number")).collect()
}

fn living(numbers: &[u32]) -> Vec<u32> {
    let seen = look().expect("readable");
    numbers.iter().copied().filter(|pid| seen.0.contains_key(pid)).collect()
}

#[test]
fn descendants_that_left_the_group_end_too() {
    let mut child = shell("setsid sh -c 'echo $$; sleep 600 & echo $!; wait' & sleep 600 & echo $!; wait");
    let all = numbers(&mut child, 3);
    assert_eq!(living(&all).len(), 3);
    assert!(end(Leader::Held(child.id()), PATIENCE));
    assert_eq!(living(&all), [0; 0]);
    child.wait().expect("reaped");
}

#[test]
fn a_group_without_its_leader_ends_with_its_descendants() {
    // The process in between stays in the group, its child does not.
    let mut child = shell("(setsid sh -c 'echo $$; exec sleep 600' & wait) & echo $!; wait");
    let all = numbers(&mut child, 2);
    child.kill().expect("killed");
    child.wait().expect("reaped");
    assert_eq!(living(&all).len(), 2, "it has left them behind");
    assert!(end(Leader::Gone(child.id()), PATIENCE));
    assert_eq!(living(&all), [0; 0]);
}

#[test]
fn multiplying_processes_are_ended() {
    let mut child = shell("echo $$; while :; do (sleep 600 & sleep 600) & sleep 0.01; done");
    let all = numbers(&mut child, 1);
    assert!(end(Leader::Held(child.id()), PATIENCE));
    child.wait().expect("reaped");
    assert_eq!(living(&all), [0; 0]);
    assert_eq!(look().expect("readable").group(child.id()), BTreeSet::new());
}

#[test]
fn stopped_processes_are_always_killed() {
    let (mut one, mut other) = (shell("echo $$; exec sleep 600"), shell("echo $$; exec sleep 600"));
    let all = [numbers(&mut one, 1), numbers(&mut other, 1)].concat();
    let mut stopped = Stopped { group: None, processes: BTreeSet::new() };
    stopped.stop_group(one.id());
    stopped.stop(other.id());
    drop(stopped);
    for child in [&mut one, &mut other] {
        use std::os::unix::process::ExitStatusExt as _;
        assert_eq!(child.wait().expect("reaped").signal(), Some(9));
    }
    assert_eq!(living(&all), [0; 0]);
}

#[test]
fn an_empty_group_is_not_a_group() {
    let mut child = shell("exit 0");
    child.wait().expect("reaped");
    assert!(end(Leader::Gone(child.id()), PATIENCE));
}
