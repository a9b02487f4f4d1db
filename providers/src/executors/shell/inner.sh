# Becomes the command. Arguments: $1 the folder with the command's input, $2 to $6 its limits (KiB of memory, seconds of
# CPU time, open files, blocks of 512 bytes per file, processes or nothing), then what to run. A limit that cannot be
# raised that far is already lower.
given=$1
ulimit -v "$2" 2>/dev/null
# First the signal that gives the reason; one second later the one that cannot be ignored.
ulimit -S -t "$3" 2>/dev/null
ulimit -H -t "$(($3 + 1))" 2>/dev/null
ulimit -n "$4" 2>/dev/null
ulimit -f "$5" 2>/dev/null
if [ -n "$6" ]; then
    ulimit -p "$6" 2>/dev/null || ulimit -u "$6" 2>/dev/null # shells name it differently
fi
shift 6
. "$given/env"
unset given
exec "$@"
