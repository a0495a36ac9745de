# shellcheck shell=bash
#
# Messages and child processes of Penstock's own scripts. Sourced, never run.
#
# A process is remembered by a record file holding its pid, its start time and the machine's boot id, so that a pid
# which has been given to somebody else in the meantime is never signalled.

say() { printf '%s\n' "$*"; }

step() { printf '\n==> %s\n' "$*"; }

# fail MESSAGE [WHAT TO DO]...: one clear message, then the end.
fail() {
    clear_progress
    printf '\nerror: %s\n' "$1" >&2
    shift
    local line
    for line in "$@"; do
        printf '       %s\n' "$line" >&2
    done
    exit 1
}

# progress SECONDS TEXT: one line that redraws itself on a terminal; elsewhere a line every ten seconds or when the
# text changes.
PROGRESS_FRAME=0
PROGRESS_TEXT=
PROGRESS_AT=0
progress() {
    local seconds=$1 text=$2 frames="|/-\\"
    if [[ -t 1 ]]; then
        printf '\r\033[K    %s %3ds  %s' "${frames:PROGRESS_FRAME++ % 4:1}" "$seconds" "${text:0:$((${COLUMNS:-$(tput cols 2>/dev/null || echo 80)} - 14))}"
    elif [[ $text != "$PROGRESS_TEXT" ]] || ((seconds >= PROGRESS_AT + 10)); then
        printf '    %3ds  %s\n' "$seconds" "$text"
        PROGRESS_AT=$seconds
    fi
    PROGRESS_TEXT=$text
}

clear_progress() {
    if [[ -t 1 && -n $PROGRESS_TEXT ]]; then
        printf '\r\033[K'
    fi
    PROGRESS_TEXT=
    PROGRESS_AT=0
}

# process_identity PID: start time and boot id; fails for a process that is gone or a zombie.
process_identity() {
    local stat
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
    stat=${stat##*) } # the name before it may hold blanks
    local -a fields
    read -ra fields <<<"$stat"
    [[ ${fields[0]} != Z && ${fields[0]} != X ]] || return 1
    printf '%s %s\n' "${fields[19]}" "$(</proc/sys/kernel/random/boot_id)"
}

# process_start RECORD OUT ERR COMMAND...: starts COMMAND in a session of its own, so that it outlives the terminal. OUT
# and ERR may be the same file.
process_start() {
    local record=$1 out=$2 err=$3
    shift 3
    : >"$out"
    : >"$err"
    (
        # Nothing of this script stays open in it, above all no lock.
        for fd in /proc/"$BASHPID"/fd/*; do
            fd=${fd##*/}
            if ((fd > 2 && fd != 255)); then
                exec {fd}>&-
            fi
        done
        exec setsid "$@"
    ) >>"$out" 2>>"$err" </dev/null &
    local pid=$!
    disown "$pid"
    printf '%s %s\n' "$pid" "$(process_identity "$pid" || true)" >"$record"
}

# process_alive RECORD: is the recorded process still that process? Its pid is left in PROCESS_PID.
PROCESS_PID=
process_alive() {
    local pid start
    PROCESS_PID=
    [[ -r $1 ]] || return 1
    read -r pid start <"$1" || return 1
    [[ $pid =~ ^[0-9]+$ && -n $start && $(process_identity "$pid") == "$start" ]] || return 1
    PROCESS_PID=$pid
}

# process_stop RECORD SECONDS: TERM, then KILL after SECONDS; forgets the record.
process_stop() {
    local record=$1 deadline=$((SECONDS + $2))
    if process_alive "$record"; then
        kill -TERM "$PROCESS_PID" 2>/dev/null || true
        while process_alive "$record" && ((SECONDS < deadline)); do
            sleep 0.1
        done
        if process_alive "$record"; then
            kill -KILL "$PROCESS_PID" 2>/dev/null || true
        fi
    fi
    rm -f "$record"
}

# port_free ADDRESS PORT: can it be listened on?
port_free() {
    python3 - "$1" "$2" <<'PY'
import socket, sys

address, port = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.socket(family) as probe:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((address, port))
        probe.listen()
    except OSError:
        sys.exit(1)
PY
}

# free_port: a port of the loopback interface that nobody listens on.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
