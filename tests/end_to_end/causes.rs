//! Why runs failed, as people read it in every command that shows a run.

use crate::support::{Cluster, PATIENCE};

const FAILS: &str = r#"name: Causes
tasks:
  - id: code
    method: python/execute
    parameters: {code: "print('so far')\nraise ValueError('no luck')"}
  - id: command
    method: shell/run
    parameters: {command: "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do echo \"line $n\" >&2; done; exit 3"}
  - id: one
    method: util/fail
    parameters: {message: the same for both}
  - id: two
    method: util/fail
    parameters: {message: the same for both}
"#;

#[test]
fn each_failed_task_has_its_own_cause_and_equal_failures_are_shown_once() {
    let cluster = Cluster::all_in_one(&[]);
    let file = cluster.sandbox.file("causes.yaml", FAILS);
    let run = cluster.submit(&file);
    cluster.until_ended(&run);
    let submitted = cluster.client(&["submit", &file, "--wait"]).exits(1).stderr;
    let alone = cluster.sandbox.start(&["run", &file]).wait(PATIENCE).exits(1).stderr;
    let status = cluster.client(&["status", &run]).exits(0).stdout;
    for told in [submitted, alone, status] {
        let parts = [
            "task code failed: TASK_EXECUTION_FAILED (-29002): ValueError: no luck\n  its traceback:\n    Traceback",
            "task command failed: TASK_EXECUTION_FAILED (-29002): exit code 3\n  its stderr ends:\n    line 3\n",
            "    line 12\ntasks one, two failed: TASK_EXECUTION_FAILED (-29002): the same for both\n",
        ];
        for part in parts {
            assert_eq!(told.matches(part).count(), 1, "{part:?} in {told}");
        }
        assert!(!told.contains("line 2\n    line 3"), "{told}");
    }
    let watched = cluster.client(&["watch", &run]).exits(1).stdout;
    let of_code = watched.find("task code attempt 1 failed").expect("an event");
    assert!(watched[of_code..].lines().nth(1).is_some_and(|line| line == "  its traceback:"), "{watched}");
    let of_command = watched.find("task command attempt 1 failed").expect("an event");
    assert!(watched[of_command..].lines().nth(1).is_some_and(|line| line == "  its stderr ends:"), "{watched}");
}
