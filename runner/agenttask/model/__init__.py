"""The OpenAI-compatible chat-completions client.

`wire` (requests and replies) and `failures` (what an error means) are pure; `client` sends, waits and tries again.
"""
