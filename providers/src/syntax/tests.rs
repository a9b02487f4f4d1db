use super::*;

fn settings() -> Settings {
    Settings::from_env(|name| std::env::var_os(name))
}

fn at(mistake: &Option<Mistake>) -> Option<(usize, Option<usize>)> {
    mistake.as_ref().map(|mistake| (mistake.line, mistake.column))
}

#[tokio::test]
async fn python_programs_are_compiled_and_none_is_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let touched = folder.path().join("touched");
    let runs = format!("open({touched:?}, 'w')\n");
    let programs = [runs.as_str(), "a = 1\nif a\n    b = 2\n", "x = '\u{e9}' + )", "", "import os\u{0}"];
    let mistakes = check_python("python3", &programs, &settings()).await.expect("there is a Python here");
    assert_eq!((at(&mistakes[0]), at(&mistakes[3])), (None, None));
    assert_eq!(at(&mistakes[1]), Some((2, Some(5))));
    assert_eq!(at(&mistakes[2]), Some((1, Some(11))));
    assert!(mistakes[4].as_ref().is_some_and(|it| it.message.contains("null byte")), "{mistakes:?}");
    assert!(!touched.exists(), "nothing is run");
}

#[tokio::test]
async fn a_missing_interpreter_is_reported_and_is_no_error() {
    let unchecked = check_python("no-such-python", &["("], &settings()).await.expect_err("there is none");
    assert!(unchecked.reason.starts_with("`no-such-python` cannot be started"), "{unchecked:?}");
    assert!(unchecked.remedy.contains("python_executable"), "{unchecked:?}");
    let unchecked = check_python("false", &["("], &settings()).await.expect_err("it says nothing");
    assert!(unchecked.reason.contains("gave no valid answer"), "{unchecked:?}");
    let large = "#".repeat(MAX_TEXT + 1);
    let unchecked = check_python("python3", &[&large], &settings()).await.expect_err("too large");
    assert!(unchecked.reason.contains("no more than 16777216 are checked"), "{unchecked:?}");
}

#[tokio::test]
async fn an_interpreter_that_does_not_answer_is_abandoned() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("slow");
    std::fs::write(&path, "#!/bin/sh\nexec sleep 1000\n").expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).expect("executable");
    tokio::time::pause();
    let name = path.to_str().expect("UTF-8");
    let unchecked = check_python(name, &["x"], &settings()).await.expect_err("it never answers");
    assert!(unchecked.reason.ends_with("did not answer within 5 s"), "{unchecked:?}");
}

#[tokio::test]
async fn commands_are_read_by_their_shell_and_none_is_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let touched = folder.path().join("touched");
    let runs = format!("echo x > '{}'", touched.display());
    let commands = [
        (None, runs.as_str()),
        (Some("sh"), "echo a\nif true; then\n  echo b\ndone\n"),
        (None, "echo \"open"),
        (None, "-n"),
        (Some("bash"), "shopt -s extglob\nrm -f !(a|b)"),
        (Some("bash"), "rm -f !(a|b)"),
    ];
    let (mistakes, unchecked) = check_shell(std::path::Path::new("/bin/sh"), &commands, &settings()).await;
    assert!(unchecked.is_empty(), "{unchecked:?}");
    assert_eq!(at(&mistakes[1]), Some((4, None)), "{mistakes:?}");
    assert!(mistakes[2].is_some(), "{mistakes:?}");
    assert_eq!((at(&mistakes[0]), at(&mistakes[3]), at(&mistakes[4])), (None, None, None), "{mistakes:?}");
    assert_eq!(at(&mistakes[5]), Some((1, None)), "{mistakes:?}");
    assert!(!touched.exists(), "nothing is run");
}

#[tokio::test]
async fn commands_that_no_shell_can_read_are_reported_once() {
    let own = std::path::Path::new("/bin/fish");
    let commands = [(None, "if"), (None, "fi"), (Some("sh"), "if"), (Some("no-such-shell"), "if")];
    let (mistakes, unchecked) = check_shell(own, &commands, &settings()).await;
    assert!(mistakes[2].is_some() && mistakes[0].is_none() && mistakes[3].is_none(), "{mistakes:?}");
    assert_eq!(unchecked.len(), 2, "{unchecked:?}");
    assert!(unchecked[0].reason.contains("`/bin/fish`"), "{unchecked:?}");
    assert!(unchecked[1].reason.contains("no `no-such-shell` in the PATH"), "{unchecked:?}");
}
