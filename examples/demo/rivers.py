"""The service behind the tool `lookup` of examples/research.yaml: POST /lookup {"river": "Nile"} → {"km": 6650}."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KILOMETRES = {
    "Nile": 6650,
    "Amazon": 6400,
    "Yangtze": 6300,
    "Mississippi": 6275,
    "Yenisei": 5539,
    "Yellow River": 5464,
    "Ob": 5410,
    "Paraná": 4880,
    "Congo": 4700,
    "Amur": 4480,
}


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        length = KILOMETRES.get(asked.get("river", ""))
        answer = {"error": f"no such river; there are {', '.join(KILOMETRES)}"} if length is None else {"km": length}
        body = json.dumps(answer).encode()
        self.send_response(404 if length is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("", int(sys.argv[1]) if len(sys.argv) > 1 else 8080), Handler).serve_forever()
