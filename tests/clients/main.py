"""Runs the official clients against Penstock over simulated backends of every kind, and over real ones where they are told.

Started by tests/run.sh with the folder of the binaries; what it starts is stopped by it.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from backends import KINDS, chat_model, embed_model, rules

HERE = Path(__file__).parent
TOKEN = "the-clients-token"
TASKS, EMBED = "internal_tasks_pool", "internal_embed_pool"
REAL = {"chat": ("PENSTOCK_TEST_CHAT_URL", "smollm2:135m"), "embed": ("PENSTOCK_TEST_EMBED_URL", "all-minilm:l6-v2")}
FILES = ["openai_client", "ollama_client", "langchain_client", "litellm_client", "description", "docs_page"]
PATIENCE = 30


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(what, look):
    deadline = time.monotonic() + PATIENCE
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise SystemExit(f"error: {what} never happened")
        time.sleep(0.05)


class Stage:
    """The servers of one run."""

    def __init__(self, binaries, folder):
        self.binaries, self.folder, self.running = binaries, folder, []
        self.base = f"http://127.0.0.1:{free_port()}"

    def start(self, name, command, **settings):
        log = open(self.folder / f"{name}.log", "w")
        own = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG")}
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=own | settings)
        self.running.append((name, process))
        return process

    def log(self, name):
        return (self.folder / f"{name}.log").read_text()

    def stop(self):
        for _, process in reversed(self.running):
            process.terminate()
        for name, process in reversed(self.running):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                print(f"    {name} did not stop and is ended")
                process.kill()

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "X-API-Key": TOKEN}
        request = urllib.request.Request(self.base + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise SystemExit(f"error: {method} {path}: {error.code} {error.read().decode()}") from None

    def is_up(self):
        try:
            urllib.request.urlopen(f"{self.base}/ready", timeout=5)
            return True
        except OSError:
            if self.running[-1][1].poll() is not None:
                raise SystemExit(f"error: Penstock ended: {self.log('penstock')}") from None
            return False

    def simulate(self, kind):
        script = self.folder / f"{kind}.json"
        script.write_text(json.dumps(rules(kind)))
        self.start(kind, [self.binaries / "loadtest", "sim", "--kind", kind, "--model", chat_model(kind),
                          "--model", embed_model(kind), "--script", script])
        listening = eventually(f"a {kind} that listens", lambda: self.log(kind).strip())
        return listening.split()[-1]

    def register(self, name, kind, url, pools):
        # Simulated, so no cloud although it speaks as one.
        backend = self.call("POST", "/backends", {"name": name, "baseUrl": url, "type": kind, "apiKey": "key", "cloud": False})
        for pool in pools:
            self.call("POST", f"/backend-associations/{pool}/backends/{backend['id']}")

    def declare(self, model, pool, **fields):
        self.call("POST", "/models", {"model": model} | fields)
        self.call("POST", f"/model-associations/{pool}/models/{model}")

    def wait_for(self, models):
        def seen():
            state = self.call("GET", "/state")
            return models <= {model["name"] for backend in state for model in backend["pulledModels"]}
        eventually(f"all of {sorted(models)} on backends", seen)

    def prepare(self):
        self.start("penstock", [self.binaries / "penstock", "serve"], PORT=self.base.rsplit(":", 1)[1], ADDR="127.0.0.1",
                   DATA_DIR=str(self.folder / "data"), TOKEN=TOKEN, TASK_MODEL=chat_model("ollama"),
                   EMBED_MODEL=embed_model("ollama"))
        eventually("Penstock ready", self.is_up)
        wanted = set()
        for kind in KINDS:
            self.register(kind, kind, self.simulate(kind), [TASKS, EMBED])
            wanted |= {chat_model(kind), embed_model(kind)}
        real = {}
        for what, (setting, model) in REAL.items():
            if os.environ.get(setting):
                self.register(f"real {what}", "openai", os.environ[setting], [TASKS if what == "chat" else EMBED])
                real[what] = model
                wanted.add(model)
        self.call("POST", "/aliases", {"name": "assistant", "targets": [{"model": "gone:1b"}, {"model": chat_model("vllm")}]})
        self.call("POST", "/taskchains", {"id": "front-desk", "tasks": [
            {"id": "ask", "handler": "model_execution", "execute_config": {"model": chat_model("openai")},
             "transition": {"branches": [{"operator": "default", "goto": "answer"}]}},
            {"id": "answer", "handler": "convert_to_openai_chat_response",
             "transition": {"branches": [{"operator": "default", "goto": "end"}]}}]})
        self.wait_for(wanted)
        return real


def main():
    # A stop ends like a failure: what was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    binaries, only = Path(sys.argv[1]).resolve(), sys.argv[2:]
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(binaries, Path(folder))
        try:
            real = stage.prepare()
            settings = os.environ | {
                "PENSTOCK_URL": stage.base, "PENSTOCK_TOKEN": TOKEN, "PENSTOCK_REAL_CHAT": real.get("chat", ""),
                "PENSTOCK_REAL_EMBED": real.get("embed", ""), "PYTHONDONTWRITEBYTECODE": "1",
                # Nothing is fetched: prices of models come with the package, proxies are for others.
                "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_PROXY": "127.0.0.1,localhost",
            }
            for file in only or FILES:
                print(f"{file.replace('_', ' ')}:", flush=True)
                if subprocess.run([sys.executable, HERE / f"{file}.py"], env=settings, cwd=folder).returncode:
                    failed.append(file)
        finally:
            stage.stop()
        if failed:
            print("\n".join(stage.log("penstock").splitlines()[-20:]))
            raise SystemExit(f"error: checks failed in {', '.join(failed)}")


main()
