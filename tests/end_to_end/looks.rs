//! The appearance of output: on a terminal of any width, in a file, and as options and the environment demand.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Cluster, Ended, PATIENCE, Sandbox, example};

/// Runs a command on a terminal with this many columns, and prints all that it shows.
const ON_TERMINAL: &str = "import fcntl, os, pty, struct, sys, termios\n\
    columns, program = int(sys.argv[1]), sys.argv[2:]\n\
    pid, terminal = pty.fork()\n\
    if pid == 0:\n\
    \x20   fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 24, columns, 0, 0))\n\
    \x20   os.execv(program[0], program)\n\
    while True:\n    try:\n        data = os.read(terminal, 65536)\n    except OSError:\n        break\n\
    \x20   if not data:\n        break\n    os.write(1, data)\n\
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n";

/// The output on a terminal, and the exit code.
fn on_terminal(sandbox: &Sandbox, columns: usize, variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let plain = sandbox.command(arguments);
    let mut command = Command::new("python3");
    command.args(["-c", ON_TERMINAL, &columns.to_string()]).arg(plain.get_program()).args(plain.get_args());
    command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env_remove("GLEITZEIT_HUB_URL");
    command.env("HOME", sandbox.home()).env("TERM", "xterm").envs(variables.iter().copied());
    command.current_dir(sandbox.path()).stdin(Stdio::null());
    let mut ended = sandbox.start_command(command).wait(PATIENCE);
    ended.stdout = ended.stdout.replace("\r\n", "\n");
    ended
}

/// A text without its colours.
fn plain(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or(part, |(_, rest)| rest))
}

const FAILS: &str = "name: A workflow with a name that is rather long\ntasks:\n  - {id: good, method: util/echo, parameters: {n: 1}}\n  \
                     - {id: a_task_with_a_long_name_that_fails_in_the_end, method: util/fail, parameters: {message: \
                     'no luck in any of the many words of this message, which goes on for a while'}, retry: {max_attempts: 1}}\n";

fn failed_run(cluster: &Cluster) -> String {
    let run = cluster.submit(&cluster.sandbox.file("fails.yaml", FAILS));
    cluster.until_ended(&run);
    run
}

#[test]
fn no_line_is_wider_than_its_terminal() {
    let cluster = Cluster::all_in_one(&[]);
    let run = failed_run(&cluster);
    cluster.until_ended(&cluster.submit(&example("parallel.yaml")));
    for columns in [60, 80, 100, 200] {
        for command in [
            &["list"][..],
            &["status"],
            &["explain", &run],
            &["trace", &run],
            &["components"],
            &["providers"],
            &["protocols"],
            &["protocols", "llm/chat"],
            &["doctor"],
        ] {
            let arguments = [command, &["--hub-url", &cluster.url]].concat();
            let ended = on_terminal(&cluster.sandbox, columns, &[], &arguments).exits(0);
            // A path or an address is not broken: it is there to be copied.
            for line in plain(&ended.stdout).lines().filter(|line| line.trim().contains(' ')) {
                assert!(line.chars().count() <= columns, "{command:?} at {columns}: {line}\n{ended}");
            }
        }
        // The failure is printed in full below the table.
        let status =
            plain(&on_terminal(&cluster.sandbox, columns, &[], &["status", &run, "--hub-url", &cluster.url]).stdout);
        let (facts, rest) = status.split_once("\nTASK ").expect("a table");
        let table = rest.split("\n\n").next().expect("lines");
        assert!(facts.lines().chain(table.lines()).all(|line| line.chars().count() <= columns), "{columns}: {status}");
    }
    let narrow = on_terminal(&cluster.sandbox, 60, &[], &["status", &run, "--hub-url", &cluster.url]).stdout;
    let full = on_terminal(&cluster.sandbox, 60, &[], &["status", &run, "--full", "--hub-url", &cluster.url]).stdout;
    let row = |text: &str| {
        plain(text).lines().find(|line| line.starts_with("a_task_with")).map(str::to_owned).expect("the task's row")
    };
    assert!(row(&narrow).contains('…') && !row(&full).contains('…'), "{narrow}\n{full}");
}

#[test]
fn problems_of_an_invalid_file_fit_the_terminal() {
    let sandbox = Sandbox::new();
    let wrong = "name: W\ntasks:\n  - {id: a, methd: util/echo}\n  - {id: b, method: util/eko, dependencies: [c]}\n";
    sandbox.file("wrong.yaml", wrong);
    for columns in [60, 80, 100, 200] {
        let told = plain(&on_terminal(&sandbox, columns, &[], &["validate", "wrong.yaml"]).exits(2).stdout);
        assert!(told.lines().all(|line| line.chars().count() <= columns), "{columns}: {told}");
        assert!(told.contains("hint: did you mean `method`?"), "{told}");
    }
}

#[test]
fn a_short_id_can_be_given_to_any_command_and_a_file_gets_whole_ones() {
    let cluster = Cluster::all_in_one(&[]);
    let runs = [(); 3].map(|()| cluster.submit(&example("parallel.yaml")));
    runs.iter().for_each(|run| drop(cluster.until_ended(run)));
    let failed = failed_run(&cluster);
    let rows = |arguments: &[&str]| -> Vec<String> {
        let arguments = [arguments, &["--hub-url", &cluster.url]].concat();
        let shown = plain(&on_terminal(&cluster.sandbox, 100, &[], &arguments).exits(0).stdout);
        // On a terminal, a line below the table says that there are more runs.
        let rows = shown.lines().skip(1).take_while(|line| line.starts_with("01"));
        rows.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    };
    for (arguments, expected) in [
        (&["list"][..], 4),
        (&["list", "--limit", "2"], 2),
        (&["list", "--status", "failed"], 1),
        (&["list", "--name", "Parallel"], 3),
    ] {
        let shown = rows(arguments);
        assert_eq!(shown.len(), expected, "{shown:?}");
        for short in shown {
            assert!((13..=36).contains(&short.len()), "{short}");
            let named = cluster.ask(&["status", &short])["run_id"].clone();
            assert!(named.as_str().is_some_and(|id| id.starts_with(&short)), "{short}: {named}");
        }
    }
    assert_eq!(rows(&["list", "--status", "failed"]), [failed[..13].to_owned()], "as short as it can be");
    assert_eq!(rows(&["list", "--full"]).last(), Some(&runs[0]));
    let piped = cluster.client(&["list"]).exits(0).stdout;
    assert!(runs.iter().all(|run| piped.contains(run)), "{piped}");
}

#[test]
fn times_are_relative_on_a_terminal_only() {
    let cluster = Cluster::all_in_one(&[]);
    cluster.until_ended(&cluster.submit(&example("parallel.yaml")));
    let list = |more: &[&str]| {
        let arguments = [&["list", "--hub-url", &cluster.url][..], more].concat();
        plain(&on_terminal(&cluster.sandbox, 120, &[], &arguments).exits(0).stdout)
    };
    let is_iso = |text: &str| text.contains("Z\n") && text.contains('T') && text.contains(".");
    let relative = list(&[]);
    assert!(relative.contains(" ago") || relative.contains("now"), "{relative}");
    let utc = list(&["--utc"]);
    assert!(is_iso(&utc) && !utc.contains(" ago"), "{utc}");
    let piped = cluster.client(&["list", "--color", "always"]).exits(0).stdout;
    assert!(is_iso(&piped) && !piped.contains(" ago"), "{piped}");
    let document: Value = serde_json::from_str(&list(&["-o", "json"])).expect("JSON");
    assert!(document["items"][0]["submitted_at"].as_str().is_some_and(|time| time.ends_with('Z')), "{document}");
}

#[test]
fn colours_follow_the_option_the_environment_and_the_terminal() {
    let sandbox = Sandbox::new();
    let file = sandbox.file("fine.yaml", "name: F\ntasks: [{id: a, method: util/echo, parameters: {n: 1}}]\n");
    let has_colour = |ended: &Ended| ended.stdout.contains("\x1b[3") || ended.stderr.contains("\x1b[3");
    for (variables, arguments, expected) in [
        (&[][..], &[][..], true),
        (&[("NO_COLOR", "1")], &[], false),
        (&[("NO_COLOR", "")], &[], true),
        (&[("NO_COLOR", "1")], &["--color", "always"], true),
        (&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], &[], false),
        (&[("TERM", "dumb")], &[], false),
        (&[("TERM", "dumb"), ("CLICOLOR_FORCE", "1")], &[], true),
        (&[], &["--color=never"], false),
        (&[], &["-o", "json"], false),
    ] {
        let arguments = [&["validate", &file][..], arguments].concat();
        let ended = on_terminal(&sandbox, 80, variables, &arguments).exits(0);
        assert_eq!(has_colour(&ended), expected, "{variables:?} {arguments:?}: {ended}");
    }
    for (arguments, expected) in [
        (&["validate", &file][..], false),
        (&["validate", &file, "--color", "always"], true),
        (&["validate", &file, "--color", "always", "-o", "yaml"], false),
        (&["--color", "always", "validate", &file], true),
        (&["list", "--help"], false),
        (&["list", "--help", "--color=always"], true),
        (&["--color=always", "list", "--help"], true),
        (&["lst", "--color=always"], true),
        (&["lst"], false),
    ] {
        let ended = sandbox.gleitzeit(arguments);
        assert_eq!(has_colour(&ended), expected, "{arguments:?}: {ended}");
    }
    let forced = {
        let mut command = sandbox.command(&["validate", &file]);
        command.env("CLICOLOR_FORCE", "1");
        sandbox.start_command(command).wait(PATIENCE).exits(0)
    };
    assert!(has_colour(&forced), "{forced}");
}

#[test]
fn quiet_leaves_results_and_errors_and_verbose_logs() {
    let sandbox = Sandbox::new();
    let fails = sandbox.file("fails.yaml", FAILS);
    let quiet = sandbox.gleitzeit(&["run", &example("parallel.yaml"), "-q"]).exits(0);
    assert!(quiet.stdout.contains("280") && quiet.stderr.is_empty(), "{quiet}");
    let failed = sandbox.gleitzeit(&["run", "-q", &fails]).exits(1);
    assert!(failed.stderr.contains("no luck") && !failed.stderr.contains("journal is kept"), "{failed}");
    assert!(!failed.stderr.contains("task good completed"), "{failed}");
    let verbose = sandbox.gleitzeit(&["-v", "run", &example("parallel.yaml")]).exits(0);
    assert!(verbose.stderr.contains("INFO") && !verbose.stderr.contains("DEBUG"), "{verbose}");
    let level = sandbox.gleitzeit(&["-v", "run", &example("parallel.yaml"), "--log-level", "error"]).exits(0);
    assert!(!level.stderr.contains("INFO"), "{level}");
    let shown = on_terminal(&sandbox, 80, &[], &["run", &example("parallel.yaml"), "-q"]).exits(0).stdout;
    assert!(!shown.contains('\x1b') && !shown.contains("completed"), "{shown}");
}

#[test]
fn protocols_are_known_without_a_control_plane() {
    let sandbox = Sandbox::new();
    let named = sandbox.gleitzeit(&["protocols", "--hub-url", "http://127.0.0.1:9"]).exits(3);
    assert!(named.stdout.is_empty(), "{named}");
    // Whether or not a control plane runs at the default address.
    let shown = sandbox.gleitzeit(&["protocols", "util/echo"]).exits(0);
    assert!(shown.stdout.contains("util/echo of util/v1"), "{shown}");
}
