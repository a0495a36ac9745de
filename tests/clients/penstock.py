"""What the checks of all clients share: where things are, how a check is declared and told."""

import json
import os
import sys
import time
import traceback
import urllib.request

from backends import KINDS, chat_model, embed_model

BASE = os.environ["PENSTOCK_URL"]
TOKEN = os.environ["PENSTOCK_TOKEN"]
# Models of a real server, where there is one.
REAL_CHAT = os.environ.get("PENSTOCK_REAL_CHAT", "")
REAL_EMBED = os.environ.get("PENSTOCK_REAL_EMBED", "")

QUESTION = "What is the capital of France?"
# Real small models ramble unless they are told how to answer.
REAL_QUESTION = "What is the capital of France? Answer in one short sentence."
CHECKS = []


def check(function):
    """Declares a check; its name is the sentence that is told."""
    CHECKS.append((function.__name__.replace("_", " "), function))
    return function


def check_each_kind(function):
    """Declares a check for each kind of backend; it is given the kind."""
    for kind in KINDS:
        CHECKS.append((f"{function.__name__.replace('_', ' ')}, {kind} behind", lambda kind=kind: function(kind)))
    return function


def check_real(needed):
    """Declares a check on a real model, if there is one."""
    def declare(function):
        if needed:
            CHECKS.append((f"{function.__name__.replace('_', ' ')}, a real model behind", function))
        return function
    return declare


def get_json(path):
    request = urllib.request.Request(f"{BASE}{path}", headers={"X-API-Key": TOKEN})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def raises(kind, call):
    """The error that the call raises, which must be of this class."""
    try:
        outcome = call()
    except Exception as error:
        assert isinstance(error, kind), f"{type(error).__name__} instead of {kind.__name__}: {error}"
        return error
    raise AssertionError(f"no {kind.__name__}, but {outcome!r}")


def equal(seen, wanted):
    assert seen == wanted, f"{seen!r} is not {wanted!r}"


def contains(text, part):
    assert part in text, f"{part!r} is not in {text!r}"


def cosine(a, b):
    dot = lambda x, y: sum(p * q for p, q in zip(x, y))
    return dot(a, b) / (dot(a, a) * dot(b, b)) ** 0.5


def run():
    """Runs the checks of the calling file, tells each, and ends with 1 if one failed."""
    failed = 0
    for name, function in CHECKS:
        began = time.monotonic()
        try:
            function()
            print(f"    ok      {name} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception:
            failed += 1
            print(f"    FAILED  {name}\n{traceback.format_exc()}", flush=True)
    print(f"{len(CHECKS) - failed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)
