//! A first day at a terminal: a workflow is created, checked, run and broken; its failure is read, fixed and retried;
//! another workflow is followed while it runs. The screen is compared with reviewed snapshots, in three sizes, and no
//! line is wider than its terminal.

mod screen;
#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "shared with tests that need more of it")]
mod support;
mod terminal;

use screen::Screen;
use support::{Sandbox, free_port};
use terminal::Terminal;

/// A misspelled field.
const MISSPELLED: &str = "name: Greeting\ntasks:\n  - id: hello\n    methd: util/echo\n";

/// Fails until a file exists.
const NEEDS_A_FILE: &str = "name: Numbers\ntasks:\n  - id: read\n    method: shell/run\n    parameters: {command: cat 'FOLDER/numbers.txt'}\n  \
                            - id: tell\n    method: util/echo\n    parameters: {numbers: '${read.output}'}\n";

/// Fails in the middle of some code.
const DIVIDES: &str = "name: Shares\ntasks:\n  - id: share\n    method: python/execute\n    parameters:\n      code: |\n        print('sharing')\n        \
                       result = 12 / 0\n";

/// Prints, waits for a file, and prints again.
const SLOW: &str = "name: Slow\ntasks:\n  - id: work\n    method: shell/run\n    parameters:\n      command: |\n        for n in 1 2 3; do echo \"part $n is done\"; done\n        \
                    until [ -e 'FOLDER/go' ]; do sleep 0.1; done\n        echo 'all is done'\n";

fn write(sandbox: &Sandbox, name: &str, text: &str) {
    sandbox.file(name, text.replace("FOLDER", sandbox.path().to_str().expect("UTF-8")));
}

fn told(terminal: &mut Terminal, screen: &mut Screen<'_>, line: &str) {
    let said = terminal.run(line);
    screen.compare(line, &said);
}

fn day(columns: u16, rows: u16) {
    let sandbox = Sandbox::new();
    for (name, text) in
        [("greet.yaml", MISSPELLED), ("share.yaml", DIVIDES), ("numbers.yaml", NEEDS_A_FILE), ("slow.yaml", SLOW)]
    {
        write(&sandbox, name, text);
    }
    let mut terminal = Terminal::start(&sandbox, columns, rows);
    let mut screen = Screen::new(format!("{columns}x{rows}"), sandbox.path());

    for line in [
        "gleitzeit init hello",
        "gleitzeit validate hello.yaml",
        "gleitzeit run hello.yaml",
        "gleitzeit validate greet.yaml",
        "gleitzeit run share.yaml",
        "gleitzeit logs last",
        "gleitzeit list",
        "gleitzeit status lst",
        "gleitzeit logs --help",
    ] {
        told(&mut terminal, &mut screen, line);
    }

    let port = free_port();
    terminal.run(&format!("export GLEITZEIT_HUB_URL=http://localhost:{port}"));
    terminal.run(&format!("gleitzeit start --background --port {port}"));
    told(&mut terminal, &mut screen, "gleitzeit submit numbers.yaml --wait");
    told(&mut terminal, &mut screen, "gleitzeit explain last");
    sandbox.file("numbers.txt", "7 8 9\n");
    // This only needs an end; how it gets there depends on timing.
    terminal.run("gleitzeit retry last");
    terminal.run("gleitzeit watch last");
    told(&mut terminal, &mut screen, "gleitzeit status last");
    told(&mut terminal, &mut screen, "gleitzeit graph last");
    terminal.run("gleitzeit trace last");

    terminal.run("gleitzeit submit slow.yaml");
    let number = terminal.begin("gleitzeit logs last -f");
    terminal.until("part 3 is done");
    sandbox.file("go", "");
    let said = terminal.end(number);
    screen.compare("gleitzeit logs last -f", &said);
    told(&mut terminal, &mut screen, "gleitzeit list");
    terminal.run("gleitzeit providers");
    terminal.run("gleitzeit doctor");

    let number = terminal.begin("gleitzeit monitor");
    terminal.until("Runs (");
    terminal.press("q");
    terminal.end(number);
    told(&mut terminal, &mut screen, "gleitzeit stop --timeout 30s");
}

#[test]
fn a_day_on_a_usual_terminal() {
    day(80, 24);
}

#[test]
fn a_day_on_a_large_terminal() {
    day(100, 30);
}

#[test]
fn a_day_on_a_small_terminal() {
    day(60, 15);
}
