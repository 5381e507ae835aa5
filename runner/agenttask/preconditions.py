"""What must hold of an assignment before an attempt does anything, beside what its schema can say."""

from __future__ import annotations

from agenttask.agent.checks import check_answer, check_code, check_model, check_tools
from agenttask.agent.state import State
from agenttask.agent.toolbelt import is_guarded
from agenttask.contract import CONTRACT, Agent, Assignment, Model
from agenttask.errors import SpecInvalid
from agenttask.model.chain import links_of
from agenttask.model.wire import RESERVED


def check(assignment: Assignment) -> Model | None:
    """The model to call; None for a program.

    Raises `SpecInvalid` for what no admission rule could have refused.
    """
    if assignment.contract > CONTRACT:
        raise SpecInvalid(
            f"the operator speaks contract {assignment.contract}, this runner {CONTRACT}; update its image"
        )
    spec = assignment.spec
    if spec.command is not None:
        return None
    if spec.prompt is None and spec.prompt_from is None and spec.resume_from is None:
        raise SpecInvalid("no prompt: set spec.prompt, or spec.resumeFrom to go on from a checkpoint")
    agent = spec.agent
    if agent.model is None:
        raise SpecInvalid("no model: set spec.agent.model, or a default for all tasks")
    check_model(agent.model)
    check_options(agent.model)
    check_tools(agent)
    check_answer(agent)
    check_code(spec)
    return agent.model


def check_options(model: Model) -> None:
    """Raises `SpecInvalid` for options that would say something other than the task does."""
    for link in links_of(model):
        if taken := sorted(RESERVED & link.options.keys()):
            raise SpecInvalid(f"model {link.name}: the options {', '.join(taken)} are not for the task to set")


def has_guarded_tools(agent: Agent) -> bool:
    """Whether it has, or may have, tools of which a call must not run twice."""
    return any(map(is_guarded, agent.tools)) or any(server.recovery != "Idempotent" for server in agent.mcp_servers)


def refuse_other_prompt(*, state: State, prompt: str | None) -> None:
    """A log belongs to the prompt it was started with; a fork without one to its original's."""
    if prompt is not None and state.prompt != prompt:
        raise SpecInvalid("the prompt is not the one this run was started with")
