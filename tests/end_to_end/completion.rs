//! Completion of arguments, as shells request it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Cluster, Ended, PATIENCE, Sandbox, free_port, until};

const WORKFLOW: &str = "name: Complete\ninputs: {seconds: 600}\ntasks:\n  - {id: sleeps, method: util/sleep, parameters: \
                        {seconds: '${inputs.seconds}'}}\n  - {id: says, method: util/echo, dependencies: [sleeps]}\n";

/// Runs a script in bash, in the sandbox, with both programs on the path.
fn bash(sandbox: &Sandbox, script: &str) -> Ended {
    let plain = sandbox.command(&[]);
    let folder = Path::new(env!("CARGO_BIN_EXE_gleitzeit")).parent().expect("a folder").display().to_string();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", script]).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    command.env("PATH", path).current_dir(sandbox.path()).stdin(Stdio::null());
    sandbox.start_command(command).wait(PATIENCE)
}

/// The candidates that bash offers for the last word.
fn offered(sandbox: &Sandbox, words: &[&str]) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let (program, last) = (words[0], quoted.last().expect("a word"));
    let script = format!(
        "source <({program} completions bash)\nCOMP_WORDS=({})\nCOMP_CWORD={}\nCOMP_TYPE=9\n_clap_complete_{program} \
         {program} {last} ''\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        quoted.join(" "),
        words.len() - 1
    );
    bash(sandbox, &script).exits(0).stdout.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Waits until the candidates are as expected: on a busy machine the control plane may be late.
#[track_caller]
fn until_offered(sandbox: &Sandbox, words: &[&str], expected: &[&str]) {
    until(&format!("{expected:?} for {words:?}"), PATIENCE, || {
        let offered = offered(sandbox, words);
        expected.iter().all(|it| offered.iter().any(|found| found == it)).then_some(())
    });
}

#[test]
fn bash_is_offered_runs_tasks_methods_names_labels_and_files_for_both_programs() {
    let mut cluster = Cluster::all_in_one(&[]);
    let url = cluster.url.clone();
    cluster.sandbox.set("GLEITZEIT_HUB_URL", &url);
    let file = cluster.sandbox.file("complete.yaml", WORKFLOW);
    cluster.sandbox.file("notes.txt", "no workflow");
    let run = cluster.submit(&file);
    cluster.client(&["submit", &file, "--label", "team=trains"]).exits(0);
    let sandbox = &cluster.sandbox;
    for program in ["gleitzeit", "gz"] {
        until_offered(sandbox, &[program, "logs", ""], &[&run, "last"]);
    }
    until_offered(sandbox, &["gz", "explain", &run[..8]], &[&run]);
    until_offered(sandbox, &["gz", "explain", &run, "s"], &["sleeps", "says"]);
    until_offered(sandbox, &["gz", "explain", "last", "sl"], &["sleeps"]);
    until_offered(sandbox, &["gz", "cancel", &run, ""], &[&run]);
    until_offered(sandbox, &["gz", "protocols", "util/"], &["util/echo", "util/sleep"]);
    until_offered(sandbox, &["gz", "list", "--name", ""], &["Complete"]);
    until_offered(sandbox, &["gz", "list", "--status", "running,fa"], &["running,failed"]);
    assert!(!offered(sandbox, &["gz", "retry", ""]).contains(&run), "it has not failed");
    let files = offered(sandbox, &["gz", "run", "c"]);
    assert_eq!(files, ["complete.yaml"]);
    assert_eq!(offered(sandbox, &["gz", "run", "n"]), [""; 0], "it is no workflow");
    assert_eq!(offered(sandbox, &["gz", "run", "complete.yaml", "se"]), ["seconds="]);
    assert!(offered(sandbox, &["gz", "submit", "complete.yaml", ""]).contains(&"seconds=".to_owned()));
    assert_eq!(offered(sandbox, &["gz", "val"]), ["validate"]);
}

#[test]
fn shells_with_descriptions_get_a_description_of_each_run() {
    let mut cluster = Cluster::all_in_one(&[]);
    let url = cluster.url.clone();
    cluster.sandbox.set("GLEITZEIT_HUB_URL", &url);
    let run = cluster.submit(&cluster.sandbox.file("complete.yaml", WORKFLOW));
    for (shell, separator) in [("fish", "\t"), ("zsh", ":")] {
        let script = format!("GLEITZEIT_COMPLETE={shell} _CLAP_COMPLETE_INDEX=2 gleitzeit -- gleitzeit logs ''");
        let expected = format!("{run}{separator}Complete, running, ");
        until(&expected, PATIENCE, || bash(&cluster.sandbox, &script).stdout.contains(&expected).then_some(()));
        let script = cluster.sandbox.gleitzeit(&["completions", shell]).exits(0).stdout;
        assert!(script.contains("GLEITZEIT_COMPLETE") && script.contains("gz"), "{script}");
        let one = cluster.sandbox.gleitzeit(&["completions", shell, "--name", "gleitzeit"]).exits(0).stdout;
        assert!(!one.contains("gz"), "{one}");
    }
}

#[test]
fn completion_waits_for_nothing_prints_nothing_else_and_starts_nothing() {
    let mut sandbox = Sandbox::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = format!("http://127.0.0.1:{}", free_port());
    for url in [format!("http://{}", silent.local_addr().expect("an address")), nobody, "no address".to_owned()] {
        sandbox.set("GLEITZEIT_HUB_URL", &url);
        let script = "GLEITZEIT_COMPLETE=bash _CLAP_COMPLETE_INDEX=2 gleitzeit -- gleitzeit logs ''";
        let begun = Instant::now();
        let ended = bash(&sandbox, script).exits(0);
        // Options are offered all the same. The limit allows for a busy machine.
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        assert!(ended.stdout.contains("--hub-url") && ended.stderr.is_empty(), "{ended}");
        assert_eq!(std::fs::read_dir(sandbox.home()).expect("a home").count(), 0, "nothing was started");
    }
    let unknown = bash(&sandbox, "GLEITZEIT_COMPLETE=ksh gleitzeit -- gleitzeit logs ''").exits(1);
    assert!(unknown.stdout.is_empty() && unknown.stderr.is_empty(), "{unknown}");
}
