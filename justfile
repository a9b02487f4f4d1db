# What CI runs: `.ci/run` installs what a fresh Debian machine lacks and runs these recipes. `just` lists them, CONTRIBUTING.md says
# what each of them needs.

set shell := ["bash", "-euo", "pipefail", "-c"]

target := env("CARGO_TARGET_DIR", justfile_directory() / "target")
python := target / "python-sdk"
# The program that is tried where no test names its own. GLEITZEIT_BIN names one that is there already.
named := env("GLEITZEIT_BIN", "")
program := if named == "" { target / "ci/bin/gleitzeit" } else { named }

export PATH := target / "tools/bin" + ":" + env("PATH")

_default:
    @just --list --unsorted

# All of it, side by side where that is faster
ci:
    .ci/run

# rustfmt would change nothing
fmt:
    cargo fmt --all --check

# clippy in all targets; a warning is an error
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# The documentation of all crates, without warnings
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# Proto files: buf's lint, and that nothing is gone which was promised
proto: (_tool "buf")
    buf lint proto
    buf breaking proto --against proto/promised.binpb

# The tests, by the command of the README
test:
    #!/usr/bin/env bash
    set -euo pipefail
    command=$(sed -n 's/^\(cargo test .*\)$/\1/p' README.md | head -n 1)
    [ -n "$command" ] || { echo "README.md names no test command"; exit 1; }
    echo "\$ $command"
    eval "$command"

# The suites of Python and shell: the portable way, an interpreter for each call, each Python of this machine
suites:
    cargo test --locked --package gleitzeit-providers --lib -- --ignored whole_suite

# The benchmark suite in a short version, in which no time is asserted
bench:
    cargo bench --profile dev --locked --quiet --bench suite -- --quick

# The program, as a copy that the recipes below use: Cargo and maturin replace their own while they build
program:
    cargo build --locked --quiet
    mkdir -p '{{ target }}/ci/bin'
    install -m 755 '{{ target }}/debug/gleitzeit' '{{ target }}/debug/gz' '{{ target }}/ci/bin/'

# The Python package: types and tests
python: _program _venv
    '{{ python }}/bin/python' -m pip install --quiet --editable './sdk/python[dev]'
    cd sdk/python && '{{ python }}/bin/mypy' && GLEITZEIT_BIN='{{ program }}' '{{ python }}/bin/pytest' -q

# The packages for pip and npm: built without warnings, and used in empty folders
packages: _venv
    '{{ python }}/bin/python' -m pip install --quiet 'maturin>=1.9,<2'
    rm -rf '{{ target }}/dist'
    PATH='{{ python }}/bin':"$PATH" packages/build '{{ target }}/dist' dev
    tests/packages/wheel '{{ target }}'/dist/*.whl '{{ target }}/try-wheel'
    tests/packages/npm '{{ target }}/dist/npm' '{{ target }}/try-npm'

# The packages for Cargo: compiled each from its package, and used in an empty folder
crates: _program
    cargo package --workspace --locked --allow-dirty --no-verify --quiet --target-dir '{{ target }}/packages'
    tests/packages/crates '{{ target }}/packages/package' '{{ program }}'

# The README's commands in a root with a shell and python3, without HOME; needs root
minimal-root: _program
    [ "$(id -u)" = 0 ] || { echo "left out: .ci/minimal-root needs root"; exit 0; }; .ci/minimal-root '{{ program }}' '{{ target }}/minimal-root'

# Deployment: units, package, chart, compose, image, alerts; needs root
deploy: _program
    [ "$(id -u)" = 0 ] || { echo "left out: .ci/deploy needs root"; exit 0; }; GLEITZEIT_BIN='{{ program }}' .ci/deploy '{{ target }}/deploy'

# Other platforms: clippy for macOS and Linux on ARM64, and a first run of the ARM64 program in an emulator
platforms:
    .ci/platforms '{{ target }}/platforms'

# Fuzzing, a little of each target, the same each time
fuzz: (_tool "cargo-fuzz")
    #!/usr/bin/env bash
    set -euo pipefail
    cd fuzz
    # The stable toolchain is enough; cargo-fuzz passes flags that it guards. No optimization: compiling takes longer than 3,000 inputs.
    # No sanitizer: what is fuzzed are parsers without unsafe code, and a sanitizer doubles both.
    export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR='{{ target }}/fuzz' CARGO_PROFILE_RELEASE_OPT_LEVEL=0
    cargo fuzz build --sanitizer none
    run() {
      mkdir -p "corpus/$1"
      # The time is a limit for what hangs; 3,000 inputs take less, beside other work too.
      cargo fuzz run --sanitizer none "$1" "corpus/$1" "seeds/$1" -- -seed=1 -runs=3000 -max_total_time=300 -rss_limit_mb=2048 -timeout=25 -verbosity=0 -print_funcs=0
    }
    export -f run
    cargo fuzz list | xargs -P "$(nproc)" -I '{}' bash -euo pipefail -c 'run {}'

# Puts a tool into target/tools/bin if it is not on the path.
_tool name:
    @.ci/tools {{ name }}

_program:
    @{{ if named == "" { "just program" } else { ":" } }}

_venv:
    @[ -x '{{ python }}/bin/python' ] || python3 -m venv '{{ python }}'
