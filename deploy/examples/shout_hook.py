#!/usr/bin/env python3
"""A hook server in the standard library alone: answers with its input in capitals.

usage: shout_hook.py [PORT]   (0, the default, takes a free one; the first line of the output is its URL)
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Shout(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        loud = str(call["input"]).upper() + "!" * int(call["args"]["args"].get("volume", "1"))
        transition = "question" if "?" in loud else "statement"
        body = json.dumps({"output": loud, "dataType": "string", "transition": transition}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), Shout)
    print(f"http://127.0.0.1:{server.server_port}/shout", flush=True)
    server.serve_forever()
