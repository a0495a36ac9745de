#!/usr/bin/env bash
#
# Runs every command that README.md and docs/ show, in the order they stand there, on real models.
#
# Each ```bash block counts, except one right below a line `<!-- not run: REASON -->`. The blocks of a file run in one
# shell that ends at the first failure; the commands use curl --fail-with-body, so an error answer is one. README.md
# starts and stops Penstock itself; the files in docs/ find it as deploy/quickstart.sh leaves it. A ```yaml block whose
# first line names a file (# deploy/...) must hold what that file holds.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"
# shellcheck source=deploy/processes.sh
source deploy/processes.sh

SCRATCH=$(mktemp -d)
CHILD=
leave() {
    local status=$?
    trap - EXIT
    trap '' INT TERM HUP
    if [[ -n $CHILD ]]; then
        kill -TERM "$CHILD" 2>/dev/null || true
        wait "$CHILD" 2>/dev/null || true
    fi
    deploy/quickstart.sh --stop >/dev/null || true
    rm -rf "$SCRATCH"
    exit "$status"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

export QUICKSTART_DIR=$SCRATCH/quickstart
export PENSTOCK_PROFILE=${PENSTOCK_PROFILE:-ci}
PORT=8081
port_free 127.0.0.1 "$PORT" || PORT=$(free_port)
export PORT

# extract FILE: its blocks as one script.
extract() {
    python3 - "$1" "$PORT" <<'PY'
import re, shlex, sys

path, port = sys.argv[1:]
lines = open(path, encoding="utf-8").read().split("\n")
script = ["set -euo pipefail"]
above, fence, block, began = "", None, [], 0
for number, line in enumerate(lines, 1):
    if fence is None:
        if opened := re.match(r"```(\w*)\s*$", line):
            fence, block, began = opened[1], [], number
        elif line.strip():
            above = line.strip()
    elif line.rstrip() != "```":
        block.append(line)
    else:
        if fence == "bash":
            where = f"{path}:{began}"
            if above.startswith("<!-- not run: "):
                script.append(f"printf '\\n--- %s not run\\n' {shlex.quote(where)}")
            else:
                script.append(f"printf '\\n--- %s\\n' {shlex.quote(where)}")
                script.extend(text.replace("localhost:8081", f"localhost:{port}") for text in block)
                script.append("echo")
        elif fence == "yaml" and block[:1] and (named := re.match(r"# (deploy/\S+)$", block[0])):
            shown = "\n".join(block[1:]) + "\n"
            if shown != open(named[1], encoding="utf-8").read():
                sys.exit(f"{path}:{began} does not show what {named[1]} holds")
        fence, above = None, ""
if fence is not None:
    sys.exit(f"{path}:{began} opens a block that never ends")
print("\n".join(script))
PY
}

# run_blocks FILE
run_blocks() {
    extract "$1" >"$SCRATCH/blocks.sh"
    timeout 900 bash "$SCRATCH/blocks.sh" </dev/null &
    CHILD=$!
    wait "$CHILD" || {
        CHILD=
        fail "a command of $1 failed: the one below the last '---' line above"
    }
    CHILD=
}

for file in "${@:-README.md}"; do
    run_blocks "$file"
done
if (($# == 0)); then
    deploy/quickstart.sh
    for file in docs/*.md; do
        run_blocks "$file"
    done
fi
say ""
say "every command of the documents ran"
