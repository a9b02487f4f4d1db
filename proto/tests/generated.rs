//! The generated code and descriptors are those of `gleitzeit/v1/*.proto`. Written anew, without protoc, with
//! `UPDATE_PROTO=1 cargo test -p gleitzeit-proto --test generated`.
//!
//! They stand in the tree, so that nobody who only builds has to compile what generates them: some thirty crates.

use std::fs;
use std::path::{Path, PathBuf};

fn proto_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("readable").path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "proto")).collect();
    files.sort();
    files
}

/// Writes both files into a folder.
fn generate(root: &Path, out: &Path) {
    let mut compiler = protox::Compiler::new([root]).expect("the folder is there");
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(proto_files(&root.join("gleitzeit/v1"))).expect("valid proto files");
    tonic_prost_build::configure()
        // In a fixed order: the same message has the same bytes, by which a repeated request is known.
        .btree_map(".")
        .out_dir(out)
        .emit_rerun_if_changed(false)
        .compile_fds(compiler.file_descriptor_set())
        .expect("code can be generated");
    // Reflection serves this one: comments would only make it larger.
    compiler.include_source_info(false);
    fs::write(out.join("gleitzeit.v1.bin"), compiler.encode_file_descriptor_set()).expect("writable");
}

#[test]
fn the_generated_files_are_those_of_the_proto_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (committed, made) = (root.join("src/generated"), Path::new(env!("CARGO_TARGET_TMPDIR")).join("proto"));
    let out = if std::env::var_os("UPDATE_PROTO").is_some() { &committed } else { &made };
    fs::create_dir_all(out).expect("writable");
    generate(root, out);
    for name in ["gleitzeit.v1.rs", "gleitzeit.v1.bin"] {
        let read = |folder: &Path| fs::read(folder.join(name)).unwrap_or_default();
        assert!(
            read(out) == read(&committed),
            "src/generated/{name} is not what the proto files say; \
             run UPDATE_PROTO=1 cargo test -p gleitzeit-proto --test generated"
        );
    }
}
