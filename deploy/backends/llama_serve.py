#!/usr/bin/env python3
"""Starts the llama.cpp HTTP server that the Python package xllamacpp carries, on the loopback interface.

Prints `listening http://127.0.0.1:PORT` once the model is loaded. SIGTERM and SIGINT end it. The server itself logs to
standard error. Set OMP_WAIT_POLICY=PASSIVE: with the default, threads that spin while they wait slow each other down
many times over as soon as anything else uses a core.
"""

import argparse
import signal
import threading

import xllamacpp


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="GGUF file")
    parser.add_argument("--alias", required=True, help="model id shown by /v1/models")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free port (default)")
    parser.add_argument("--ctx", type=int, default=8192, help="context in tokens, shared by the slots")
    parser.add_argument("--slots", type=int, default=4, help="requests decoded at the same time")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--embedding", action="store_true", help="serve embeddings instead of chat")
    parser.add_argument("--api-key", help="bearer key that requests must carry")
    return parser.parse_args()


def parameters(options: argparse.Namespace) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {options.alias}
    params.hostnames = ["127.0.0.1"]
    params.port = options.port
    params.n_ctx = options.ctx
    params.n_parallel = options.slots
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.endpoint_props = True
    params.offline = True
    params.ui = False
    params.embedding = options.embedding
    if options.api_key:
        params.api_keys = [options.api_key]
    return params


def main() -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    server = xllamacpp.Server(parameters(arguments()))  # returns when the model is loaded
    print("listening", server.listening_address, flush=True)
    stop.wait()


if __name__ == "__main__":
    main()
