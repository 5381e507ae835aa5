"""`agenttask log`: people's tools for logs. They look, and delete what `prune` is told to; they never write.

Stands above the log, which knows no agents, and the agent's reducer, which knows no stores; the command line alone
imports it.

    options ──▶ main ──▶ place, cluster   which store, where in it, with which keys
                  └────▶ commands ──▶ desk, runs, screen, story and view (pure)
"""
