//! The system calls that code under `sandbox: strict` is refused, as a program for the kernel's filter (seccomp). One
//! table serves all executors. The calls reach other processes, the network, the kernel's settings, or objects that
//! outlive the call.
//!
//! The invariant: whatever the filter lets through is made harmless by the other barriers (namespaces, mounts, no
//! capabilities), and whatever it refuses fails with EPERM, as if rights were missing.

use super::readiness::NotReady;
use crate::platform::Instruction;

/// The code that a filter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::executors) enum Stage {
    /// The code of a task, from its first instruction.
    Code,
    /// Our own programs, which create namespaces and mounts with the rights of root and then start the code without any
    /// rights.
    Mounting,
    /// The same, with the rights of a user namespace that they create; they forbid further ones before they start the
    /// code.
    MountingAsUser,
}

/// When a system call is refused.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// Always.
    Always,
    /// Except while the sandbox is being set up.
    ForCode,
    /// Unless the first argument, a process, is 0, which means the caller itself.
    ForOthers,
    /// If the first argument is 1: our own process, the first one of the call's namespace.
    ForFirst,
    /// Unless the first argument has this value, which says that the second is a process; and then if that process is
    /// 1.
    Priority(u32),
}

use Rule::{Always, ForCode, ForFirst, ForOthers, Priority};

/// By number on x86-64 and on ARM64 (`-1` if it does not exist there).
const REFUSED: &[(&str, i64, i64, Rule)] = &[
    // The network; socket pairs are handled below.
    ("socket", 41, 198, Always),
    ("connect", 42, 203, Always),
    ("bind", 49, 200, Always),
    ("listen", 50, 201, Always),
    // Other processes.
    ("ptrace", 101, 117, Always),
    ("process_vm_readv", 310, 270, Always),
    ("process_vm_writev", 311, 271, Always),
    ("process_madvise", 440, 440, Always),
    ("process_mrelease", 448, 448, Always),
    ("pidfd_getfd", 438, 438, Always),
    ("kcmp", 312, 272, Always),
    ("prlimit64", 302, 261, ForOthers),
    ("move_pages", 279, 239, ForOthers),
    ("migrate_pages", 256, 238, ForOthers),
    ("sched_setparam", 142, 118, ForFirst),
    ("sched_setscheduler", 144, 119, ForFirst),
    ("sched_setaffinity", 203, 122, ForFirst),
    ("sched_setattr", 314, 274, ForFirst),
    ("setpriority", 141, 140, Priority(0)),
    ("ioprio_set", 251, 30, Priority(1)),
    // Mounts and namespaces.
    ("mount", 165, 40, ForCode),
    ("umount2", 166, 39, ForCode),
    ("pivot_root", 155, 41, ForCode),
    ("open_tree", 428, 428, ForCode),
    ("move_mount", 429, 429, ForCode),
    ("fsopen", 430, 430, ForCode),
    ("fsconfig", 431, 431, ForCode),
    ("fsmount", 432, 432, ForCode),
    ("fspick", 433, 433, ForCode),
    ("mount_setattr", 442, 442, ForCode),
    ("open_tree_attr", 467, 467, ForCode),
    ("unshare", 272, 97, ForCode),
    ("chroot", 161, 51, Always),
    ("setns", 308, 268, Always),
    // The kernel and its settings.
    ("keyctl", 250, 219, Always),
    ("add_key", 248, 217, Always),
    ("request_key", 249, 218, Always),
    ("bpf", 321, 280, Always),
    ("perf_event_open", 298, 241, Always),
    ("userfaultfd", 323, 282, Always),
    ("kexec_load", 246, 104, Always),
    ("kexec_file_load", 320, 294, Always),
    ("init_module", 175, 105, Always),
    ("finit_module", 313, 273, Always),
    ("delete_module", 176, 106, Always),
    ("reboot", 169, 142, Always),
    ("swapon", 167, 224, Always),
    ("swapoff", 168, 225, Always),
    ("acct", 163, 89, Always),
    ("io_uring_setup", 425, 425, Always),
    ("io_uring_enter", 426, 426, Always),
    ("io_uring_register", 427, 427, Always),
    // Access to files other than by name, and notifications about files of other processes.
    ("open_by_handle_at", 304, 265, Always),
    ("name_to_handle_at", 303, 264, Always),
    ("inotify_init", 253, -1, Always),
    ("inotify_init1", 294, 26, Always),
    ("inotify_add_watch", 254, 27, Always),
    ("fanotify_init", 300, 262, Always),
    // Memory that no limit counts, and memory and messages that outlive the call.
    ("memfd_create", 319, 279, Always),
    ("memfd_secret", 447, 447, Always),
    ("shmget", 29, 194, Always),
    ("shmat", 30, 196, Always),
    ("shmctl", 31, 195, Always),
    ("semget", 64, 190, Always),
    ("semop", 65, 193, Always),
    ("semctl", 66, 191, Always),
    ("semtimedop", 220, 192, Always),
    ("msgget", 68, 186, Always),
    ("msgsnd", 69, 189, Always),
    ("msgrcv", 70, 188, Always),
    ("msgctl", 71, 187, Always),
    ("mq_open", 240, 180, Always),
    ("mq_unlink", 241, 181, Always),
];

/// A machine whose system call numbers are known.
#[derive(Clone, Copy, Debug)]
struct Machine {
    /// The kernel's name for it in a filter (`AUDIT_ARCH_…`).
    audit: u32,
    unshare: u32,
    clone: u32,
    clone3: u32,
    socketpair: u32,
    is_x86: bool,
}

const X86_64: Machine =
    Machine { audit: 0xC000_003E, unshare: 272, clone: 56, clone3: 435, socketpair: 53, is_x86: true };
const AARCH64: Machine =
    Machine { audit: 0xC000_00B7, unshare: 97, clone: 220, clone3: 435, socketpair: 199, is_x86: false };

const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const ANY_BIT: u16 = 0x45;
const MASK: u16 = 0x54;
const LEAVE: u16 = 0x06;
/// The offsets of what a filter sees (`struct seccomp_data`); of arguments, the lower half.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST: u32 = 16;
const SECOND: u32 = 24;

const ALLOW: Instruction = (LEAVE, 0, 0, 0x7FFF_0000);
const KILL: Instruction = (LEAVE, 0, 0, 0x8000_0000);
const EPERM: Instruction = (LEAVE, 0, 0, 0x0005_0001);
const ENOSYS: Instruction = (LEAVE, 0, 0, 0x0005_0026);

/// Flags of `clone` and `unshare`.
const NEW_USER: u32 = 0x1000_0000;
const NEW_ANYTHING: u32 = 0x7E02_0000;

/// The filter program for this machine.
///
/// # Errors
/// If the system calls of this machine are not known here.
pub(in crate::executors) fn filter(stage: Stage) -> Result<Vec<Instruction>, NotReady> {
    let machine = match std::env::consts::ARCH {
        "x86_64" => X86_64,
        "aarch64" => AARCH64,
        other => {
            let why = format!("`sandbox: strict` is not possible here: the system calls of {other} are not known here");
            return Err(NotReady::Refused(why));
        }
    };
    Ok(program(machine, stage))
}

/// The program as text that `strict.py` reads: eight bytes per instruction, in hexadecimal digits.
pub(in crate::executors) fn hexadecimal(program: &[Instruction]) -> String {
    let bytes = program.iter().flat_map(|(operation, yes, no, operand)| {
        let [low, high] = operation.to_le_bytes();
        let [a, b, c, d] = operand.to_le_bytes();
        [low, high, *yes, *no, a, b, c, d]
    });
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

fn program(machine: Machine, stage: Stage) -> Vec<Instruction> {
    let mut code = vec![(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, machine.audit), KILL, (LOAD, 0, 0, NUMBER)];
    if machine.is_x86 {
        // The numbers of the 32-bit variant of x86-64.
        code.extend([(AT_LEAST, 0, 1, 0x4000_0000), EPERM]);
    }
    for (_, x86, arm, rule) in REFUSED {
        let Ok(number) = u32::try_from(if machine.is_x86 { *x86 } else { *arm }) else { continue };
        match rule {
            ForCode if stage != Stage::Code => {}
            Always | ForCode => code.extend([(EQUAL, 0, 1, number), EPERM]),
            ForOthers => {
                code.extend([(EQUAL, 0, 4, number), (LOAD, 0, 0, FIRST), (EQUAL, 1, 0, 0), EPERM, ALLOW]);
            }
            ForFirst => code.extend([(EQUAL, 0, 4, number), (LOAD, 0, 0, FIRST), (EQUAL, 0, 1, 1), EPERM, ALLOW]),
            Priority(process) => code.extend([
                (EQUAL, 0, 6, number),
                (LOAD, 0, 0, FIRST),
                (EQUAL, 0, 2, *process),
                (LOAD, 0, 0, SECOND),
                (EQUAL, 0, 1, 1),
                EPERM,
                ALLOW,
            ]),
        }
    }
    if stage == Stage::Mounting {
        code.extend([(EQUAL, 0, 4, machine.unshare), (LOAD, 0, 0, FIRST), (ANY_BIT, 0, 1, NEW_USER), EPERM, ALLOW]);
    }
    // Its flags are behind a pointer, out of the filter's reach. If it seems to be missing, libraries use `clone`.
    code.extend([(EQUAL, 0, 1, machine.clone3), ENOSYS]);
    code.extend([(EQUAL, 0, 4, machine.clone), (LOAD, 0, 0, FIRST), (ANY_BIT, 0, 1, NEW_ANYTHING), EPERM, ALLOW]);
    // Socket pairs within the call are harmless if they are connected for good: AF_UNIX and SOCK_STREAM.
    code.extend([
        (EQUAL, 0, 7, machine.socketpair),
        (LOAD, 0, 0, FIRST),
        (EQUAL, 0, 3, 1),
        (LOAD, 0, 0, SECOND),
        (MASK, 0, 0, 0xF),
        (EQUAL, 1, 0, 1),
        EPERM,
        ALLOW,
    ]);
    code.push(ALLOW);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter program on a system call; returns its verdict.
    fn decide(code: &[Instruction], machine: Machine, number: u32, first: u32, second: u32) -> u32 {
        let (mut at, mut value) = (0_usize, 0_u32);
        loop {
            let (operation, yes, no, operand) = code[at];
            at += 1;
            let holds = match operation {
                LOAD => {
                    value = match operand {
                        NUMBER => number,
                        ARCHITECTURE => machine.audit,
                        FIRST => first,
                        SECOND => second,
                        other => panic!("no such place: {other}"),
                    };
                    continue;
                }
                MASK => {
                    value &= operand;
                    continue;
                }
                LEAVE => return operand,
                EQUAL => value == operand,
                AT_LEAST => value >= operand,
                ANY_BIT => value & operand != 0,
                other => panic!("no such operation: {other}"),
            };
            at += usize::from(if holds { yes } else { no });
        }
    }

    #[test]
    fn the_refused_system_calls_are_the_same_on_every_machine() {
        for machine in [X86_64, AARCH64] {
            let column = |x86: u32, arm: u32| if machine.is_x86 { x86 } else { arm };
            let says = |stage: Stage, number: u32, first: u32, second: u32| {
                decide(&program(machine, stage), machine, number, first, second)
            };
            let (allowed, refused) = (ALLOW.3, EPERM.3);
            for (name, x86, arm, rule) in REFUSED {
                let Ok(number) = u32::try_from(if machine.is_x86 { *x86 } else { *arm }) else { continue };
                let (self_only, first, other) =
                    (says(Stage::Code, number, 0, 0), says(Stage::Code, number, 1, 0), says(Stage::Code, number, 7, 0));
                match rule {
                    Always | ForCode => assert_eq!([self_only, first, other], [refused; 3], "{name}"),
                    ForOthers => assert_eq!([self_only, first, other], [allowed, refused, refused], "{name}"),
                    ForFirst => assert_eq!([self_only, first, other], [allowed, refused, allowed], "{name}"),
                    Priority(process) => {
                        let who = [0, 1, 7].map(|who| says(Stage::Code, number, *process, who));
                        assert_eq!(who, [allowed, refused, allowed], "{name}");
                        assert_eq!(says(Stage::Code, number, process + 1, 0), refused, "{name}: of a group or a user");
                    }
                }
                let mounting = says(Stage::Mounting, number, 7, 0);
                assert_eq!(mounting == allowed, matches!(rule, ForCode | ForFirst), "{name}");
            }
            assert_eq!(says(Stage::Mounting, machine.unshare, NEW_USER, 0), refused);
            assert_eq!(says(Stage::MountingAsUser, machine.unshare, NEW_USER, 0), allowed);
            assert_eq!(says(Stage::Mounting, machine.unshare, 0x0002_0000, 0), allowed);
            for stage in [Stage::Code, Stage::Mounting, Stage::MountingAsUser] {
                assert_eq!(says(stage, machine.clone3, 0, 0), ENOSYS.3);
                assert_eq!(says(stage, machine.clone, 17, 0), allowed, "an ordinary fork");
                assert_eq!(says(stage, machine.clone, NEW_USER | 17, 0), refused);
                assert_eq!(says(stage, machine.socketpair, 1, 0x80001), allowed);
                assert_eq!(says(stage, machine.socketpair, 1, 2), refused);
                assert_eq!(says(stage, machine.socketpair, 2, 1), refused);
                assert_eq!(says(stage, column(0, 63), 0, 0), allowed, "read");
            }
            let foreign = Machine { audit: 3, ..machine };
            assert_eq!(decide(&program(machine, Stage::Code), foreign, 0, 0, 0), KILL.3);
        }
        assert_eq!(decide(&program(X86_64, Stage::Code), X86_64, 0x4000_0000, 0, 0), EPERM.3);
    }

    #[test]
    fn as_text_an_instruction_is_eight_bytes() {
        assert_eq!(hexadecimal(&[(LOAD, 0, 0, 4), (EQUAL, 1, 2, 0xC000_003E)]), "2000000004000000150001023e0000c0");
    }
}
