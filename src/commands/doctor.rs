//! `gleitzeit doctor`: checks whether this machine has what workflows need.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use gleitzeit_control_plane::StoreConfig;
use gleitzeit_mesh::wire::{Health, HealthState};
use gleitzeit_protocols::Registry;
use gleitzeit_providers::{Factory, Settings};
use gleitzeit_sdk::{Client, DEFAULT_URL};
use gleitzeit_workflow::ErrorCode;
use serde::Serialize;
use serde_json::json;

use crate::cli::{ClientArgs, DEFAULT_PORT, DoctorArgs};
use crate::color::Tone;
use crate::denied::Denied;
use crate::error::{CommandError, CommandResult, Exit};
use crate::signals::{OnSignal, block_on};
use crate::{client, color, hub_url, output, store_url, text, workers};

/// The result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Finding {
    Ok,
    /// Something is missing that not every workflow needs.
    Warning,
    /// Nothing will work in this state.
    Failed,
}

#[derive(Debug, Serialize)]
struct Check {
    name: String,
    finding: Finding,
    about: String,
    remedy: Option<String>,
}

impl Check {
    fn new(name: &str, finding: Finding, about: impl Into<String>) -> Self {
        Self { name: name.to_owned(), finding, about: about.into(), remedy: None }
    }

    fn remedy(self, text: impl Into<String>) -> Self {
        Self { remedy: Some(text.into()), ..self }
    }
}

pub(crate) fn run(args: DoctorArgs) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        let mut checks = vec![Check::new("version", Finding::Ok, env!("CARGO_PKG_VERSION"))];
        let settings = workers::machine();
        checks.push(platform(&settings));
        checks.extend(control_plane(&args).await);
        checks.push(store(args.store.as_deref()));
        checks.extend(providers(&settings).await);
        let is_fine = checks.iter().all(|check| check.finding != Finding::Failed);
        output::document(args.output.format(), &json!({ "checks": checks }), |_| checks.iter().map(text).collect())?;
        Ok(if is_fine { Exit::Success } else { Exit::Failed })
    })
}

/// The column where the text of a check begins: beside its name, or below it if there is no room.
const BESIDE: usize = 33;
const BELOW: usize = 9;
/// In a narrower terminal the text goes below the name.
const NARROW: usize = 80;

fn text(check: &Check) -> String {
    let mark = match check.finding {
        Finding::Ok => "ok",
        Finding::Warning => "warning",
        Finding::Failed => "FAILED",
    };
    let tone = match check.finding {
        Finding::Ok => Tone::Good,
        Finding::Warning => Tone::Warning,
        Finding::Failed => Tone::Bad,
    };
    let paint = color::stdout();
    let mark = paint.text(tone, &format!("{mark:8}"));
    let about = paint.marked(&text::clean(&check.about));
    let is_narrow = output::fitting_columns().is_some_and(|columns| columns < NARROW);
    let (about, indent) = match is_narrow {
        true => (format!("{mark} {}\n{:BELOW$}{about}", check.name, ""), BELOW),
        false => (format!("{mark} {:23} {about}", check.name), BESIDE),
    };
    let hang = if is_narrow { 0 } else { BESIDE };
    let remedy = check.remedy.as_ref().map(|remedy| format!("{:indent$}→ {}", "", paint.marked(remedy)));
    let lines = std::iter::once((about, hang)).chain(remedy.map(|remedy| (remedy, 2)));
    lines.map(|(line, hang)| format!("{}\n", output::wrapped(&line, hang))).collect()
}

/// Checks what the system provides to the processes of tasks.
fn platform(settings: &Settings) -> Check {
    match gleitzeit_providers::describe_platform(settings.portable) {
        (about, None) => Check::new("platform", Finding::Ok, about),
        (about, Some(remedy)) => Check::new("platform", Finding::Warning, about).remedy(remedy),
    }
}

/// Checks the control plane and its components, and whether all are of this version.
async fn control_plane(args: &DoctorArgs) -> Vec<Check> {
    let named = hub_url::named(args.hub_url.as_deref());
    let url = named.unwrap_or(DEFAULT_URL).to_owned();
    let reach = ClientArgs { hub_url: Some(url.clone()), token: args.token.clone() };
    let client = match client::connect(&reach).await {
        Ok(client) => client,
        Err(error) if named.is_none() => return vec![port(&error)],
        Err(error) => {
            let check = Check::new("control plane", Finding::Failed, error.message.clone());
            return vec![check.remedy(error.hint.unwrap_or_else(|| "start it, or unset GLEITZEIT_HUB_URL".to_owned()))];
        }
    };
    match client.status().await {
        Ok(status) => {
            let own = env!("CARGO_PKG_VERSION");
            let about = format!("version {} at {url}", status.version);
            let check = if status.version == own {
                Check::new("control plane", Finding::Ok, about)
            } else {
                Check::new("control plane", Finding::Warning, about).remedy(format!("this program is version {own}"))
            };
            vec![check, components(&client, &status.version).await]
        }
        Err(error) => {
            let check = Check::new("control plane", Finding::Failed, format!("{url}: {error}"));
            vec![check.remedy("set GLEITZEIT_TOKEN to its token, or GLEITZEIT_HUB_URL to another")]
        }
    }
}

/// Nothing answers at the default address: checks whether a control plane could be started there.
fn port(error: &CommandError) -> Check {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, DEFAULT_PORT)) {
        Ok(_) => Check::new("control plane", Finding::Ok, format!("none is running; port {DEFAULT_PORT} is free"))
            .remedy("`gleitzeit start --background` starts one; `gleitzeit run FILE` needs none"),
        Err(bind) => {
            let why = if error.code == ErrorCode::ConnectionRefused { bind.to_string() } else { error.message.clone() };
            Check::new("control plane", Finding::Warning, format!("port {DEFAULT_PORT} cannot be used: {why}"))
                .remedy("something else listens there: give `gleitzeit start` another --port")
        }
    }
}

async fn components(client: &Client, version: &str) -> Check {
    let all = client::all_pages(async |token| client.components(&[], token).await).await;
    let components = match all {
        Ok(components) => components,
        Err(error) => return Check::new("components", Finding::Failed, error.message),
    };
    let others: Vec<String> = components
        .iter()
        .filter(|it| !it.version.is_empty() && it.version != version && it.role != gleitzeit_sdk::Role::Provider)
        .map(|it| format!("{} {} is {}", it.role, it.name, it.version))
        .collect();
    if components.is_empty() {
        return Check::new("components", Finding::Warning, "no worker is connected")
            .remedy("start one: `gleitzeit agent`");
    }
    match others.is_empty() {
        true => Check::new("components", Finding::Ok, format!("{} are connected", components.len())),
        false => Check::new("components", Finding::Warning, format!("of another version: {}", others.join(", ")))
            .remedy("install the same version of workers and control plane"),
    }
}

/// Checks whether a journal can be stored.
fn store(url: Option<&str>) -> Check {
    let failed = |about: String, remedy: String| Check::new("store", Finding::Failed, about).remedy(remedy);
    let path = match store_url::parse(url) {
        Ok(StoreConfig::Sqlite(path)) => path,
        Ok(StoreConfig::Memory) => {
            return Check::new("store", Finding::Warning, "in memory: nothing is kept when the process ends");
        }
        Err(error) => return failed(error.message, error.hint.unwrap_or_default()),
    };
    // The folder, or its first existing ancestor, in which it would be created.
    let folder = path.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let remedy = "name a file that you may write with --store or GLEITZEIT_STORE_URL".to_owned();
    match tempfile::Builder::new().prefix(".gleitzeit-doctor-").tempfile_in(folder) {
        Ok(_) if path.is_dir() => failed(format!("`{}` is a folder", path.display()), remedy),
        Ok(_) => Check::new("store", Finding::Ok, path.display().to_string()),
        Err(error) => match Denied::of(&path) {
            Some(denied) => failed(denied.to_string(), denied.remedy(&remedy)),
            None => failed(format!("`{}` cannot be written: {error}", folder.display()), remedy),
        },
    }
}

/// How long to wait for each provider.
const PATIENCE: Duration = Duration::from_secs(20);

/// The health that the built-in providers report.
async fn providers(settings: &Settings) -> Vec<Check> {
    let registry = Registry::shipped();
    let mut checks = Vec::new();
    for definition in gleitzeit_providers::shipped() {
        let name = format!("provider {}", definition.name);
        checks.push(match Factory::build(&definition, &registry, settings) {
            Ok(provider) => {
                let asked = tokio::time::timeout(PATIENCE, provider.health()).await;
                let late = |_| Health::slow(format!("it did not answer within {} s", PATIENCE.as_secs()));
                let health = asked.unwrap_or_else(late);
                match health.state {
                    HealthState::Healthy if health.reason.is_none() => {
                        Check::new(&name, Finding::Ok, provider.methods().join(", "))
                    }
                    // What the machine does not offer the provider, or what blocks it.
                    _ => {
                        let why = health.reason.unwrap_or_else(|| "it gives no reason".to_owned());
                        Check::new(&name, Finding::Warning, why)
                    }
                }
            }
            Err(error) => Check::new(&name, Finding::Failed, error.to_string()),
        });
    }
    checks
}
