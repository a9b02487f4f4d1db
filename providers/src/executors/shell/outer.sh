# Runs outside the namespace as the leader of a process group. Arguments: $1 the call's folder, $2 `space` or `group`,
# then what to run. With `group` the whole call is in this group, and the agent ends what is left of it; the watcher
# stays in the group until then, so that its number is not reused. Only the agent holds the standard input open. When it
# ends, the agent wants the call to end, or is dead.
call=$1 kind=$2
shift 2
exec 3>&- 4>&- 5>&- 6>&- 7>"$call/status" 8>&- 9<&0 </dev/null
"$@" 9<&- &
child=$!
exec >/dev/null 2>&1
(
    exec 7>&-
    read -r _ <&9
    if [ "$kind" = group ]; then
        kill -s KILL 0
    fi
    # The first process of a namespace takes all others with it, and its parent waits until they are gone.
    children=/proc/$child/task/$child/children
    while [ -r "$children" ]; do
        first=
        read -r first <"$children"
        if [ -n "$first" ]; then
            kill -s KILL $first
        fi
        sleep 0.01
    done
    kill -s KILL 0
) &
watcher=$!
exec 9<&-
wait "$child"
status=$?
if [ "$kind" = space ]; then
    kill -s KILL "$watcher"
    wait "$watcher"
fi
exit "$status"
