//! A real nginx in front of a control plane, with the documented configuration.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::certificates::Certificate;
use super::process::{Ended, Process};
use super::sandbox::free_port;
use super::wait::{PATIENCE, until};

/// nginx with its own folder and port. It stops on drop.
pub(crate) struct Nginx {
    folder: PathBuf,
    process: Option<Process>,
    port: u16,
}

/// Whether this machine has nginx; a test without it prints a note and ends.
#[expect(clippy::print_stderr, reason = "whoever runs the tests is to know what was not tried")]
pub(crate) fn nginx_is_here(test: &str) -> bool {
    let is_here = Command::new(program()).arg("-v").stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !is_here {
        eprintln!("skipped: {test}: nginx is not installed");
    }
    is_here
}

/// Debian's location, which is not in everybody's `PATH`.
fn program() -> &'static str {
    if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" }
}

impl Nginx {
    /// Starts nginx as `localhost`, with this certificate, in front of a port of this machine; `change` modifies the
    /// documented configuration.
    pub(crate) fn start(
        folder: &Path,
        to: u16,
        certificate: &Certificate,
        change: impl FnOnce(String) -> String,
    ) -> Self {
        let port = free_port();
        let folder = folder.join(format!("nginx-{port}"));
        std::fs::create_dir_all(folder.join("said")).expect("a folder");
        let documented = include_str!("../../deploy/proxy/nginx.conf");
        let mut text = change(documented.to_owned());
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("  {kind}_temp_path {kind};\n"))
            .concat();
        for (from, to) in [
            ("listen 443", format!("listen 127.0.0.1:{port}")),
            ("127.0.0.1:8000", format!("127.0.0.1:{to}")),
            ("server_name hub.example", "server_name localhost".to_owned()),
            ("/etc/nginx/hub.example.pem", certificate.pem.display().to_string()),
            ("/etc/nginx/hub.example.key", certificate.key.display().to_string()),
            ("worker_processes auto", "worker_processes 2".to_owned()),
            ("\nhttp {\n", format!("\nhttp {{\n  access_log off;\n{temporary}")),
        ] {
            assert!(text.contains(from), "the configuration has no `{from}`");
            text = text.replace(from, &to);
        }
        std::fs::write(folder.join("nginx.conf"), text).expect("writable");
        let mut this = Self { folder, process: None, port };
        this.begin();
        this
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The content of its error log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("error.log")).unwrap_or_default()
    }

    /// Reloads the configuration: new workers take new connections, the old ones end with theirs.
    pub(crate) fn reload(&self) {
        let reloads = || self.log().matches("gracefully shutting down").count();
        let before = reloads();
        self.process.as_ref().expect("it runs").signal(Signal::HUP);
        until("the old workers stop listening", PATIENCE, || (reloads() >= before + 2).then_some(()));
    }

    /// Stops it with all its connections.
    pub(crate) fn stop(&mut self) -> Ended {
        self.process.take().expect("it runs").terminate(PATIENCE)
    }

    /// Starts it, also after [`Nginx::stop`].
    pub(crate) fn begin(&mut self) {
        let folder = self.folder.to_str().expect("UTF-8");
        // Otherwise its workers would run as another user than the owner of the folder.
        let user = if rustix::process::geteuid().is_root() { "user root; " } else { "" };
        let mut command = Command::new(program());
        command
            .args(["-e", "error.log", "-p", folder, "-c", "nginx.conf", "-g"])
            .arg(format!("daemon off; pid nginx.pid; error_log error.log notice; {user}"))
            .stdin(Stdio::null());
        let mut process = Process::start(command, &self.folder.join("said"));
        until("nginx listens", PATIENCE, || {
            assert!(process.is_running(), "nginx ended: {}\n{}", process.stderr(), self.log());
            std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
        self.process = Some(process);
    }
}
