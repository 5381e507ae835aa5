"""A program of the task's own instead of an agent: any language, with a folder that is kept.

    attempt ── restore the folder ──▶ leash ──▶ program
                    ▲                             │ agenttask checkpoint, agenttask progress
                    │                             ▼
                   log ◀── Stored ── folder ◀── door, the clock, SIGTERM, the program's end

`run` drives it, `folder` looks and restores, `door` is what the program speaks to, by way of `say`; `leash` holds the
program, so that it never outlives its runner. What happened is an event like any other (`agent.events.Stored`).
"""
