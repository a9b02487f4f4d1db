//! Checks what all dependencies, for every platform, are licensed under and where they come from.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, LicenseReq};

/// The licences that a dependency may ask for. CDLA-Permissive-2.0 is that of the list of certificates that TLS ships
/// with: data, no code.
const ALLOWED: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Zlib",
];

/// The packages of `Cargo.lock`, those of this workspace included.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "needs the packages of all platforms (`cargo fetch --locked`): {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

fn name(package: &Value) -> String {
    format!("{} {}", package["name"].as_str().expect("a name"), package["version"].as_str().expect("a version"))
}

/// Why a package may not be used under its licence; `None` if it may.
fn refusal(license: Option<&str>) -> Option<String> {
    let Some(license) = license else { return Some("it states no licence".to_owned()) };
    let expression = match Expression::parse_mode(license, spdx::ParseMode::LAX) {
        Ok(expression) => expression,
        Err(error) => return Some(format!("`{license}` is no SPDX expression: {}", error.reason)),
    };
    let is_allowed = |asked: &LicenseReq| ALLOWED.contains(&asked.to_string().as_str());
    (!expression.evaluate(is_allowed)).then(|| format!("`{license}` is not satisfied by the licences that are allowed"))
}

#[test]
fn every_dependency_is_licensed_as_allowed() {
    let packages = packages();
    assert!(packages.len() > 200, "{} packages", packages.len());
    let refused: Vec<String> = packages
        .iter()
        .filter_map(|package| Some(format!("{}: {}", name(package), refusal(package["license"].as_str())?)))
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn a_licence_counts_if_one_that_is_allowed_satisfies_it() {
    for license in ["MIT", "MIT OR GPL-3.0-only", "MIT/Apache-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
        assert_eq!(refusal(Some(license)), None, "{license}");
    }
    for license in [None, Some("GPL-3.0-only"), Some("MIT AND GPL-3.0-only"), Some("AGPL-3.0-or-later"), Some("mine")] {
        assert!(refusal(license).is_some(), "{license:?}");
    }
}

#[test]
fn every_dependency_comes_in_a_version_from_one_registry() {
    let packages = packages();
    let sources: BTreeSet<&str> = packages.iter().filter_map(|package| package["source"].as_str()).collect();
    assert!(sources.len() == 1 && sources.iter().all(|source| source.starts_with("registry+")), "{sources:?}");
    let own = packages.iter().filter(|package| package["source"].is_null());
    for package in own {
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let is_wild = dependency["req"] == "*" && dependency["path"].is_null();
            assert!(!is_wild, "{} takes any version of {}", name(package), dependency["name"]);
        }
    }
}
