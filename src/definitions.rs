//! The protocols and providers that this process knows: shipped ones, and those that arguments and the environment name.

use std::path::{Path, PathBuf};

use gleitzeit_agent::merge_definitions;
use gleitzeit_protocols::{Protocol, Registry};
use gleitzeit_providers::Definition;
use gleitzeit_workflow::ErrorCode;
use gleitzeit_workflow::spec::Problem;
use gleitzeit_workflow::suggest::closest;

use crate::cli::DefinitionArgs;
use crate::error::CommandError;

/// The shipped protocols, and those in the given folder.
///
/// # Errors
/// All problems of all files.
pub(crate) fn registry(args: &DefinitionArgs) -> Result<Registry, CommandError> {
    let mut registry = Registry::shipped();
    let Some(folder) = &args.protocols_dir else { return Ok(registry) };
    let protocols = gleitzeit_protocols::load_files(folder).map_err(CommandError::problems)?;
    let mut problems = Vec::new();
    for (file, protocol) in protocols {
        if let Err(conflict) = registry.register(protocol) {
            problems.push(Problem::of_file(&file, ErrorCode::ProtocolVersionMismatch, conflict.to_string()));
        }
    }
    if problems.is_empty() { Ok(registry) } else { Err(CommandError::problems(problems)) }
}

/// The registry for a serving process: its schemas are compiled now, so that no request waits for them later.
///
/// # Errors
/// As [`registry`].
pub(crate) fn registry_to_serve(args: &DefinitionArgs) -> Result<Registry, CommandError> {
    let registry = registry(args)?;
    registry.prepare();
    Ok(registry)
}

/// The protocols that a control plane would know that is started from here without arguments.
///
/// # Errors
/// As [`registry`].
pub(crate) fn registry_of_environment() -> Result<Registry, CommandError> {
    let protocols_dir = std::env::var_os("GLEITZEIT_PROTOCOLS_DIR").filter(|folder| !folder.is_empty());
    registry(&DefinitionArgs { protocols_dir: protocols_dir.map(Into::into) })
}

/// The shipped providers, those of the folder, and those named one by one; a later one replaces an earlier one of the
/// same name.
///
/// # Errors
/// All problems of all files.
pub(crate) fn providers(
    folder: Option<&Path>,
    files: &[PathBuf],
    registry: &Registry,
) -> Result<Vec<Definition>, CommandError> {
    let mut problems = Vec::new();
    let mut take = |loaded: Result<Vec<Definition>, Vec<Problem>>| {
        loaded.unwrap_or_else(|found| {
            problems.extend(found);
            Vec::new()
        })
    };
    let from_folder = take(folder.map_or(Ok(Vec::new()), gleitzeit_providers::load_dir));
    let named: Vec<Definition> = files
        .iter()
        .flat_map(|file| take(gleitzeit_providers::load_file(file).map(|definition| vec![definition])))
        .collect();
    problems.extend(from_folder.iter().chain(&named).filter_map(|definition| unknown_protocol(definition, registry)));
    if problems.is_empty() {
        Ok(merge_definitions([gleitzeit_providers::shipped(), from_folder, named]))
    } else {
        Err(CommandError::problems(problems))
    }
}

/// The problem of a provider whose protocol is not known here.
fn unknown_protocol(definition: &Definition, registry: &Registry) -> Option<Problem> {
    let wanted = format!("{}/{}", definition.protocol, definition.version);
    if registry.methods(&definition.protocol, &definition.version).is_some() {
        return None;
    }
    // Only names are compared: version numbers of unrelated protocols look alike.
    let near = closest(&definition.protocol, registry.iter().map(|it| &it.name));
    let full = |it: &Protocol| format!("{}/{}", it.name, it.version);
    let hint = match near.and_then(|name| registry.iter().filter(|it| it.name == name).last()) {
        Some(meant) => format!("did you mean `{}`?", full(meant)),
        None => {
            let known: Vec<String> = registry.iter().map(full).collect();
            format!("known protocols: {}; others are read from the folder of `--protocols DIR`", known.join(", "))
        }
    };
    let message = format!("unknown protocol `{wanted}`");
    let problem = Problem::of_file(&definition.options.file, ErrorCode::ConfigurationError, message);
    Some(problem.at_spot(definition.protocol_place).hint(hint))
}
