"""The OpenAI-compatible chat-completions client.

`wire` (requests and replies), `stream` (replies in pieces), `failures` (what an error means), `latency` (how long to
wait) and `chain` (which model to ask) are pure; `endpoint` sends one request, `client` tries again and goes on to the
next model, `prices` knows what a reply cost.
"""
