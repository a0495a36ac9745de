#!/usr/bin/env python3
"""A retrieval hook in the standard library alone: finds the passages of a folder of texts that fit a question best.

usage: rag_hook.py [PORT] [FOLDER]   (0, the default, takes a free port; the first line of the output is its URL)

A passage is a paragraph of a .txt or .md file. Without a folder it knows four paragraphs of a shop. Ranking is Okapi
BM25 (Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009). The output is a list of
{"source", "text", "score"}, best first; the transition is `found` or `nothing`.
"""

import hmac
import json
import math
import os
import pathlib
import re
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_BODY = 1_000_000  # bytes of a call that are read
K1, B = 1.2, 0.75  # BM25: how soon more of the same word stops counting, how much length counts
SHOP = {
    "returns.md#1": "Shoes and clothes can be returned within 60 days after delivery, unworn and in their box.",
    "returns.md#2": "Returned goods are paid back to the card they were bought with, within 5 working days.",
    "shipping.md#1": "Parcels leave the warehouse on the day of the order and arrive within 3 days.",
    "contact.md#1": "The shop answers the phone from Monday to Friday between 9 and 17 o'clock.",
}
COMMON = set("a an and are at be by can do does for from have how i in is it my of on or the their they to what when which you".split())


def words(text):
    return [word.rstrip("s") for word in re.findall(r"\w+", text.lower()) if word not in COMMON]


def passages(folder):
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if path.suffix in (".txt", ".md"):
            paragraphs = [text.strip() for text in path.read_text(encoding="utf-8").split("\n\n") if text.strip()]
            found.update({f"{path.name}#{number}": text for number, text in enumerate(paragraphs, 1)})
    return found


class Index:
    def __init__(self, texts):
        self.texts = texts
        self.counts = {source: Counter(words(text)) for source, text in texts.items()}
        self.average = sum(sum(count.values()) for count in self.counts.values()) / max(len(texts), 1)
        self.holders = Counter(word for count in self.counts.values() for word in count)

    def score(self, query, source):
        count = self.counts[source]
        norm = K1 * (1 - B + B * sum(count.values()) / self.average)
        rarity = lambda word: math.log(1 + (len(self.texts) - self.holders[word] + 0.5) / (self.holders[word] + 0.5))
        return sum(rarity(word) * count[word] * (K1 + 1) / (count[word] + norm) for word in query if count[word])

    def search(self, question, top):
        query = set(words(question))
        ranked = sorted(((self.score(query, source), source) for source in self.texts), reverse=True)
        hits = [(score, source) for score, source in ranked[:top] if score > 0]
        return [{"source": source, "text": self.texts[source], "score": round(score, 3)} for score, source in hits]


class Search(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds that a connection may be silent

    def do_POST(self):
        given = self.path.partition("?token=")[2]
        if not hmac.compare_digest(os.environ.get("HOOK_TOKEN", "").encode(), given.encode()):
            return self.answer(401, {"error": "the token in the URL is not this hook's"})
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            return self.answer(413, {"error": f"send at most {MAX_BODY} bytes, with a Content-Length"})
        try:
            call = json.loads(self.rfile.read(int(length)))
            question, top = call["input"], int(call["args"]["args"].get("top_k", "3"))
            if not isinstance(question, str) or not 1 <= top <= 20:
                raise ValueError("the input must be a text, top_k from 1 to 20")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return self.answer(400, {"error": f"this is no call of a hook: {error!r}"})
        hits = self.server.index.search(question, top)
        self.answer(200, {"output": hits, "dataType": "json", "transition": "found" if hits else "nothing"})

    def answer(self, status, reply):
        body = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        # Whoever looks for a call finds it here and in Penstock's log under the same id.
        print(f"{self.headers.get('X-Request-ID', '-')} {status}", file=sys.stderr, flush=True)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    server = ThreadingHTTPServer(("127.0.0.1", port), Search)
    server.index = Index(passages(sys.argv[2]) if len(sys.argv) > 2 else SHOP)
    print(f"http://127.0.0.1:{server.server_port}/search", flush=True)
    server.serve_forever()
