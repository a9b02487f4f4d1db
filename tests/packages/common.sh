# What the tests of the packages share. Sourced by scripts that set `folder`, an empty folder of their own, and `bin`, where
# the programs are, and that call `plain` to run a command as a new user would: with a home of its own and nothing of
# Gleitzeit in the environment.
# Everything here runs with what macOS has, too: bash 3.2, no `timeout`, no nanoseconds of `date`, no `realpath`.

PATIENCE=60
started=()

fail() { echo "$(basename "$0"): $*" >&2; exit 1; }

# Ends what `in_background` started, whatever happened, and waits until nothing of it is left.
finish() {
  local group end=$((SECONDS + 20))
  # An empty list counts as unset before bash 4.4.
  for group in ${started[@]+"${started[@]}"}; do kill -- "-$group" 2>/dev/null || true; done
  for group in ${started[@]+"${started[@]}"}; do
    while kill -0 -- "-$group" 2>/dev/null; do
      [ $SECONDS -lt $end ] || kill -KILL -- "-$group" 2>/dev/null || true
      sleep 0.05
    done
  done
}
trap finish EXIT

# absolute PATH: of a file or folder that is there.
absolute() {
  if [ -d "$1" ]; then (cd "$1" && pwd); else echo "$(cd "$(dirname "$1")" && pwd)/$(basename "$1")"; fi
}

# plain COMMAND…: with `bin` as the first folder of the path. The alarm, which the command keeps, ends it after its patience.
plain() {
  env -i HOME="$folder/home" PATH="$bin:$(dirname "$(command -v node || echo /usr/bin/node)"):/usr/local/bin:/usr/bin:/bin" \
    ${GLEITZEIT_HUB_URL:+GLEITZEIT_HUB_URL="$GLEITZEIT_HUB_URL"} \
    perl -e 'alarm shift; exec @ARGV or die "cannot start $ARGV[0]: $!\n"' "$PATIENCE" "$@"
}

# In milliseconds.
now() { python3 -c 'import time; print(int(time.monotonic() * 1000))'; }

# expect TEXT COMMAND…: it ends with 0 and says the text.
expect() {
  local text="$1" said
  shift
  said=$("$@" 2>&1) || fail "\`$*\` ended with $?: $said"
  grep -qF -- "$text" <<<"$said" || fail "\`$*\` did not say \`$text\`: $said"
  echo "ok: $(sed -E 's/^(plain|of_test) //' <<<"$*")"
}

# until_says TEXT COMMAND…: asks again until it says the text.
until_says() {
  local text="$1" end=$((SECONDS + PATIENCE))
  shift
  until "$@" 2>&1 | grep -F -- "$text" >/dev/null; do
    [ $SECONDS -lt $end ] || fail "\`$*\` did not say \`$text\` within $PATIENCE s: $("$@" 2>&1 || true)"
    sleep 0.1
  done
}

# in_background NAME COMMAND…: in a process group of its own; its output goes into files of that name.
in_background() {
  local name="$1"
  shift
  # The deadline of `plain` holds for what ends by itself.
  set -m
  PATIENCE=600 "$@" >"$folder/$name.out" 2>"$folder/$name.err" </dev/null &
  started+=($!)
  set +m
}

# Starts a control plane, at a port that the system chooses, and names it to what follows.
start_control_plane() {
  in_background start plain gleitzeit start --port 0
  until_says 'ready at ' cat "$folder/start.out"
  GLEITZEIT_HUB_URL=$(sed -n 's/^ready at //p' "$folder/start.out")
}

# within SECONDS WHAT COMMAND…: prints how long it took, and refuses more. Without a number of seconds it only prints.
within() {
  local limit="$1" what="$2" begin took
  shift 2
  begin=$(now)
  "$@"
  took=$(($(now) - begin))
  echo "$what: $took ms"
  [ -z "$limit" ] || [ "$took" -le $((limit * 1000)) ] || fail "$what took $took ms; at most $limit s were allowed"
}
