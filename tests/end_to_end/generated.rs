//! Clients in other languages, each made with only the commands of docs/GRPC.md: they survive a control plane that is
//! killed under them, and understand refusals. A language whose tools are missing, or whose packages cannot be fetched,
//! is skipped with a message; with `GLEITZEIT_ALL_CLIENTS=1` that is a failure.

use std::env;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tonic::Code;

use crate::support::{Cluster, Gateway, PATIENCE, Process, Sandbox, free_port, until};

/// How long the build of a client may take, including downloads and compilation.
const MAKING: Duration = Duration::from_secs(1_200);

/// Builds run one at a time: several compilers at once would leave no processor for the other tests.
static MAKER: Mutex<()> = Mutex::new(());

const TOKEN: &str = "a-token-for-generated-clients";

/// The address used in the documents.
const ADDRESS: &str = "127.0.0.1:8000";

/// A marker between the commands that build a client and those that start it.
const MADE: &str = "the client is made";

/// A marker before the second start.
const AGAIN: &str = "once more, behind a gateway";

/// How tools report that a package registry was unreachable; any other failure is a mistake of the document or the
/// client.
const UNREACHED: &[&str] = &[
    // Go
    "dial tcp",
    "proxyconnect tcp",
    "TLS handshake timeout",
    // npm
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ENETUNREACH",
    "ETIMEDOUT",
    "ERR_SOCKET_TIMEOUT",
    // pip
    "Failed to establish a new connection",
    "(connect timeout=",
    "Cannot connect to proxy",
    "Read timed out",
    // Maven
    "Unknown host",
    "Network is unreachable",
    "Name or service not known",
    "Temporary failure in name resolution",
    "Connection refused",
    "connect timed out",
    // Answers of proxies.
    "Tunnel connection failed",
    "403 Forbidden",
    "503 Service Unavailable",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The `sh` blocks of one section of the document.
fn commands(section: &str) -> String {
    let text = fs::read_to_string(root().join("docs/GRPC.md")).expect("readable");
    let (_, after) = text.split_once(&format!("\n## {section}\n")).unwrap_or_else(|| panic!("no section `{section}`"));
    let section = after.split("\n## ").next().unwrap_or_default();
    let blocks: Vec<&str> = section.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty(), "no commands in `{section}`");
    format!("set -eu\n{}", blocks.concat())
}

/// The commands that build a client and start it, once at each of the addresses, with markers in between.
fn told(section: &str, addresses: [&str; 2]) -> String {
    let commands = commands(section);
    let starting = commands.find(ADDRESS).unwrap_or_else(|| panic!("nothing of `{section}` calls {ADDRESS}"));
    let (making, starting) = commands.split_at(commands[..starting].rfind('\n').expect("not the first line") + 1);
    let [first, second] = addresses.map(|address| starting.replace(ADDRESS, address));
    format!("{making}echo '{MADE}'\n{first}echo '{AGAIN}'\n{second}")
}

/// A folder that looks like a checkout, for the files that the commands create.
fn checkout(sandbox: &Sandbox) -> PathBuf {
    let folder = sandbox.path().join("checkout");
    fs::create_dir(&folder).expect("a folder");
    for name in ["proto", "tests", "buf.gen.yaml"] {
        symlink(root().join(name), folder.join(name)).expect("writable");
    }
    folder
}

fn target() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_gleitzeit")).ancestors().nth(2).expect("the target folder")
}

/// The search path, with the tools that CI installs for the project.
fn search_path() -> String {
    format!("{}:{}", env::var("PATH").unwrap_or_default(), target().join("buf/node_modules/.bin").display())
}

/// The commands of a section, to be run in such a folder. They use this user's home, where tools are configured with
/// their package sources; downloads go below `target`.
fn shell(section: &str, folder: &Path, addresses: [&str; 2]) -> Command {
    let kept = target().join("clients");
    let maven = env::var("MAVEN_OPTS").unwrap_or_default();
    let mut command = Command::new("sh");
    command
        .args(["-c", &told(section, addresses)])
        .current_dir(folder)
        .env("PATH", search_path())
        .env("GLEITZEIT_TOKEN", TOKEN)
        .env("GOPATH", kept.join("go"))
        .env("GOCACHE", kept.join("go-build"))
        .env("GOTOOLCHAIN", "local")
        // Otherwise `cargo clean` could not remove Go's module cache.
        .env("GOFLAGS", "-modcacherw")
        .env_remove("GOWORK")
        .env("npm_config_cache", kept.join("npm"))
        .env("PIP_CACHE_DIR", kept.join("pip"))
        .env("MAVEN_OPTS", format!("{maven} -Dmaven.repo.local={}", kept.join("maven").display()))
        .stdin(Stdio::null());
    for name in ["no_proxy", "NO_PROXY", "no_grpc_proxy"] {
        let others = env::var(name).map(|others| format!(",{others}")).unwrap_or_default();
        command.env(name, format!("127.0.0.1{others}"));
    }
    command
}

/// A tool, and how to ask for its version.
struct Tool {
    program: &'static str,
    asked: &'static str,
    /// The text before the version number, and its minimum.
    at_least: Option<(&'static str, u32)>,
}

const fn tool(program: &'static str, asked: &'static str) -> Tool {
    Tool { program, asked, at_least: None }
}

const fn version(program: &'static str, asked: &'static str, before: &'static str, least: u32) -> Tool {
    Tool { program, asked, at_least: Some((before, least)) }
}

impl Tool {
    /// Says what is missing, if anything is.
    fn missing(&self) -> Option<String> {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{} {}", self.program, self.asked)]).env("PATH", search_path());
        let output = command.stdin(Stdio::null()).output().expect("sh starts");
        if !output.status.success() {
            return Some(format!("no `{}`", self.program));
        }
        let (before, least) = self.at_least?;
        let said = String::from_utf8_lossy(&output.stdout);
        let rest = said.trim().strip_prefix(before).unwrap_or_default();
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        let enough = digits.parse::<u32>().is_ok_and(|number| number >= least);
        (!enough).then(|| format!("`{}` is {}, and {before}{least} or newer is needed", self.program, said.trim()))
    }
}

/// One task that ends at once, and one that waits for a file.
fn workflow(go: &Path) -> String {
    format!(
        "name: Hello\ntasks:\n  - id: first\n    method: util/echo\n    parameters: {{text: hello}}\n  - id: wait\n    method: \
         shell/run\n    dependencies: [first]\n    parameters:\n      command: until [ -e '{}' ]; do sleep 0.1; done\noutputs: \
         {{said: '${{first.text}}'}}\n",
        go.display()
    )
}

/// Reports a skipped client, or fails if all are required.
fn leave_out(section: &str, why: &str) {
    let all = env::var_os("GLEITZEIT_ALL_CLIENTS").is_some_and(|value| value == "1");
    assert!(!all, "GLEITZEIT_ALL_CLIENTS=1, but the client in {section} cannot be tried: {why}");
    // Bypasses the test's output capture: a skipped client must be visible.
    let _ = writeln!(std::io::stderr(), "not tried: the client in {section}: {why}");
}

/// Waits until the client is built; returns the reason if a download failed.
fn make(client: &mut Process) -> Result<(), String> {
    let made = until("the client is made, or cannot be", MAKING, || {
        // The output is complete once the process has ended.
        let ended = !client.is_running();
        // Maven resets colours that it never set, before the text that follows.
        let made = client.stdout().lines().any(|line| line.ends_with(MADE));
        (made || ended).then_some(made)
    });
    if made {
        return Ok(());
    }
    let said = format!("{}{}", client.stdout(), client.stderr());
    match said.lines().find(|line| UNREACHED.iter().any(|word| line.contains(word))) {
        Some(line) => Err(format!("its packages cannot be fetched: {}", line.trim())),
        None => panic!("the commands of the document fail:\n{said}"),
    }
}

/// Builds the client of a section and runs it while the control plane is killed and comes back; then once more, while
/// its watches end with the codes that stand for a broken connection.
fn try_client(section: &str, tools: &[Tool]) {
    let missing: Vec<String> = tools.iter().filter_map(Tool::missing).collect();
    if !missing.is_empty() {
        return leave_out(section, &missing.join(", "));
    }
    let _made_alone = MAKER.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::new();
    cluster.sandbox.set("GLEITZEIT_TOKEN", TOKEN);
    cluster.start_all(&[]);
    let (folder, go) = (checkout(&cluster.sandbox), cluster.sandbox.path().join("go"));
    fs::write(folder.join("hello.yaml"), workflow(&go)).expect("writable");
    let gateway = Gateway::start(&cluster.url, &[Code::Internal, Code::Unknown, Code::Cancelled]);
    let addresses = [cluster.url.trim_start_matches("http://"), &gateway.address];
    let mut client = cluster.sandbox.start_command(shell(section, &folder, addresses));
    if let Err(why) = make(&mut client) {
        return leave_out(section, &why);
    }

    let event = client.said("event 6 ", PATIENCE);
    assert_eq!(event, "task_dispatched wait", "{}", client.stdout());
    cluster.kill_9_hub();
    cluster.start_all(&[]);
    fs::write(&go, "").expect("writable");
    check(&cluster, client);
    assert_eq!(gateway.left(), 0, "it was broken off as often as it was to be");
}

/// Checks the output of both runs of the client.
fn check(cluster: &Cluster, client: Process) {
    let ended = client.wait(PATIENCE).exits(0);
    let (first, second) = ended.stdout.split_once(&format!("{AGAIN}\n")).unwrap_or_else(|| panic!("{ended}"));
    let (run, kinds) = checked(first);
    // The client was cut off in the middle, so the events after the kill include the loss of the task.
    assert!(kinds.contains(&"task_requeued wait"), "{ended}");
    let runs = [run, checked(second).0];

    let listed = cluster.ask(&["list"]);
    let mut listed: Vec<&str> =
        listed["items"].as_array().expect("a list").iter().filter_map(|it| it["run_id"].as_str()).collect();
    // Ids sort by time.
    listed.sort_unstable();
    assert_eq!(listed, runs, "one run each time, of whichever request");
}

/// Checks a client's output; returns its run and the events that it saw.
fn checked(said: &str) -> (&str, Vec<&str>) {
    let lines: Vec<&str> = said.lines().collect();
    let all = |word: &str| -> Vec<&str> { lines.iter().filter_map(|line| line.strip_prefix(word)).collect() };
    let one = |word: &str| -> &str {
        let found = all(word);
        assert_eq!(found.len(), 1, "`{word}` in {said}");
        found[0]
    };

    let run = one("submitted ");
    assert_eq!(one("again ").to_lowercase(), format!("{run} true"), "{said}");

    let (numbers, kinds): (Vec<usize>, Vec<&str>) = all("event ")
        .into_iter()
        .map(|event| event.split_once(' ').expect("number and type"))
        .map(|(number, kind)| (number.parse::<usize>().expect("a number"), kind.trim()))
        .unzip();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>(), "each once, in order, without a gap: {said}");
    assert_eq!(kinds.last(), Some(&"workflow_completed"), "{said}");
    assert_eq!(one("ended "), "RUN_STATUS_COMPLETED {\"said\":\"hello\"}", "{said}");

    assert_eq!(one("refused "), "WORKFLOW_VALIDATION_FAILED", "{said}");
    let problems = [
        "tasks[0].methd WORKFLOW_VALIDATION_FAILED 4:5: unknown field `methd` in the task",
        "tasks[1].method METHOD_NOT_FOUND 5:21: unknown method `util/ecko`",
    ];
    assert_eq!(all("problem "), problems, "{said}");
    assert_eq!(one("stranger ").to_uppercase(), "UNAUTHENTICATED AUTHENTICATION_FAILED", "{said}");
    (run, kinds)
}

#[test]
fn a_client_in_go_is_made_by_the_commands_of_the_document_and_loses_nothing() {
    try_client("Go", &[version("go", "env GOVERSION", "go1.", 24), tool("buf", "--version")]);
}

#[test]
fn a_client_in_java_is_made_by_the_commands_of_the_document_and_loses_nothing() {
    try_client("Java", &[version("javac", "-version", "javac ", 17), tool("mvn", "--version")]);
}

#[test]
fn a_client_in_node_is_made_by_the_commands_of_the_document_and_loses_nothing() {
    try_client("Node", &[version("node", "--version", "v", 18), tool("npm", "--version")]);
}

#[test]
fn a_client_in_python_is_made_by_the_commands_of_the_document_and_loses_nothing() {
    try_client(
        "Python",
        &[version("python3", "--version", "Python 3.", 9), tool("python3", "-c 'import venv, ensurepip'")],
    );
}

/// The commands before those of the languages, in a new home; only the port differs.
#[test]
fn the_documented_control_plane_serves_clients() {
    let (sandbox, port) = (Sandbox::new(), free_port().to_string());
    let commands =
        commands("A control plane to call").replace("start --background", &format!("start --background --port {port}"));
    let script = format!(
        "{}\n[ -s hello.yaml ]\n[ \"$GLEITZEIT_TOKEN\" = \"$(cat \"$HOME/.local/state/gleitzeit/token-{port}\")\" ]\ngleitzeit status --hub-url \
         http://127.0.0.1:{port}\n",
        commands.replace("token-8000", &format!("token-{port}"))
    );
    let folder = Path::new(env!("CARGO_BIN_EXE_gleitzeit")).parent().expect("a folder");
    let mut command = Command::new("sh");
    command
        .args(["-c", &script])
        .current_dir(sandbox.path())
        .env("PATH", format!("{}:{}", folder.display(), env::var("PATH").unwrap_or_default()))
        .env("HOME", sandbox.home())
        .stdin(Stdio::null());
    for name in ["GLEITZEIT_HUB_URL", "GLEITZEIT_TOKEN", "GLEITZEIT_STORE_URL", "XDG_STATE_HOME", "XDG_DATA_HOME"] {
        command.env_remove(name);
    }
    sandbox.start_command(command).wait(PATIENCE).exits(0);
}
