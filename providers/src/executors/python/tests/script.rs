//! Scripts by name, their arguments, and checking without running.

use gleitzeit_protocols::Registry;
use serde_json::json;

use super::*;

impl Bench {
    async fn validate(&self, code: &str) -> Value {
        let call = Call { method: "python/validate".into(), params: Payload::from_value(&json!({"code": code})) };
        let outcome = self.python.call(call, Context::default()).await.expect("runs").to_value().expect("JSON");
        Registry::shipped().validate_result("python/validate", "v1", &outcome).expect("fits the protocol");
        outcome
    }
}

#[tokio::test]
async fn a_script_runs_by_name_with_arguments_at_every_level() {
    let scripts = tempfile::tempdir().expect("folder");
    std::fs::create_dir(scripts.path().join("reports")).expect("made");
    let text = "import sys\nprint(__name__)\nresult = [sys.argv, context['n'], __file__.endswith('add.py')]\n\
                if context['n'] == 2:\n    raise ValueError('two')\n";
    std::fs::write(scripts.path().join("reports/add.py"), text).expect("written");
    let levels: &[&str] = if is_portable() { &["limits"] } else { &["limits", "strict"] };
    for level in levels {
        let bench = bench_with(&format!("sandbox: {level}\nscripts_dir: {:?}", scripts.path()));
        let params = |n: i32| json!({"file": "reports/add.py", "args": ["--x", "ü $(id)"], "context": {"n": n}});
        let outcome = bench.execute(params(1), Context::default()).await.expect("runs");
        assert_eq!(outcome["result"], json!([["reports/add.py", "--x", "ü $(id)"], 1, true]));
        assert_eq!(outcome["output"], json!("__main__\n"));
        let error = bench.execute(params(2), Context::default()).await.expect_err("fails");
        let traceback = error.data["traceback"].as_str().expect("text");
        assert!(traceback.contains("\"reports/add.py\", line 5") && traceback.contains("raise Val"), "{traceback}");
    }
}

#[tokio::test]
async fn scripts_outside_of_their_folder_are_refused() {
    let all = tempfile::tempdir().expect("folder");
    let scripts = all.path().join("scripts");
    std::fs::create_dir(&scripts).expect("made");
    std::fs::write(all.path().join("other.py"), "result = 1").expect("written");
    std::fs::write(scripts.join("latin.py"), b"# \xe9\n").expect("written");
    std::os::unix::fs::symlink(all.path().join("other.py"), scripts.join("link.py")).expect("linked");
    let made = std::process::Command::new("mkfifo").arg(scripts.join("pipe.py")).status();
    assert!(made.is_ok_and(|made| made.success()), "a pipe");
    let bench = bench_with(&format!("scripts_dir: {scripts:?}"));
    let absolute = all.path().join("other.py").to_string_lossy().into_owned();
    for (file, expected) in [
        ("../other.py", "not below `scripts_dir`"),
        ("link.py", "not below `scripts_dir`"),
        (&absolute, "not below `scripts_dir`"),
        (".", "a folder, no regular file"),
        ("pipe.py", "a pipe, no regular file"),
        ("none.py", "No such file"),
        ("a\0b", "NUL byte"),
        ("latin.py", "invalid utf-8"),
    ] {
        let error = bench.execute(json!({"file": file}), Context::default()).await.expect_err(file);
        assert_eq!(error.code, ErrorCode::InvalidParams, "{file}");
        assert!(error.message.contains(expected), "{file}: {}", error.message);
    }
    let all_of_it = bench_with("scripts_dir: /proc/self");
    let error = all_of_it.execute(json!({"file": "environ"}), Context::default()).await.expect_err("no file");
    assert_eq!(error.code, ErrorCode::InvalidParams);
    assert!(error.message.contains("a view into the running system"), "{}", error.message);
    let error = self::bench().execute(json!({"file": "a.py"}), Context::default()).await.expect_err("no folder");
    assert!(error.message.contains("name their folder with `scripts_dir`"), "{}", error.message);
    for params in [json!({}), json!({"code": "1", "file": "a.py"})] {
        let error = bench.execute(params.clone(), Context::default()).await.expect_err("neither or both");
        assert!(error.message.contains("either `code` or `file`"), "{}", error.message);
        Registry::shipped().validate_parameters("python/execute", "v1", &params).expect_err("refused before");
    }
}

#[tokio::test]
async fn validating_finds_the_place_and_runs_nothing() {
    let bench = bench();
    let marker = bench.temp.path().join("ran");
    let code = format!("open({marker:?}, 'w')\nresult = '\\d'");
    assert_eq!(bench.validate(&code).await, json!({"valid": true, "errors": []}));
    assert!(!marker.exists());
    let outcome = bench.validate("x = 1\nif x\n    y = 2\n").await;
    assert_eq!((&outcome["valid"], &outcome["errors"][0]["line"]), (&json!(false), &json!(2)));
    assert_eq!(outcome["errors"][0]["column"], json!(5));
    // Before 3.10 Python does not say what it expected.
    let said = outcome["errors"][0]["message"].as_str().expect("text");
    assert!(said.contains("expected ':'") || said == "invalid syntax", "{outcome}");
    for broken in ["x = '\0'", "return 1", &format!("x = {}1{}", "(".repeat(500), ")".repeat(500)), "\u{202e}"] {
        assert_eq!(bench.validate(broken).await["valid"], json!(false), "{broken:?}");
    }
}
