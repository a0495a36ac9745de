#!/usr/bin/env bash
#
# Everything that is checked before a change goes in. See --help.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"
# shellcheck source=deploy/processes.sh
source deploy/processes.sh
# shellcheck source=deploy/backends/setup.sh
source deploy/backends/setup.sh

usage() {
    cat <<'USAGE'
usage: tests/run.sh [--quick]

Checks the format, clippy and the documentation with warnings denied, runs all tests, the official client libraries against
every kind of backend, counts the instructions of the hottest steps, then the quickstart (twice) and every command of
README.md and docs/ on real models. Installs the Debian packages that are missing when it may (root, or sudo without a
password). What it starts listens on free ports and keeps its files in a temporary folder; it stops
exactly that. The model servers and the client libraries (about 700 MB) are kept in .backends for the next time.

  --quick    format, clippy, documentation and tests only: no client library, no instruction counts, no real model, no
             quickstart, no README

Environment: BACKENDS_DIR (default .backends) and cargo's own (CARGO_TARGET_DIR, CARGO_BUILD_JOBS, ...).
USAGE
}

QUICK=no
while (($#)); do
    case $1 in
    --quick) QUICK=yes ;;
    -h | --help)
        usage
        exit 0
        ;;
    *) fail "unknown option $1" "tests/run.sh --help" ;;
    esac
    shift
done

# A developer's own settings must not decide what the tests see.
unset TOKEN PORT ADDR DATA_DIR OLLAMA_URL TASK_MODEL EMBED_MODEL PENSTOCK_BIN PENSTOCK_PROFILE QUICKSTART_DIR \
    DATABASE_URL KV_HOST KV_PASSWORD NATS_URL NATS_USER NATS_PASSWORD TOKENIZER_SERVICE_URL METRICS_ADDR SECRET_KEY \
    SECRET_KEY_PREVIOUS DATABASE_WAIT \
    MODEL_SYNC TASK_PROVIDER EMBED_PROVIDER TASK_MODEL_CONTEXT_LENGTH EMBED_MODEL_CONTEXT_LENGTH MAX_OUTPUT_TOKENS \
    DEFAULT_SYSTEM_INSTRUCTION MAX_BODY_BYTES MAX_HELD_BYTES MAX_IN_FLIGHT RATE_LIMIT_RPM RATE_LIMIT_BURST RATE_LIMIT_TPM \
    PROMPT_DEADLINE CHAT_DEADLINE EMBED_DEADLINE TASKS_DEADLINE \
    DRAIN_TIMEOUT DRAIN_SETTLE CONNECT_TIMEOUT FIRST_BYTE_TIMEOUT IDLE_TIMEOUT REQUEST_TIMEOUT OPENAI_BASE_URL \
    GEMINI_BASE_URL LOG_FORMAT LOG_LEVEL
BACKENDS_DIR=${BACKENDS_DIR:-$ROOT/.backends}
export BACKENDS_DIR

# ---- what the machine must have --------------------------------------------------------------------------------------

install_missing() {
    local -a packages=()
    command -v curl >/dev/null || packages+=(curl)
    command -v cc >/dev/null && command -v make >/dev/null || packages+=(build-essential)
    command -v setsid >/dev/null && command -v flock >/dev/null || packages+=(util-linux)
    command -v python3 >/dev/null || packages+=(python3)
    python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3-venv)
    # The page at /docs is looked at in a browser; on a developer's machine any will do, and none is a note.
    if [[ $QUICK == no && ${CI:-} == true ]] && ! command -v chromium >/dev/null; then
        packages+=(chromium)
    fi
    if [[ $QUICK == no ]]; then
        command -v valgrind >/dev/null || packages+=(valgrind)
        # The services that Penstock stands on in production; the tests start private instances of them.
        compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || command -v postgres >/dev/null || packages+=(postgresql)
        command -v valkey-server >/dev/null || command -v redis-server >/dev/null || packages+=(redis-server)
        command -v nats-server >/dev/null || [[ -x /usr/sbin/nats-server ]] || packages+=(nats-server)
        # promtool checks the rules that are deployed.
        command -v promtool >/dev/null || packages+=(prometheus)
    fi
    ((${#packages[@]})) || return 0
    local -a as_root=()
    if ((EUID != 0)); then
        sudo -n true 2>/dev/null ||
            fail "missing: ${packages[*]}" "Install them as root: apt-get install -y ${packages[*]}"
        as_root=(sudo -n)
    fi
    command -v apt-get >/dev/null ||
        fail "missing, and no apt-get to install it with: ${packages[*]} (Debian's names)" "Install them with this system's own tool."
    say "installing ${packages[*]}"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}"
}

require_rust() {
    command -v cargo >/dev/null || fail "Rust is missing: there is no cargo in PATH" "Install it from https://rustup.rs"
    local component
    for component in fmt clippy; do
        cargo "$component" --version >/dev/null 2>&1 || fail "cargo $component is missing" "rustup component add rustfmt clippy"
    done
}

# ---- stages ----------------------------------------------------------------------------------------------------------

SCRATCH=$(mktemp -d)
CHILD=
STAGES=()
FAILED=no

leave() {
    local status=$?
    trap - EXIT
    trap '' INT TERM HUP
    local name
    if [[ -n $BACKENDS_STEP_PID ]]; then
        kill -TERM "$BACKENDS_STEP_PID" 2>/dev/null || true
    fi
    if [[ -n $CHILD ]]; then
        # The stage is a process group of its own. The scripts in it stop what they started before they end.
        kill -TERM -- "-$CHILD" 2>/dev/null || true
        local deadline=$((SECONDS + 60))
        while kill -0 -- "-$CHILD" 2>/dev/null && ((SECONDS < deadline)); do
            sleep 0.1
        done
    fi
    for name in chat embed; do
        process_stop "$SCRATCH/backends/$name.pid" 10
    done
    rm -rf "$SCRATCH"
    exit "$status"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# stage NAME COMMAND...: runs it, remembers how it went and how long it took; a failure does not end the whole.
stage() {
    local name=$1 began=$SECONDS outcome=ok
    shift
    step "$name"
    set -m
    (
        set +m
        "$@"
    ) </dev/null &
    CHILD=$!
    set +m
    wait "$CHILD" || outcome=FAILED
    CHILD=
    [[ $outcome == ok ]] || FAILED=yes
    STAGES+=("$(printf '%-28s %-7s %4d s' "$name" "$outcome" $((SECONDS - began)))")
}

scripts() {
    local file
    for file in benches/*.sh deploy/*.sh deploy/*/*.sh tests/*.sh .ci/run; do
        bash -n "$file"
    done
    for file in deploy/*.py deploy/*/*.py tests/clients/*.py; do
        python3 -c 'import sys; compile(open(sys.argv[1]).read(), sys.argv[1], "exec")' "$file"
    done
    if command -v shellcheck >/dev/null; then
        shellcheck -x benches/*.sh deploy/*.sh deploy/*/*.sh tests/*.sh .ci/run
    else
        say "shellcheck is not installed: scripts were only parsed"
    fi
}

# Every actor and every call broken at each of its stages: a build of its own, because no other has those stages.
faults() {
    cargo clippy --locked --features faults --lib --test failpoints -- -D warnings
    cargo test --locked --features faults --test failpoints
}

# has OUTPUT WHAT PATTERN
has() {
    grep -Eq -- "$3" "$1" || fail "the quickstart's output has no $2" "Looked for: $3"
}

# Run with the same data both times: the second run meets what the first one registered, under other ports.
quickstart() {
    local run=$1 out=$SCRATCH/quickstart-$1.txt name port
    port=$(free_port)
    QUICKSTART_DIR=$SCRATCH/quickstart PORT=$port deploy/quickstart.sh --once --profile ci | tee "$out"
    has "$out" "answer to the prompt" '^    prompt: .+'
    has "$out" "answer to the prompt" "$(printf '^    [^ ].*[a-z]{3}')"
    has "$out" "embedding" 'became 384 numbers'
    has "$out" "first step of the chain" '^    validate +condition_key +(valid|invalid) +[0-9]+$'
    has "$out" "second step of the chain" '^    (answer|reject) +raw_string +.+ [0-9]+$'
    for name in penstock chat embed; do
        [[ ! -e $SCRATCH/quickstart/$name.pid ]] || fail "quickstart --once left $name running (run $run)"
    done
    if curl -fsS --noproxy '*' --max-time 2 -o /dev/null "http://127.0.0.1:$port/health" 2>/dev/null; then
        fail "something still answers on port $port after quickstart --once"
    fi
}

# The same with an Ollama server, here a simulated one that has to download both models first.
quickstart_ollama() {
    local out=$SCRATCH/quickstart-ollama.txt port ollama target=${CARGO_TARGET_DIR:-target}
    cargo build --quiet --locked --profile ci -p loadtest
    ollama=$(free_port)
    "$target/ci/loadtest" sim --kind ollama --port "$ollama" \
        --catalog qwen3:4b --catalog nomic-embed-text:latest >"$SCRATCH/ollama.log" 2>&1 &
    local pid=$!
    port=$(free_port)
    local status=0
    QUICKSTART_DIR=$SCRATCH/quickstart-ollama PORT=$port OLLAMA_URL=http://127.0.0.1:$ollama \
        deploy/quickstart.sh --once --profile ci | tee "$out" || status=$?
    kill "$pid"
    wait "$pid" || true
    ((status == 0)) || return "$status"
    has "$out" "answer to the prompt" '^    prompt: .+'
    has "$out" "download" 'qwen3:4b'
    has "$out" "first step of the chain" '^    validate +condition_key +(valid|invalid) +[0-9]+$'
}

# The client libraries, unmodified, in an environment of their own that is kept.
CLIENTS_DIR=$BACKENDS_DIR/clients
clients_setup() {
    local wanted=tests/clients/requirements.txt
    if ! cmp -s "$wanted" "$CLIENTS_DIR/requirements.txt"; then
        say "    installing the client libraries"
        python3 -m venv --clear "$CLIENTS_DIR"
        "$CLIENTS_DIR/bin/python" -m pip install --quiet --no-input -r "$wanted" ||
            fail "the client libraries could not be installed" \
                "Packages come from where pip is configured to look (PIP_INDEX_URL, PIP_PROXY, pip.conf): is it reachable?"
        cp "$wanted" "$CLIENTS_DIR/requirements.txt"
    fi
}

clients() {
    clients_setup
    # Built by the tests already, unless the stage stands alone.
    cargo build --quiet --locked --workspace --bins
    # Ends with this stage: it stops the servers it started.
    exec "$CLIENTS_DIR/bin/python" tests/clients/main.py "${CARGO_TARGET_DIR:-target}/debug"
}

# What `deploy/` brings, as those see it who read it: the schema of compose files, and systemd.
deployed() {
    clients_setup
    "$CLIENTS_DIR/bin/check-jsonschema" --builtin-schema vendor.compose-spec deploy/compose.yaml
    if ! command -v systemd-analyze >/dev/null; then
        say "systemd-analyze is not installed: the unit was not read"
        return
    fi
    cargo build --quiet --locked --workspace --bins
    local target=${CARGO_TARGET_DIR:-target}
    # Where this machine has a binary.
    sed "s#/usr/local/bin/penstock#$(realpath "$target")/debug/penstock#" deploy/systemd/penstock.service \
        >"$SCRATCH/penstock.service"
    systemd-analyze verify "$SCRATCH/penstock.service"
    # Of ten, which is a service that may do everything.
    systemd-analyze security --offline=yes --threshold=20 "$SCRATCH/penstock.service" | tail -n 1
}

install_missing
require_rust
say "stages run one after another; the first run compiles everything and takes its time"

if [[ $QUICK == no ]]; then
    backends_require
    step "model servers"
    began=$SECONDS
    backends_setup "$BACKENDS_DIR"
    backends_start "$BACKENDS_DIR" "$SCRATCH/backends" chat
    export PENSTOCK_TEST_CHAT_URL=$BACKEND_URL
    backends_start "$BACKENDS_DIR" "$SCRATCH/backends" embed
    export PENSTOCK_TEST_EMBED_URL=$BACKEND_URL
    # The tests on a real model, and on real services, fail rather than skip themselves.
    export PENSTOCK_TEST_REQUIRE_REAL=1
    say "    chat $PENSTOCK_TEST_CHAT_URL, embeddings $PENSTOCK_TEST_EMBED_URL"
    STAGES+=("$(printf '%-28s %-7s %4d s' "model servers" ok $((SECONDS - began)))")
fi

stage "scripts" scripts
stage "format" cargo fmt --all --check
stage "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings
stage "documentation" env RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --locked
stage "tests" cargo test --workspace --locked
stage "faults" faults

if [[ $QUICK == no ]]; then
    stage "official clients" clients
    stage "deploy" deployed
    # With the profile that the quickstart is built with next, so that the dependencies are compiled once for both.
    stage "benches build" cargo bench --bench penstock --no-run --profile ci --locked
    stage "instruction counts" benches/gate.sh
    # The servers of the tests would take processor time from the ones of the quickstart.
    for name in chat embed; do
        process_stop "$SCRATCH/backends/$name.pid" 10
    done
    stage "quickstart" quickstart first
    stage "quickstart, again" quickstart second
    stage "quickstart with Ollama" quickstart_ollama
    stage "commands of README and docs" tests/readme.sh
fi

step "summary"
printf '    %s\n' "${STAGES[@]}"
say "    total $SECONDS s"
if [[ $FAILED == yes ]]; then
    fail "not everything passed"
fi
