#!/usr/bin/env bash
#
# Counts the instructions of the hottest steps and compares them with benches/instructions.txt. See --help.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"
# shellcheck source=deploy/processes.sh
source deploy/processes.sh

usage() {
    cat <<'USAGE'
usage: benches/gate.sh [--update]

Runs each case of benches/count.rs under valgrind's callgrind and compares its instructions with those in
benches/instructions.txt; one that takes over 5 % more, and over 64 instructions more, fails. Builds the benches with the
profile ci, as tests/run.sh does.

  --update    writes what it counts to benches/instructions.txt instead

Figures are those of one compiler: the file names it, and with another one the comparison is made all the same, with a
note. They also depend on the processor's vector units (as far as valgrind knows them: AVX-512 it hides) and on its
architecture: where nobody has changed anything and all of them differ, that is why.
USAGE
}

UPDATE=no
while (($#)); do
    case $1 in
    --update) UPDATE=yes ;;
    -h | --help)
        usage
        exit 0
        ;;
    *) fail "unknown option $1" "benches/gate.sh --help" ;;
    esac
    shift
done

BASELINE=benches/instructions.txt
# What a case may take more than in the file, in percent.
ALLOWED=5
# And what it may take more in any case: where the sources lie decides what the compiler inlines in which unit, which moves the
# smallest steps by a call or two.
SLACK=64
# Runs of each case; what is told is for one.
TIMES=200

SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT

VALGRIND=$(command -v valgrind) || fail "valgrind is missing" "Install it: apt-get install -y valgrind"
command -v cargo >/dev/null || fail "Rust is missing: there is no cargo in PATH" "Install it from https://rustup.rs"
if [[ $UPDATE == no && ! -f $BASELINE ]]; then
    fail "there is no $BASELINE" "benches/gate.sh --update writes it"
fi

# The same build as that of tests/run.sh; cargo says where it is.
cargo bench --color never --bench penstock --no-run --profile ci --locked 2>&1 | tee "$SCRATCH/build" >&2
BINARY=$(sed -n 's|^ *Executable benches/main.rs (\(.*\))$|\1|p' "$SCRATCH/build")
[[ -x $BINARY ]] || fail "cargo did not say where the benches are"

# counted CASE: instructions of all its runs, and of nothing that comes before them.
counted() {
    local log=$SCRATCH/callgrind
    # What else the environment says must not decide.
    env -i "$VALGRIND" --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect='penstock::count::taken*' \
        "$BINARY" --count "$1" $TIMES >"$log" 2>&1 || {
        cat "$log" >&2
        fail "'$1' did not run under valgrind"
    }
    sed -n 's/^==[0-9]*== Collected : \([0-9]*\)$/\1/p' "$log"
}

COMPILER=$(rustc --version)
mapfile -t CASES < <("$BINARY" --count)
((${#CASES[@]})) || fail "the benches have no cases to count"

declare -A NOW=() WAS=()
for name in "${CASES[@]}"; do
    all=$(counted "$name")
    [[ $all =~ ^[1-9][0-9]*$ ]] || fail "callgrind did not say what '$name' takes"
    NOW[$name]=$(((all + TIMES / 2) / TIMES))
done

if [[ $UPDATE == yes ]]; then
    {
        printf '# Instructions of one run of each case of benches/count.rs, written by benches/gate.sh --update.\n'
        printf '# %s\n' "$COMPILER"
        for name in "${CASES[@]}"; do
            printf '%s %s\n' "$name" "${NOW[$name]}"
        done
    } >"$BASELINE"
    say "written to $BASELINE:"
    cat "$BASELINE"
    exit 0
fi

while read -r name figure; do
    [[ -z $name || $name == \#* ]] || WAS[$name]=$figure
done <"$BASELINE"
grep -qxF "# $COMPILER" "$BASELINE" ||
    say "note: $BASELINE was written with $(sed -n 's/^# \(rustc .*\)/\1/p' "$BASELINE"), this is $COMPILER: figures may differ for that alone"

# in_percent FROM TO: by how much it grew.
in_percent() { awk -v from="$1" -v to="$2" 'BEGIN { printf "%+.1f %%", (to - from) * 100 / from }'; }

WRONG=()
printf '    %-28s %12s %12s\n' "instructions of" "baseline" "now"
for name in "${CASES[@]}"; do
    now=${NOW[$name]} was=${WAS[$name]:-}
    if [[ ! $was =~ ^[1-9][0-9]*$ ]]; then
        printf '    %-28s %12s %12d\n' "$name" - "$now"
        WRONG+=("$name has no figure in $BASELINE")
        continue
    fi
    printf '    %-28s %12d %12d  %s\n' "$name" "$was" "$now" "$(in_percent "$was" "$now")"
    if ((now * 100 > was * (100 + ALLOWED) && now > was + SLACK)); then
        WRONG+=("$name grew from $was to $now instructions ($(in_percent "$was" "$now"))")
    elif ((now * (100 + ALLOWED) < was * 100 && now + SLACK < was)); then
        say "    $name takes less than it did: benches/gate.sh --update keeps it so"
    fi
done
for name in "${!WAS[@]}"; do
    [[ -n ${NOW[$name]:-} ]] || WRONG+=("$name is in $BASELINE and no case any more")
done

if ((${#WRONG[@]})); then
    fail "a step takes more instructions than it may ($ALLOWED % more than in $BASELINE), or the file is not of these cases:" \
        "${WRONG[@]}" \
        "Where it was not meant: make it cheaper (valgrind --tool=callgrind $BINARY --count CASE 1000, then callgrind_annotate)." \
        "Where it is worth it: benches/gate.sh --update, and say in the commit what it buys."
fi
say "no step takes over $ALLOWED % more instructions than in $BASELINE"
