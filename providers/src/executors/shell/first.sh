# The first process of the call, in its own session. Arguments: $1 the call's folder, $2 `limits`, `strict` or, in a
# user namespace, `strict-user`, $3 the text of `inner.sh`, $4 that of `strict.sh`, $5 the limit on process numbers or
# nothing, then the arguments of `inner.sh`. The namespace ends when this process exits. What it writes to handle 7
# proves that the command ran: the exit code and, if it failed in a namespace, how many processes it left there.
call=$1 sandbox=$2 inner=$3 strict=$4
if [ -n "$5" ]; then
    echo "$5" >/proc/sys/kernel/pid_max
fi 2>/dev/null
shift 5
if [ -s "$call/in/stdin" ]; then
    exec <"$call/in/stdin"
fi
unprivileged=
if [ "$sandbox" != limits ]; then
    if [ "$sandbox" = strict-user ]; then
        # The filter had to allow this user namespace; the code can create no other, and so is root of nothing.
        echo 0 >/proc/sys/user/max_user_namespaces || exit 125
    fi
    enter() { eval "$strict"; }
    enter "$call"
    # The same folder, as it is mounted now.
    cd "$call/work" || exit 125
    HOME=$PWD
    unset OLDPWD
    unprivileged="setpriv --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all --"
fi
exec 8>&2 2>/dev/null # what this shell says of the command's death is not the command's
$unprivileged /bin/sh -c "$inner" sh "$call/in" "$@" 2>&8 7>&- 8>&-
code=$? left=0
if [ "$code" != 0 ] && [ $$ = 1 ]; then
    set -- /proc/[0-9]*
    left=$(($# - 1))
fi
echo "$code $left" >&7
