//! Checks that published packages have what registries require, and that the version is defined in one place.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Crates for use by other programs, besides the program itself.
const FOR_OTHERS: &[&str] = &[
    "gleitzeit",
    "gleitzeit-link",
    "gleitzeit-mesh",
    "gleitzeit-proto",
    "gleitzeit-run",
    "gleitzeit-sdk",
    "gleitzeit-workflow",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The crates of the workspace that may be published.
fn published() -> Vec<Value> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--no-deps"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let metadata: Value = serde_json::from_slice(&out.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages.filter(|package| package["publish"].is_null()).cloned().collect()
}

#[test]
fn every_crate_says_what_the_registry_asks_for() {
    let published = published();
    let names: BTreeSet<&str> = published.iter().filter_map(|package| package["name"].as_str()).collect();
    assert!(FOR_OTHERS.iter().all(|name| names.contains(name)), "{names:?}");
    for package in &published {
        let name = &package["name"];
        for field in ["description", "license", "repository", "readme", "rust_version"] {
            assert!(package[field].as_str().is_some_and(|text| !text.is_empty()), "{name} has no {field}");
        }
        let words = |field: &str| package[field].as_array().map_or(0, Vec::len);
        // The registry accepts five of each, and keywords of at most twenty letters.
        assert!((1..=5).contains(&words("keywords")) && (1..=5).contains(&words("categories")), "{name}");
        let keywords = package["keywords"].as_array().into_iter().flatten().filter_map(Value::as_str);
        assert!(keywords.into_iter().all(|word| word.len() <= 20), "{name}");
        let folder = PathBuf::from(package["manifest_path"].as_str().expect("a path"));
        for file in ["README.md", "LICENSE-APACHE", "LICENSE-MIT"] {
            assert!(folder.with_file_name(file).is_file(), "{name} has no {file}");
        }
    }
}

#[test]
fn inner_dependencies_have_the_version_of_the_workspace() {
    for package in published() {
        let (name, version) = (&package["name"], &package["version"]);
        assert_eq!(version, env!("CARGO_PKG_VERSION"), "{name}");
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let inner = dependency["path"].is_string() && dependency["kind"] != "dev";
            let wanted = format!("^{}", env!("CARGO_PKG_VERSION"));
            assert!(!inner || dependency["req"] == wanted, "{name} wants {} {}", dependency["name"], dependency["req"]);
        }
    }
}

#[test]
fn the_other_packages_have_no_version_of_their_own() {
    let npm: Value = serde_json::from_str(&read("packages/npm/gleitzeit/package.json")).expect("JSON");
    assert!(npm["version"].is_null() && npm["optionalDependencies"].is_null(), "packages/npm/pack.mjs writes them");
    for name in ["pyproject.toml", "sdk/python/pyproject.toml"] {
        let text = read(name);
        assert!(
            text.contains("\"version\"") && !text.contains("\nversion"),
            "{name} takes its version from Cargo.toml"
        );
    }
}
