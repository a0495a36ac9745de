#!/usr/bin/env bash
#
# Builds Penstock, starts it beside a small real chat model and a small real embedding model, and runs a prompt, an
# embedding and a chain through it. See --help.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=deploy/processes.sh
source "$ROOT/deploy/processes.sh"
# shellcheck source=deploy/backends/setup.sh
source "$ROOT/deploy/backends/setup.sh"

usage() {
    cat <<'USAGE'
usage: deploy/quickstart.sh [--once | --bare] [--profile NAME]
       deploy/quickstart.sh --stop | --env | --help

Builds Penstock, starts it with two small model servers, registers them, waits for the models, then runs a prompt, an
embedding and a chain and shows the answers. Everything stays up afterwards. A second run reuses what is there.

  --once            stop what this run started and exit, instead of leaving it up
  --bare            start the model servers and Penstock on an empty store, and register nothing: for doing it by hand
  --stop            stop what an earlier run left up
  --env             print the addresses and model names of what is up as shell assignments, for eval; PATH with the
                    command penstock is one of them
  --profile NAME    cargo profile to build with (default: release; ci builds faster and runs a little slower)
  --help            this text

Environment:
  PORT              port of Penstock (default 8081)
  ADDR              address it listens on (default 127.0.0.1: this machine only)
  TOKEN             API token: passed to Penstock and sent with every request
  DATA_DIR          Penstock's data (default: data/ in QUICKSTART_DIR)
  OLLAMA_URL        use this Ollama server for both models instead of the small ones; it downloads what it lacks
  TASK_MODEL        with OLLAMA_URL: model for prompts (default qwen3:4b)
  EMBED_MODEL       with OLLAMA_URL: model for embeddings (default nomic-embed-text:latest)
  MODEL_WAIT        seconds to wait for the models (default 120, with OLLAMA_URL 3600)
  QUICKSTART_DIR    logs, pids and data of this script (default .backends/quickstart)
  BACKENDS_DIR      model servers and models, about 350 MB (default .backends)
  PENSTOCK_PROFILE  as --profile
  PENSTOCK_BIN      use this binary instead of building one
  CARGO_TARGET_DIR  as for cargo
Every other setting of Penstock (README, Configuration) is passed on too.
USAGE
}

MODE=up
PROFILE=${PENSTOCK_PROFILE:-release}
while (($#)); do
    case $1 in
    --once | --bare | --stop | --env)
        [[ $MODE == up ]] || fail "--$MODE and $1 do not go together" "deploy/quickstart.sh --help"
        MODE=${1#--}
        ;;
    --profile)
        (($# >= 2)) || fail "--profile needs a name" "deploy/quickstart.sh --help"
        PROFILE=$2
        shift
        ;;
    --profile=*) PROFILE=${1#*=} ;;
    -h | --help)
        usage
        exit 0
        ;;
    *) fail "unknown option $1" "deploy/quickstart.sh --help" ;;
    esac
    shift
done

PORT=${PORT:-8081}
ADDR=${ADDR:-127.0.0.1}
BACKENDS_DIR=${BACKENDS_DIR:-$ROOT/.backends}
RUN=${QUICKSTART_DIR:-$BACKENDS_DIR/quickstart}
READ=$ROOT/deploy/read_answer.py
EXAMPLE=$ROOT/deploy/examples/sky_question.yaml
PROMPT="Explain quantum computing like I'm five"
OLLAMA_URL=${OLLAMA_URL:-}
if [[ -n $OLLAMA_URL ]]; then
    TASK_MODEL=${TASK_MODEL:-qwen3:4b}
    EMBED_MODEL=${EMBED_MODEL:-nomic-embed-text:latest}
else
    TASK_MODEL=$CHAT_ALIAS
    EMBED_MODEL=$EMBED_ALIAS
    # A small model rambles to the bound, and the bound is what a newcomer waits for.
    export MAX_OUTPUT_TOKENS=${MAX_OUTPUT_TOKENS:-120}
fi
export PORT ADDR TASK_MODEL EMBED_MODEL
if ! [[ $PORT =~ ^[0-9]{1,5}$ ]] || ((10#$PORT < 1 || 10#$PORT > 65535)); then
    fail "PORT is $PORT, not a port number (1 to 65535)"
fi
case $ADDR in
0.0.0.0 | ::) HOST=127.0.0.1 ;;
*:*) HOST="[$ADDR]" ;;
*) HOST=$ADDR ;;
esac
URL=http://$HOST:$PORT

# ---- what is up ------------------------------------------------------------------------------------------------------

STARTED=() # records of what this run started, to be ended in reverse order
SCRATCH=
CHILD=

# end RECORD: Penstock gets the time it needs to finish its requests.
end() {
    case $1 in
    */penstock.pid) process_stop "$1" 35 ;;
    *) process_stop "$1" 10 ;;
    esac
}

end_started() {
    local i
    for ((i = ${#STARTED[@]} - 1; i >= 0; i--)); do
        end "${STARTED[i]}"
    done
    STARTED=()
}

# What this run started does not outlive its failure.
leave() {
    local status=$?
    trap - EXIT
    trap '' INT TERM HUP
    local pid
    for pid in $CHILD $BACKENDS_STEP_PID; do
        kill "$pid" 2>/dev/null || true
    done
    if ((status != 0)) && ((${#STARTED[@]})); then
        printf '       Stopping what this run started; the logs stay in %s\n' "$RUN" >&2
        end_started
    fi
    if [[ -n $SCRATCH ]]; then
        rm -rf "$SCRATCH"
    fi
    exit "$status"
}

stop_all() {
    local name found=no
    for name in penstock embed chat; do
        if process_alive "$RUN/$name.pid"; then
            found=yes
            say "stopping $name (pid $PROCESS_PID)"
        fi
        end "$RUN/$name.pid"
    done
    [[ $found == yes ]] || say "nothing to stop: no process of an earlier run is up"
}

# ---- requests --------------------------------------------------------------------------------------------------------

# request METHOD PATH [CURL OPTION]...: leaves the status in STATUS and the body in the file $BODY; progress is shown
# when DOING is set.
STATUS=
DOING=
AUTH=()
request() {
    local method=$1 path=$2 began=$SECONDS
    shift 2
    curl -sS --noproxy '*' --max-time 660 "${AUTH[@]}" -X "$method" -o "$BODY" -w '%{http_code}' "$@" "$URL$path" \
        >"$SCRATCH/status" 2>"$SCRATCH/curl" &
    CHILD=$!
    while kill -0 "$CHILD" 2>/dev/null; do
        if [[ -n $DOING ]]; then
            progress $((SECONDS - began)) "$DOING"
            sleep 0.2
        else
            sleep 0.02
        fi
    done
    [[ -z $DOING ]] || clear_progress
    wait "$CHILD" || {
        CHILD=
        fail "$method $path: $(<"$SCRATCH/curl")" "Penstock's log: $RUN/penstock.log"
    }
    CHILD=
    STATUS=$(<"$SCRATCH/status")
}

# expect WHAT STATUS...: the last request answered with one of these.
expect() {
    local what=$1 wanted
    shift
    for wanted in "$@"; do
        [[ $STATUS != "$wanted" ]] || return 0
    done
    if [[ $STATUS == 401 ]]; then
        fail "$what: Penstock wants another token" "Set TOKEN to the one it was started with, or stop it: deploy/quickstart.sh --stop"
    fi
    fail "$what: Penstock answered $STATUS: $(head -c 600 "$BODY")" "Its log: $RUN/penstock.log"
}

read_answer() {
    python3 "$READ" "$@" <"$BODY" ||
        fail "Penstock's answer cannot be understood: $(head -c 600 "$BODY")" "Is it of another version? deploy/quickstart.sh --stop"
}

# text FIELD: a text of the last answer, indented and wrapped.
text() { read_answer field "$1" | fold -s -w 100 | sed 's/^/    /'; }

json_text() { python3 -c 'import json, sys; print(json.dumps(dict(zip(sys.argv[1::2], sys.argv[2::2]))))' "$@"; }

# ---- the steps -------------------------------------------------------------------------------------------------------

require_tools() {
    command -v curl >/dev/null || fail "curl is missing" "Debian, Ubuntu: apt-get install -y curl"
    if ! command -v setsid >/dev/null || ! command -v flock >/dev/null || [[ ! -r /proc/self/stat ]]; then
        fail "this script needs Linux with setsid and flock" "Debian, Ubuntu: apt-get install -y util-linux"
    fi
    if [[ -n $OLLAMA_URL ]]; then
        command -v python3 >/dev/null || fail "Python 3 is missing" "Debian, Ubuntu: apt-get install -y python3"
    else
        backends_require
    fi
}

build() {
    if [[ -n ${PENSTOCK_BIN:-} ]]; then
        [[ -x $PENSTOCK_BIN ]] || fail "PENSTOCK_BIN: $PENSTOCK_BIN is not an executable file"
        BINARY=$PENSTOCK_BIN
        say "    using $BINARY"
        return
    fi
    command -v cargo >/dev/null ||
        fail "Rust is missing: there is no cargo in PATH" "Install it from https://rustup.rs, open a new shell and run this again."
    { command -v cc && command -v make; } >/dev/null ||
        fail "a C compiler or make is missing" "Debian, Ubuntu: apt-get install -y build-essential"
    say "    the first build takes some minutes"
    (cd "$ROOT" && exec cargo build --locked --profile "$PROFILE" --bin penstock \
        --message-format=json-render-diagnostics) >"$SCRATCH/build" &
    CHILD=$!
    wait "$CHILD" || {
        CHILD=
        fail "the build failed" "cargo's own message stands above. An old toolchain is the usual reason: rustup update stable"
    }
    CHILD=
    BINARY=$(python3 -c 'import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] == "penstock":
        print(message["executable"])' <"$SCRATCH/build")
    [[ -x $BINARY ]] || fail "cargo built no penstock binary with profile $PROFILE"
}

# Is a healthy Penstock of an earlier run there? One that cannot be used stops the script.
penstock_up() {
    local record=$RUN/penstock.pid
    if process_alive "$record"; then
        local was
        was=$(cat "$RUN/penstock.url" 2>/dev/null || echo "an unknown address")
        if [[ $was != "$URL" || $(cat "$RUN/models" 2>/dev/null) != "$TASK_MODEL $EMBED_MODEL" ]]; then
            fail "Penstock of an earlier run (pid $PROCESS_PID) is up at $was with other settings" \
                "Stop it first: deploy/quickstart.sh --stop"
        fi
        if curl -fsS --noproxy '*' --max-time 5 -o /dev/null "$URL/health" 2>/dev/null; then
            return 0
        fi
        say "    Penstock of an earlier run does not answer: stopping it"
        end "$record"
    fi
    return 1
}

require_port() {
    port_free "$ADDR" "$PORT" ||
        fail "port $PORT of $ADDR cannot be listened on: something else uses it, or the address is not this machine's" \
            "Use another one: PORT=$((PORT < 65535 ? PORT + 1 : 8081)) deploy/quickstart.sh" \
            "Who has it: ss -ltnp 'sport = :$PORT'"
}

start_backends() {
    if [[ -n $OLLAMA_URL ]]; then
        say "    using Ollama at $OLLAMA_URL for $TASK_MODEL and $EMBED_MODEL"
        curl -fsS --max-time 10 -o /dev/null "$OLLAMA_URL/api/tags" 2>"$SCRATCH/curl" ||
            fail "no Ollama answers at $OLLAMA_URL: $(<"$SCRATCH/curl")" \
                "Start it (ollama serve), correct OLLAMA_URL, or unset it to use the small models."
        return
    fi
    local kind
    for kind in chat embed; do
        STARTED+=("$RUN/$kind.pid")
        backends_start "$BACKENDS_DIR" "$RUN" "$kind"
        if [[ $BACKEND_STARTED == no ]]; then
            unset 'STARTED[-1]' # an earlier run's: not ours to end
        fi
        process_alive "$RUN/$kind.pid" || fail "the $kind model server ended right after its start" "Its log: $RUN/$kind.log"
        say "    $kind: $BACKEND_URL (pid $PROCESS_PID)$([[ $BACKEND_STARTED == yes ]] || echo ', still up from an earlier run')"
    done
}

start_penstock() {
    local record=$RUN/penstock.pid began=$SECONDS
    if [[ $MODE == bare ]]; then
        DATA_DIR=$RUN/bare-data
        rm -rf "$DATA_DIR"
    fi
    export DATA_DIR=${DATA_DIR:-$RUN/data}
    require_port
    STARTED+=("$record")
    printf '%s\n' "$URL" >"$RUN/penstock.url"
    printf '%s %s\n' "$TASK_MODEL" "$EMBED_MODEL" >"$RUN/models"
    printf '%s\n' "$BINARY" >"$RUN/penstock.bin"
    process_start "$record" "$RUN/penstock.log" "$RUN/penstock.log" \
        env -u PENSTOCK_PROFILE -u PENSTOCK_BIN "$BINARY" serve
    until curl -fsS --noproxy '*' --max-time 5 -o /dev/null "$URL/health" 2>/dev/null; do
        if ! process_alive "$record"; then
            tail -n 8 "$RUN/penstock.log" | sed 's/^/    | /' >&2
            fail "Penstock ended while starting; its last lines, if it wrote any, stand above" "The log: $RUN/penstock.log"
        fi
        ((SECONDS - began < 60)) || fail "Penstock did not become healthy within 60 seconds" "Its log: $RUN/penstock.log"
        progress $((SECONDS - began)) "starting Penstock"
        sleep 0.1
    done
    clear_progress
    # Somebody else may have taken the port between the check and the start, and have answered.
    process_alive "$record" || fail "another server answers at $URL" "Use another port: PORT=$((PORT + 1)) deploy/quickstart.sh"
    say "    $URL (pid $PROCESS_PID), data in $DATA_DIR"
}

# register NAME URL TYPE POOL...: creates the backend, or corrects the one of an earlier run; leaves its id in
# BACKEND_ID.
BACKEND_ID=
register() {
    local name=$1 url=$2 type=$3 found pool id other
    shift 3
    request GET "/backends?limit=1000"
    expect "listing the backends" 200
    found=$(read_answer find "$name" "$url" "$type")
    # The servers' ports change from run to run: what we called the other one may sit on this one's address.
    while read -r id other; do
        case $other in
        '') ;;
        local-chat | local-embed | local-ollama)
            request DELETE "/backends/$id"
            expect "removing the outdated backend $other" 200 404
            ;;
        *)
            say "    $url is registered as $other: using that"
            found="same $id"
            ;;
        esac
    done < <(tail -n +2 <<<"$found")
    read -r found BACKEND_ID < <(head -n 1 <<<"$found")
    case $found in
    none)
        request POST /backends -H 'Content-Type: application/json' -d "$(json_text name "$name" baseUrl "$url" type "$type")"
        expect "registering $name" 201
        BACKEND_ID=$(read_answer field id)
        ;;
    changed)
        request PUT "/backends/$BACKEND_ID" -H 'Content-Type: application/json' \
            -d "$(json_text name "$name" baseUrl "$url" type "$type")"
        expect "updating $name" 200
        ;;
    esac
    for pool in "$@"; do
        request POST "/backend-associations/$pool/backends/$BACKEND_ID"
        expect "assigning $name to $pool" 201 409
    done
    say "    $name ($type, $url) in $*"
}

# wait_for_model BACKEND-ID BACKEND-NAME MODEL
WAIT_BEGAN=
wait_for_model() {
    local id=$1 name=$2 model=$3 answer detail pull
    local limit=${MODEL_WAIT:-$([[ -n $OLLAMA_URL ]] && echo 3600 || echo 120)}
    : "${WAIT_BEGAN:=$SECONDS}"
    while :; do
        request GET "/backends/$id"
        expect "asking for $name" 200
        answer=$(read_answer has "$model")
        [[ $answer != yes ]] || break
        detail="$name, $model: ${answer#no }"
        if [[ -s $SCRATCH/pulls ]]; then
            pull=$(python3 "$READ" pulling <"$SCRATCH/pulls")
            detail=${pull:-$detail}
        fi
        if ((SECONDS - WAIT_BEGAN >= limit)); then
            fail "$name does not serve $model after $((SECONDS - WAIT_BEGAN)) seconds" "Last seen: $detail" \
                "Penstock's log: $RUN/penstock.log" \
                "$([[ -n $OLLAMA_URL ]] && echo "A slow download only needs more time: MODEL_WAIT=7200 deploy/quickstart.sh" ||
                    echo "The model servers' logs: $RUN/chat.log, $RUN/embed.log")"
        fi
        progress $((SECONDS - WAIT_BEGAN)) "$detail"
        sleep 0.5
    done
    clear_progress
    say "    $model is ready on $name"
}

wait_for_models() {
    if [[ -n $OLLAMA_URL ]]; then
        curl -sN --noproxy '*' "${AUTH[@]}" "$URL/queue/inProgress" >"$SCRATCH/pulls" 2>/dev/null &
        local follower=$!
        BACKENDS_STEP_PID=$follower # so that an early end takes it along
        wait_for_model "$OLLAMA_ID" local-ollama "$EMBED_MODEL"
        wait_for_model "$OLLAMA_ID" local-ollama "$TASK_MODEL"
        kill "$follower" 2>/dev/null || true
        BACKENDS_STEP_PID=
    else
        wait_for_model "$CHAT_ID" local-chat "$TASK_MODEL"
        wait_for_model "$EMBED_ID" local-embed "$EMBED_MODEL"
    fi
}

show_prompt() {
    say "    prompt: $PROMPT${MAX_OUTPUT_TOKENS:+ (the answer is cut at $MAX_OUTPUT_TOKENS tokens)}"
    DOING="waiting for the answer"
    request POST /execute -H 'Content-Type: application/json' -d "$(json_text prompt "$PROMPT")"
    DOING=
    expect "POST /execute" 200
    text response
}

show_embedding() {
    request POST /embed -H 'Content-Type: application/json' -d "$(json_text text "Is the sky blue?")"
    expect "POST /embed" 200
    local dimension
    dimension=$(read_answer dimension)
    say "    \"Is the sky blue?\" became $dimension numbers"
}

show_chain() {
    say "    chain: ${EXAMPLE#"$ROOT"/}"
    DOING="waiting for the chain"
    request POST /tasks -H 'Content-Type: application/yaml' --data-binary "@$EXAMPLE"
    DOING=
    expect "POST /tasks" 200
    text output
    say ""
    read_answer steps
}

summary() {
    step "Penstock is up at $URL"
    local name
    for name in penstock chat embed; do
        if process_alive "$RUN/$name.pid"; then
            printf '    %-9s pid %-7s log %s\n' "$name" "$PROCESS_PID" "$RUN/$name.log"
        fi
    done
    local how="deploy/quickstart.sh --stop"
    [[ $RUN == "$ROOT/.backends/quickstart" ]] || how="QUICKSTART_DIR=$RUN $how"
    say "    stop with: $how"
}

print_env() {
    process_alive "$RUN/penstock.pid" || fail "Penstock is not up" "Start it: deploy/quickstart.sh"
    printf 'PENSTOCK_URL=%q\n' "$(<"$RUN/penstock.url")"
    # The shell that evaluates this finds the command penstock, too.
    if [[ -s $RUN/penstock.bin ]]; then
        # shellcheck disable=SC2016
        printf 'PATH=%q:$PATH\n' "$(dirname "$(<"$RUN/penstock.bin")")"
    fi
    local models
    read -ra models <"$RUN/models"
    printf 'TASK_MODEL=%q\nEMBED_MODEL=%q\n' "${models[0]}" "${models[1]}"
    if process_alive "$RUN/chat.pid"; then
        printf 'CHAT_URL=%q\n' "$(<"$RUN/chat.url")"
    fi
    if process_alive "$RUN/embed.pid"; then
        printf 'EMBED_URL=%q\n' "$(<"$RUN/embed.url")"
    fi
}

case $MODE in
stop)
    stop_all
    exit 0
    ;;
env)
    print_env
    exit 0
    ;;
esac

trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
require_tools
mkdir -p "$RUN"
chmod 700 "$RUN"
exec {RUN_LOCK}>"$RUN/lock"
flock -n "$RUN_LOCK" || fail "another quickstart is at work in $RUN" "Wait for it, or give this one its own QUICKSTART_DIR and PORT."
SCRATCH=$(mktemp -d)
BODY=$SCRATCH/body
if [[ -n ${TOKEN:-} ]]; then
    # In a file, so that no process list shows it.
    python3 -c 'import json, os; print("header =", json.dumps("Authorization: Bearer " + os.environ["TOKEN"]))' >"$SCRATCH/auth"
    AUTH=(--config "$SCRATCH/auth")
    export TOKEN
fi

REUSED=no
if penstock_up; then
    if [[ $MODE == bare ]]; then
        fail "Penstock of an earlier run is up at $URL; --bare starts with an empty store" "Stop it first: deploy/quickstart.sh --stop"
    fi
    REUSED=yes
else
    require_port # before the long build, not after it
    step "Building Penstock (profile $PROFILE)"
    build
fi

if [[ -z $OLLAMA_URL ]]; then
    step "Setting up the small models in $BACKENDS_DIR"
    if backends_ready "$BACKENDS_DIR"; then
        say "    already there"
    else
        say "    about 250 MB to download, once"
        backends_setup "$BACKENDS_DIR"
    fi
fi

step "Starting the model servers"
start_backends

step "Starting Penstock"
if [[ $REUSED == yes ]]; then
    say "    still up from an earlier run: $URL. For a new build of it, stop it first."
else
    start_penstock
fi

if [[ $MODE == bare ]]; then
    summary
    STARTED=()
    exit 0
fi

step "Registering the backends and assigning them to the default pools"
if [[ -n $OLLAMA_URL ]]; then
    register local-ollama "$OLLAMA_URL" ollama internal_tasks_pool internal_embed_pool
    OLLAMA_ID=$BACKEND_ID
else
    register local-chat "$(<"$RUN/chat.url")" openai internal_tasks_pool
    CHAT_ID=$BACKEND_ID
    register local-embed "$(<"$RUN/embed.url")" openai internal_embed_pool
    EMBED_ID=$BACKEND_ID
fi

step "Waiting for the models"
wait_for_models

step "A prompt: POST /execute"
show_prompt

step "An embedding: POST /embed"
show_embedding

step "A chain of tasks: POST /tasks"
show_chain

if [[ $MODE == once ]]; then
    step "Stopping what this run started"
    end_started
else
    summary
    STARTED=()
fi
