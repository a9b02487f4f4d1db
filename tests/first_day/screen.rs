//! Compares a command's output, without the parts that vary, with its snapshot.

use std::path::Path;

/// The parts that vary, and their replacements.
const DIFFERS: [(&str, &str); 8] = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "RUN"),
    (r"\b01[0-9a-f]{6}-[0-9a-f]{4}(-[0-9a-f]+)*\b", "RUN"),
    (r"\b\d+(\.\d+)? (ms|s|min)( \d+ (s|min))?( ago)?\b", "TIME"),
    (r"\bnow\b", "TIME"),
    (r"pid \d+", "pid N"),
    (r"localhost:\d+|127\.0\.0\.1:\d+", "HUB"),
    (r"port \d+", "port N"),
    // Columns are as wide as their content.
    (r" {2,}", "  "),
];

/// Compares the output of one day's commands, in their order.
pub(crate) struct Screen<'a> {
    size: String,
    folder: &'a Path,
    count: usize,
}

impl<'a> Screen<'a> {
    pub(crate) fn new(size: String, folder: &'a Path) -> Self {
        Self { size, folder, count: 0 }
    }

    pub(crate) fn compare(&mut self, line: &str, said: &str) {
        self.count += 1;
        let words = line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).skip(1);
        let name = format!("{:02}_{}", self.count, words.collect::<Vec<_>>().join("_"));
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.set_snapshot_path(format!("snapshots/{}", self.size));
        settings.add_filter(&escaped(self.folder), "FOLDER");
        for (differs, stands) in DIFFERS {
            settings.add_filter(differs, stands);
        }
        settings.bind(|| insta::assert_snapshot!(name, said));
    }
}

/// A path as a regular expression that matches only it.
fn escaped(path: &Path) -> String {
    let path = path.to_str().expect("UTF-8");
    path.chars().map(|c| if c.is_ascii_alphanumeric() || c == '/' { c.to_string() } else { format!("\\{c}") }).collect()
}
