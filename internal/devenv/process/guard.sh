# guard.sh SIGNAL FOLDER... - ends what a program started when the program is gone. See doc.go.
# Input, one line each: run PID, gone PID, frozen PID, thawed PID.
trap '' INT TERM HUP QUIT
last=$1
shift
run= frozen=

without() {
    kept=
    for w in $1; do [ "$w" = "$2" ] || kept="$kept $w"; done
}

while read -r what pid; do
    case $what in
    run) run="$run $pid" ;;
    gone) without "$run" "$pid"; run=$kept ;;
    frozen) frozen="$frozen $pid" ;;
    thawed) without "$frozen" "$pid"; frozen=$kept ;;
    esac
done

alive() {
    for p in $run; do kill -0 "$p" 2>/dev/null && return 0; done
    return 1
}

for p in $run; do kill -s "$last" "$p" 2>/dev/null; done
for p in $frozen $run; do kill -s CONT "$p" 2>/dev/null; done
n=0
while alive && [ $n -lt 100 ]; do
    sleep 0.05
    n=$((n + 1))
done
for p in $run; do kill -s KILL "$p" 2>/dev/null; done

# A disk that was made inside one of the folders goes with it.
for f in "$@"; do
    [ -r /proc/self/mounts ] || break
    while read -r _ at _; do
        case $at in "$f"/*) umount -l "$at" 2>/dev/null ;; esac
    done </proc/self/mounts
done

# A server that was just killed may still be writing: look three times.
n=0
while [ $# -gt 0 ] && ! rm -rf -- "$@" 2>/dev/null && [ $n -lt 3 ]; do
    sleep 0.3
    n=$((n + 1))
done
