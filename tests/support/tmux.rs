//! A terminal in its own tmux server, which stops on drop.

use std::path::Path;
use std::process::Command;

/// A screen on which one program runs.
pub(crate) struct Tmux {
    socket: String,
}

impl Tmux {
    /// Runs a shell command line on a screen of this size, in `folder`, which also holds the server's socket.
    #[track_caller]
    pub(crate) fn start(folder: &Path, columns: u16, rows: u16, line: &str) -> Self {
        let this = Self { socket: folder.join("tmux").display().to_string() };
        let (columns, rows, folder) = (columns.to_string(), rows.to_string(), folder.display().to_string());
        let lines = ["-f", "/dev/null", "set-option", "-g", "history-limit", "5000", ";"];
        let session = ["new-session", "-d", "-x", &columns, "-y", &rows, "-c", &folder, "sh", "-c", line];
        this.ask(&[&lines[..], &session[..]].concat());
        this
    }

    /// The output of a tmux command.
    #[track_caller]
    pub(crate) fn ask(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux").args(["-S", &self.socket]).args(arguments).env_remove("TMUX").output();
        let output = output.expect("this test needs `tmux`");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Presses a key by its name.
    #[track_caller]
    pub(crate) fn press(&self, key: &str) {
        self.ask(&["send-keys", key]);
    }

    /// Types a text as it is.
    #[track_caller]
    pub(crate) fn type_text(&self, text: &str) {
        self.ask(&["send-keys", "-l", text]);
    }

    /// The text on the screen now.
    #[track_caller]
    pub(crate) fn screen(&self) -> String {
        self.ask(&["capture-pane", "-p"])
    }

    /// Resizes the screen.
    #[track_caller]
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        self.ask(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-S", &self.socket, "kill-server"]).output();
    }
}
