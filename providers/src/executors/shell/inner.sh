# Becomes the command: $1 the folder of what it is given, $2 to $5 its limits (KiB of memory, seconds of CPU time, open
# files, blocks of 512 bytes per file), then what to run. A limit that cannot be raised so far is already lower.
given=$1
ulimit -v "$2" 2>/dev/null
ulimit -t "$3" 2>/dev/null
ulimit -n "$4" 2>/dev/null
ulimit -f "$5" 2>/dev/null
shift 5
. "$given/env"
unset given
exec "$@"
