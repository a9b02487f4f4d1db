//! A terminal with a shell. A command's output is read between the prompts around it; each prompt has a number.

use std::path::Path;

use unicode_width::UnicodeWidthStr as _;

use crate::support::{PATIENCE, Sandbox, Tmux, until};

pub(crate) struct Terminal {
    tmux: Tmux,
    columns: usize,
    /// The number of the current prompt.
    number: usize,
}

impl Terminal {
    #[track_caller]
    pub(crate) fn start(sandbox: &Sandbox, columns: u16, rows: u16) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_gleitzeit"));
        let programs = program.parent().expect("a folder").display();
        let path = std::env::var("PATH").expect("a path");
        let line = format!(
            "exec env -i HOME='{}' PATH='{programs}:{path}' TERM=screen LANG=C.UTF-8 HISTFILE= PS1='\\#$ ' bash --noprofile \
             --norc",
            sandbox.home().display()
        );
        let tmux = Tmux::start(sandbox.path(), columns, rows, &line);
        let this = Self { tmux, columns: columns.into(), number: 1 };
        this.until_prompt(1);
        this
    }

    /// Everything so far, with wrapped lines joined.
    fn history(&self) -> String {
        self.tmux.ask(&["capture-pane", "-p", "-J", "-S", "-"])
    }

    #[track_caller]
    fn until_prompt(&self, number: usize) {
        let prompt = format!("{number}$");
        until(&format!("the prompt {prompt} in:\n{}", self.history()), PATIENCE, || {
            self.history().trim_end().ends_with(&format!("\n{prompt}")).then_some(()).or_else(|| {
                // Nothing but the first prompt.
                (self.history().trim() == prompt).then_some(())
            })
        });
    }

    /// Waits until a text is somewhere on the screen.
    #[track_caller]
    pub(crate) fn until(&self, text: &str) {
        until(&format!("`{text}` on the screen:\n{}", self.history()), PATIENCE, || {
            self.tmux.screen().contains(text).then_some(())
        });
    }

    pub(crate) fn press(&self, keys: &str) {
        self.tmux.press(keys);
    }

    /// Types a line; returns its prompt's number.
    #[track_caller]
    pub(crate) fn begin(&mut self, line: &str) -> usize {
        self.tmux.type_text(line);
        self.tmux.press("Enter");
        self.number += 1;
        self.number - 1
    }

    /// The output of a prompt's command, once it has ended; asserts that no line is wider than the terminal.
    #[track_caller]
    pub(crate) fn end(&self, number: usize) -> String {
        self.until_prompt(number + 1);
        let history = self.history();
        let (begun, ended) = (format!("{number}$ "), format!("{}$", number + 1));
        let lines = history.lines().skip_while(|line| !line.starts_with(&begun)).skip(1);
        let said: Vec<&str> = lines.take_while(|line| line.trim_end() != ended).map(str::trim_end).collect();
        for line in &said {
            // A path or an address is not broken: it is there to be copied; neither is the output of a task.
            let is_whole = !line.trim().contains(' ') || line.starts_with("report: ") || line.contains("No such file");
            let fits = line.width() <= self.columns || is_whole;
            assert!(fits, "wider than {}: {line}\nin:\n{}", self.columns, said.join("\n"));
        }
        said.join("\n")
    }

    /// Runs a command.
    #[track_caller]
    pub(crate) fn run(&mut self, line: &str) -> String {
        let number = self.begin(line);
        self.end(number)
    }
}
