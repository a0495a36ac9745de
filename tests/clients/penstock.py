"""What the checks of all clients share: where things are, how a check is declared and told."""

import json
import os
import sys
import time
import traceback
import urllib.request

BASE = os.environ["PENSTOCK_URL"]
CHECKS = []


def check(function):
    """Declares a check; its name is the sentence that is told."""
    CHECKS.append(function)
    return function


def get_json(path):
    with urllib.request.urlopen(f"{BASE}{path}", timeout=30) as answer:
        return json.load(answer)


def run():
    """Runs the checks of the calling file, tells each, and ends with 1 if one failed."""
    failed = 0
    for function in CHECKS:
        began = time.monotonic()
        name = function.__name__.replace("_", " ")
        try:
            function()
            print(f"    ok      {name} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception:
            failed += 1
            print(f"    FAILED  {name}\n{traceback.format_exc()}", flush=True)
    print(f"{len(CHECKS) - failed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)
