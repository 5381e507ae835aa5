"""The built-in agent: a model, its tools, and a state that is a fold of durable events.

`events` and `state` are the vocabulary, `reducer` the only way a state changes, `turn` the only place that decides what
comes next; these four and `budget` are pure. `loop` drives them with real calls, `tools` runs the calls.
"""
