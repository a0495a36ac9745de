#!/usr/bin/env python3
"""What quickstart.sh wants to know about Penstock's answers. Reads JSON from standard input.

  field NAME            the value of a field, as text
  find NAME URL TYPE    in a list of backends: `same ID`, `changed ID` or `none`; then the ids of others that hold URL
  has MODEL             in one backend: `yes`, or `no` and why
  dimension             the length of `vector`
  steps                 the steps of a chain's run as a table
  pulling               the newest progress of downloads, from server-sent events instead of JSON
"""

import json
import sys


def same_url(left: str, right: str) -> bool:
    return left.rstrip("/") == right.rstrip("/")


def find(backends: list, name: str, url: str, kind: str) -> None:
    mine = next((b for b in backends if b["name"] == name), None)
    others = [b for b in backends if b["name"] != name and same_url(b["baseUrl"], url)]
    if mine is None:
        print("none")
    elif same_url(mine["baseUrl"], url) and mine["type"] == kind:
        print("same", mine["id"])
    else:
        print("changed", mine["id"])
    for other in others:
        print(other["id"], other["name"])


def has(backend: dict, model: str) -> None:
    def tagged(name: str) -> str:
        return name if ":" in name.rsplit("/", 1)[-1] else name + ":latest"

    observed = {tagged(p["model"]) for p in backend["pulledModels"]}
    if tagged(model) in observed:
        print("yes")
    elif backend.get("error"):
        print("no", backend["error"])
    elif observed:
        print("no it serves", ", ".join(sorted(observed)), "so far")
    else:
        print("no not probed yet, or no model there yet")


def steps(run: dict) -> None:
    rows = [("task", "handler", "transition", "ms")]
    for unit in run.get("state") or []:
        text = unit["error"]["error"] or unit["transition"]
        text = " ".join(text.split())
        rows.append((
            unit["taskID"],
            unit["taskHandler"],
            text if len(text) <= 40 else text[:37] + "...",
            f"{unit['duration']:.0f}",
        ))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        print("    " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)) + f"  {row[3]:>7}")


def pulling(stream) -> None:
    newest = None
    for line in stream:
        if line.startswith("data:"):
            try:
                newest = json.loads(line[5:])
            except ValueError:
                pass  # the last line may still be growing
    if newest is None:
        return
    total, done = newest.get("total", 0), newest.get("completed", 0)
    if total:
        print(f"{newest['model']}: {done / 1e6:.0f} of {total / 1e6:.0f} MB ({100 * done // total}%)")
    else:
        print(f"{newest['model']}: {newest.get('status', '')}")


def main() -> None:
    command, *arguments = sys.argv[1:]
    if command == "pulling":
        pulling(sys.stdin)
        return
    answer = json.load(sys.stdin)
    if command == "field":
        print(answer[arguments[0]])
    elif command == "find":
        find(answer, *arguments)
    elif command == "has":
        has(answer, *arguments)
    elif command == "dimension":
        print(len(answer["vector"]))
    elif command == "steps":
        steps(answer)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main()
    except (KeyError, TypeError, ValueError) as problem:
        sys.exit(f"unexpected answer: {problem!r}")
