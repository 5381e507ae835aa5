"""What the API server takes and refuses in a new task: each static rule, bound and pattern with an example of both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.api.client import Object
from tests.api.crd.installed import Copy

MODEL: Object = {"baseURL": "https://api.example.com/v1", "name": "small"}
HTTP: Object = {"url": "https://tools.example.com/lookup"}
BEARER: Object = {"name": "Authorization", "secretKeyRef": {"name": "s"}, "prefix": "Bearer "}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Two specs that differ in what the sentence is about, and what the refusal says."""

    accepted: Object
    refused: Object
    says: str
    accepted_name: str = "task"
    refused_name: str = "task"


def spec(**fields: Any) -> Object:
    return {"prompt": "Hello.", **fields}


def tool(beside: Object | None = None, **fields: Any) -> Object:
    return spec(agent={"tools": [{"name": "lookup", "recovery": "Idempotent", **fields}]}, **(beside or {}))


def agent(**fields: Any) -> Object:
    return spec(agent=fields)


def server(**fields: Any) -> Object:
    return spec(agent={"mcpServers": [{"name": "files", **fields}]})


def model(**fields: Any) -> Object:
    return spec(agent={"model": {**MODEL, **fields}})


def fallback(**fields: Any) -> Object:
    return model(fallbacks=[{"name": "large", **fields}])


def s3(**fields: Any) -> Object:
    return spec(checkpoint={"s3": {"bucket": "agents", **fields}})


def redis(**fields: Any) -> Object:
    return spec(checkpoint={"redis": {"url": "rediss://redis.example.com:6379/0", **fields}})


def command(**fields: Any) -> Object:
    return {"command": ["python", "-m", "work"], **fields}


def fork(**fields: Any) -> Object:
    return {"resumeFrom": fields}


RECORD = "prod/agents/triage/6c1f/log/000000000042"
PLACE: Object = {"type": "s3", "bucket": "agents", "prefix": "prod"}


def pod(**fields: Any) -> Object:
    return spec(pod=fields)


LIMITED: Object = {"pod": {"resources": {"limits": {"memory": "512Mi"}}}}
CODE: Object = {"code": {"configMapRef": {"name": "tools"}}}
BUCKET = "a bucket's name has no two dots in a row, and is no IP address"
FUNCTIONS = "code is for a command, or for tools or probes that are python functions"
PORT = "the port must be a number from 1 to 65535"
SLEEP = "a tool that sleeps has no onDoubt, timeoutSeconds or maxResultBytes"

RULES = {
    "more memory is more than some": Case(
        accepted=spec(retry={"oomMemoryLimit": "4Gi"}, **LIMITED),
        refused=spec(retry={"oomMemoryLimit": "4Gi"}, pod={"resources": {"limits": {"cpu": "1"}}}),
        says="retry.oomMemoryLimit needs pod.resources.limits.memory",
    ),
    "modules are for functions": Case(
        accepted=tool(CODE, python="tools:look_up"),
        refused=tool(CODE, command=["date"]),
        says=FUNCTIONS,
    ),
    "which may be those of a probe": Case(
        accepted=tool(CODE, http=HTTP, recovery="Reconcile", probe={"python": "tools:done"}),
        refused=tool(CODE, http=HTTP, recovery="Reconcile", probe={"http": HTTP}),
        says=FUNCTIONS,
    ),
    "or for a program": Case(accepted=command(**CODE), refused=spec(**CODE), says=FUNCTIONS),
    "an MCP server has modules of its own": Case(
        accepted=server(command=["mcp"]), refused={**server(command=["mcp"]), **CODE}, says=FUNCTIONS
    ),
    "a call that may run twice is in no doubt": Case(
        accepted=tool(http=HTTP, recovery="Once", onDoubt="Fail"),
        refused=tool(http=HTTP, recovery="Idempotent", onDoubt="Fail"),
        says="onDoubt is for the recovery Once or Reconcile; a call that is Idempotent runs again",
    ),
    "a call of which nobody knows may be in doubt": Case(
        accepted=tool(http=HTTP, recovery="Reconcile", probe={"http": HTTP}, onDoubt="TellModel"),
        refused=tool(http=HTTP, recovery="Idempotent", onDoubt="TellModel"),
        says="onDoubt is for the recovery Once or Reconcile; a call that is Idempotent runs again",
    ),
    "a call of an MCP server that may run twice is in no doubt": Case(
        accepted=server(command=["mcp"], recovery="Once", onDoubt="Fail"),
        refused=server(command=["mcp"], recovery="Idempotent", onDoubt="Fail"),
        says="onDoubt is for the recovery Once; a call that is Idempotent runs again",
    ),
    "one whose tools say it themselves may have those that are": Case(
        accepted=server(command=["mcp"], onDoubt="TellModel"),
        refused=server(command=["mcp"], recovery="Idempotent", onDoubt="TellModel"),
        says="onDoubt is for the recovery Once; a call that is Idempotent runs again",
    ),
    "a sleep is in no doubt": Case(
        accepted=tool(sleep={}, recovery="Once"), refused=tool(sleep={}, recovery="Once", onDoubt="Fail"), says=SLEEP
    ),
    "a sleep ends by itself": Case(
        accepted=tool(sleep={}, timeoutSeconds=60), refused=tool(sleep={}, timeoutSeconds=61), says=SLEEP
    ),
    "a sleep has no result to cut": Case(
        accepted=tool(sleep={"maxSeconds": 61}), refused=tool(sleep={}, maxResultBytes=2048), says=SLEEP
    ),
    "a bucket's name has one dot at a time": Case(
        accepted=s3(bucket="a.b-c.d"), refused=s3(bucket="a..b"), says=BUCKET
    ),
    "a bucket's name is no address": Case(accepted=s3(bucket="10.0.0.1.x"), refused=s3(bucket="10.0.0.1"), says=BUCKET),
    "an endpoint's port is one": Case(
        accepted=s3(endpoint="https://[::1]:65535/s3"),
        refused=s3(endpoint="https://s3.example.com:65536/s3"),
        says=PORT,
    ),
    "a Redis server's port is one": Case(
        accepted=redis(url="redis://redis:1"), refused=redis(url="redis://redis:0"), says=PORT
    ),
    "up to 65535": Case(
        accepted=redis(url="rediss://[fd00::7]:65535/2"), refused=redis(url="rediss://[fd00::7]:65536/2"), says=PORT
    ),
    "a number": Case(accepted=redis(url="redis://redis/1"), refused=redis(url="redis://redis:six/1"), says=PORT),
    "a name is a DNS label of at most 52 characters": Case(
        accepted=spec(),
        accepted_name="a" * 52,
        refused=spec(),
        refused_name="a" * 53,
        says="the name must be a DNS label of at most 52 characters",
    ),
    "a name has no dots, which a pod's host name could not have": Case(
        accepted=spec(),
        accepted_name="a-b",
        refused=spec(),
        refused_name="a.b",
        says="the name must be a DNS label of at most 52 characters",
    ),
    "certificates vouch for a model's endpoint where there is a question": Case(
        accepted=model(caConfigMapRef={"name": "roots"}),
        refused=model(baseURL="http://example.com", caConfigMapRef={"name": "roots"}),
        says="caConfigMapRef needs an https baseURL",
    ),
    "certificates vouch for a fallback's endpoint where there is a question": Case(
        accepted=fallback(baseURL="https://example.com", caConfigMapRef={"name": "roots"}),
        refused=fallback(baseURL="http://example.com", caConfigMapRef={"name": "roots"}),
        says="caConfigMapRef needs an https baseURL",
    ),
    "a fallback's key has its endpoint beside it": Case(
        accepted=fallback(baseURL="https://example.com", apiKeySecretRef={"name": "keys"}),
        refused=fallback(apiKeySecretRef={"name": "keys"}),
        says="apiKeySecretRef, headers and caConfigMapRef need a baseURL beside them",
    ),
    "a fallback's headers have their endpoint beside them": Case(
        accepted=fallback(baseURL="https://example.com", headers={"X-Team": "blue"}),
        refused=fallback(headers={"X-Team": "blue"}),
        says="apiKeySecretRef, headers and caConfigMapRef need a baseURL beside them",
    ),
    "a header's name is one": Case(
        accepted=model(headers={"X-Team": "blue"}),
        refused=model(headers={"X Team": "blue"}),
        says="header names are letters, digits and hyphens",
    ),
    "a header that carries the request is not the task's": Case(
        accepted=model(headers={"X-Authorization": "blue"}),
        refused=model(headers={"Authorization": "Bearer x"}),
        says="this header is not for the task to set",
    ),
    "a tool has one kind": Case(
        accepted=tool(http=HTTP),
        refused=tool(http=HTTP, command=["date"]),
        says="exactly one of http, command, python and sleep must be set",
    ),
    "a tool has a kind": Case(
        accepted=tool(command=["date"]),
        refused=tool(),
        says="exactly one of http, command, python and sleep must be set",
    ),
    "a probe is asked where the recovery is Reconcile": Case(
        accepted=tool(http=HTTP, recovery="Reconcile", probe={"http": HTTP}),
        refused=tool(http=HTTP, probe={"http": HTTP}),
        says="recovery Reconcile needs a probe, and a probe needs it",
    ),
    "the recovery Reconcile has a probe": Case(
        accepted=tool(http=HTTP, recovery="Reconcile", probe={"command": ["ask"]}),
        refused=tool(http=HTTP, recovery="Reconcile"),
        says="recovery Reconcile needs a probe, and a probe needs it",
    ),
    "a probe has one kind": Case(
        accepted=tool(http=HTTP, recovery="Reconcile", probe={"http": HTTP}),
        refused=tool(http=HTTP, recovery="Reconcile", probe={"http": HTTP, "command": ["ask"]}),
        says="exactly one of http, command and python must be set",
    ),
    "a probe's command names a program": Case(
        accepted=tool(http=HTTP, recovery="Reconcile", probe={"command": ["ask", ""]}),
        refused=tool(http=HTTP, recovery="Reconcile", probe={"command": [""]}),
        says="the program's name must not be empty",
    ),
    "a Python tool has no command besides": Case(
        accepted=tool(python="pkg.mod:look"),
        refused=tool(python="pkg.mod:look", command=["date"]),
        says="exactly one of http, command, python and sleep must be set",
    ),
    "a tool that sleeps does nothing else": Case(
        accepted=tool(sleep={"maxSeconds": 3600}),
        refused=tool(sleep={}, command=["date"]),
        says="exactly one of http, command, python and sleep must be set",
    ),
    "a tool that sleeps says by itself what it takes": Case(
        accepted=tool(sleep={}),
        refused=tool(sleep={}, parameters={"type": "object"}),
        says="a tool that sleeps has parameters of its own, and no probe",
    ),
    "a probe may be a function": Case(
        accepted=tool(python="m:pay", recovery="Reconcile", probe={"python": "m:paid"}),
        refused=tool(python="m:pay", recovery="Reconcile", probe={}),
        says="exactly one of http, command and python must be set",
    ),
    "an MCP server has one kind": Case(
        accepted=server(url="https://mcp.example.com/mcp", recovery="Once"),
        refused=server(url="https://mcp.example.com/mcp", command=["mcp"]),
        says="exactly one of url and command must be set",
    ),
    "headers go to an MCP server with an address": Case(
        accepted=server(url="https://mcp.example.com/mcp", headers=[{"name": "A", "secretKeyRef": {"name": "s"}}]),
        refused=server(command=["mcp"], headers=[{"name": "A", "value": "x"}]),
        says="headers need a url",
    ),
    "a process of an MCP server has an environment": Case(
        accepted=server(command=["mcp"], passEnv=["HOME"]),
        refused=server(url="https://mcp.example.com/mcp", passEnv=["HOME"]),
        says="passEnv needs a command",
    ),
    "a header has one value": Case(
        accepted=tool(http={**HTTP, "headers": [{"name": "A", "secretKeyRef": {"name": "s"}, "prefix": "Bearer "}]}),
        refused=tool(http={**HTTP, "headers": [{"name": "A", "value": "x", "secretKeyRef": {"name": "s"}}]}),
        says="exactly one of value and secretKeyRef must be set",
    ),
    "a prefix stands before a Secret's value": Case(
        accepted=tool(http={**HTTP, "headers": [{"name": "A", "value": "Bearer x", "prefix": ""}]}),
        refused=tool(http={**HTTP, "headers": [{"name": "A", "value": "x", "prefix": "Bearer "}]}),
        says="prefix stands before a Secret's value, and needs secretKeyRef",
    ),
    "of an MCP server too": Case(
        accepted=server(url="https://mcp.example.com", headers=[{"name": "A", "value": "x"}]),
        refused=server(url="https://mcp.example.com", headers=[{"name": "A", "value": "x", "prefix": "Bearer "}]),
        says="prefix stands before a Secret's value, and needs secretKeyRef",
    ),
    "and of a probe": Case(
        accepted=tool(command=["pay"], recovery="Reconcile", probe={"http": {**HTTP, "headers": [BEARER]}}),
        refused=tool(
            command=["pay"],
            recovery="Reconcile",
            probe={"http": {**HTTP, "headers": [{"name": "A", "value": "x", "prefix": "Bearer "}]}},
        ),
        says="prefix stands before a Secret's value, and needs secretKeyRef",
    ),
    "variables are passed on to a process": Case(
        accepted=tool(python="m:f", passEnv=["HOME"]),
        refused=tool(http=HTTP, passEnv=["HOME"]),
        says="passEnv needs a command or a python function",
    ),
    "which may be the probe's": Case(
        accepted=tool(http=HTTP, recovery="Reconcile", probe={"command": ["ask"]}, passEnv=["HOME"]),
        refused=tool(http=HTTP, recovery="Reconcile", probe={"http": HTTP}, passEnv=["HOME"]),
        says="passEnv needs a command or a python function",
    ),
    "the idempotency key is the runner's": Case(
        accepted=tool(http={**HTTP, "headers": [{"name": "X-Key", "value": "x"}]}),
        refused=tool(http={**HTTP, "headers": [{"name": "Idempotency-KEY", "value": "x"}]}),
        says="this header is the runner's own",
    ),
    "a body goes with a method that has one": Case(
        accepted=tool(http={**HTTP, "method": "PUT", "body": {"a": ["{{a}}"]}}),
        refused=tool(http={**HTTP, "method": "GET", "body": {"a": 1}}),
        says="body needs the method POST, PUT or PATCH",
    ),
    "the runner's variables are not passed on": Case(
        accepted=tool(command=["env"], passEnv=["HTTPS_PROXY"]),
        refused=tool(command=["env"], passEnv=["AWS_SECRET_ACCESS_KEY"]),
        says="variables of the runner's own are not passed on",
    ),
    "nor those of our domain": Case(
        accepted=tool(command=["env"], passEnv=["HOME"]),
        refused=tool(command=["env"], passEnv=["AGENTTASK_MODEL_API_KEY"]),
        says="variables of the runner's own are not passed on",
    ),
    "a task's own program has a name": Case(
        accepted=command(command=["date", ""]),
        refused=command(command=["", "date"]),
        says="the program's name must not be empty",
    ),
    "a command names a program": Case(
        accepted=tool(command=["date", ""]),
        refused=tool(command=["", "date"]),
        says="the program's name must not be empty",
    ),
    "the pod's own labels are not under our domain": Case(
        accepted=pod(labels={"example.com/team": "blue"}),
        refused=pod(labels={"{group}/attempt": "7"}),
        says="label keys under {group} are reserved",
    ),
    "the pod's own annotations are not under our domain": Case(
        accepted=pod(annotations={"example.com/team": "blue"}),
        refused=pod(annotations={"{group}/assignment": "x"}),
        says="annotation keys under {group} are reserved",
    ),
    "the pod's own environment does not shadow the contract's": Case(
        accepted=pod(env=[{"name": "LANG", "value": "C"}]),
        refused=pod(env=[{"name": "AGENTTASK_POD_UID", "value": "x"}]),
        says="names that start with AGENTTASK_ are reserved",
    ),
    "environment comes from one source": Case(
        accepted=pod(envFrom=[{"secretRef": {"name": "keys"}}]),
        refused=pod(envFrom=[{"prefix": "A_"}]),
        says="exactly one of secretRef and configMapRef must be set",
    ),
    "the pod's own volumes do not shadow the contract's": Case(
        accepted=pod(volumes=[{"name": "cache", "emptyDir": {}}]),
        refused=pod(volumes=[{"name": "agenttask-token", "emptyDir": {}}]),
        says="names that start with agenttask- are reserved",
    ),
    "a key of the key service needs the key service": Case(
        accepted=s3(encryption={"type": "SSE-KMS", "kmsKeyID": "key-1"}),
        refused=s3(encryption={"type": "SSE-S3", "kmsKeyID": "key-1"}),
        says="kmsKeyID needs the type SSE-KMS",
    ),
    "certificates need an endpoint that shows some": Case(
        accepted=s3(endpoint="https://s3.example.com", caConfigMapRef={"name": "cas"}),
        refused=s3(endpoint="http://s3.example.com", caConfigMapRef={"name": "cas"}),
        says="caConfigMapRef needs an https endpoint",
    ),
    "certificates need a Redis that shows some": Case(
        accepted=redis(caConfigMapRef={"name": "cas"}),
        refused=redis(url="redis://redis", caConfigMapRef={"name": "cas"}),
        says="caConfigMapRef needs a rediss URL",
    ),
    "a log lies in one place": Case(
        accepted=redis(),
        refused=spec(checkpoint={"redis": {"url": "redis://r"}, "filesystem": {"claimName": "c"}}),
        says="at most one of s3, redis and filesystem may be set",
    ),
    "who must call a tool each time ends by one": Case(
        accepted=agent(toolChoice="Required", finish="Tool"),
        refused=agent(toolChoice="Required"),
        says="toolChoice Required needs finish Tool, and toolChoice None cannot have it",
    ),
    "who may call none cannot end by one": Case(
        accepted=agent(toolChoice="None"),
        refused=agent(toolChoice="None", finish="Tool"),
        says="toolChoice Required needs finish Tool, and toolChoice None cannot have it",
    ),
    "the tool that ends the task is not one of the task's own": Case(
        accepted=agent(tools=[{"name": "finish", "command": ["date"]}]),
        refused=agent(tools=[{"name": "finish", "command": ["date"]}], finish="Tool"),
        says="the tool finish is the one that ends the task",
    ),
    "an answer given by a tool has no tag": Case(
        accepted=agent(finish="Tool", output={"format": "Json"}),
        refused=agent(finish="Tool", output={"format": "XmlTag", "tag": "answer"}),
        says="an answer that is given by a tool has no tag",
    ),
    "an answer in a tag says which": Case(
        accepted=agent(output={"format": "XmlTag", "tag": "answer"}),
        refused=agent(output={"format": "XmlTag"}),
        says="the format XmlTag needs a tag, and a tag needs it",
    ),
    "an answer without a tag names none": Case(
        accepted=agent(output={"format": "Json", "schema": {"type": "array"}}),
        refused=agent(output={"format": "Json", "tag": "answer"}),
        says="the format XmlTag needs a tag, and a tag needs it",
    ),
    "any text has no schema": Case(
        accepted=agent(output={"format": "XmlTag", "tag": "answer", "schema": {"type": "array"}}),
        refused=agent(output={"schema": {"type": "array"}}),
        says="a schema needs the format Json or XmlTag",
    ),
    "a task has a prompt or something to go on from": Case(
        accepted=fork(task="triage"),
        refused={},
        says="prompt or promptFrom is needed, unless resumeFrom or command is set",
    ),
    "a command needs no prompt": Case(
        accepted=command(),
        refused={"agent": {}},
        says="prompt or promptFrom is needed, unless resumeFrom or command is set",
    ),
    "a command is there instead of an agent": Case(
        accepted=command(prompt="Count."),
        refused=command(agent={"systemPrompt": "Be brief."}),
        says="at most one of agent and command may be set",
    ),
    "a command goes on with no conversation": Case(
        accepted=command(),
        refused=command(**fork(task="triage")),
        says="resumeFrom goes on with a conversation, and a command has none",
    ),
    "a command has no model whose steps are counted": Case(
        accepted=command(budget={}),
        refused=command(budget={"steps": 7}),
        says="budget bounds the calls of an agent's model, and a command has none",
    ),
    "a command has no model whose tokens are counted": Case(
        accepted=spec(budget={"tokens": 1000}),
        refused=command(budget={"tokens": 1000}),
        says="budget bounds the calls of an agent's model, and a command has none",
    ),
    "a command has no model that costs money": Case(
        accepted=spec(budget={"costUSD": "1"}),
        refused=command(budget={"costUSD": "1"}),
        says="budget bounds the calls of an agent's model, and a command has none",
    ),
    "a command's folder is stored by the clock": Case(
        accepted=command(checkpoint={"everySeconds": 60}),
        refused=command(checkpoint={"everySteps": 5}),
        says="everySteps counts the replies of an agent's model; a command has everySeconds",
    ),
    "an agent is not checkpointed by the clock": Case(
        accepted=spec(checkpoint={"everySteps": 5}),
        refused=spec(checkpoint={"everySeconds": 60}),
        says="everySeconds is for a command",
    ),
    "a prompt is here or in a ConfigMap": Case(
        accepted={"promptFrom": {"configMapKeyRef": {"name": "prompts"}}},
        refused=spec(promptFrom={"configMapKeyRef": {"name": "prompts"}}),
        says="at most one of prompt and promptFrom may be set",
    ),
    "a fork names a task or a location": Case(
        accepted=spec(**fork(task="triage", key=RECORD)),
        refused=spec(**fork(task="triage", location=PLACE, key=RECORD)),
        says="exactly one of task and location must be set",
    ),
    "a fork names something": Case(
        accepted=fork(location=PLACE, key=RECORD),
        refused=fork(key=RECORD),
        says="exactly one of task and location must be set",
    ),
    "where there is no task there is no newest record": Case(
        accepted=fork(location=PLACE, key=RECORD), refused=fork(location=PLACE), says="location needs a key"
    ),
    "a task goes on from another one": Case(
        accepted=fork(task="triage"),
        refused=fork(task="triage"),
        refused_name="triage",
        says="a task cannot resume from itself",
    ),
    "results belong to a conversation": Case(
        accepted=fork(task="triage", parts=["Conversation"]),
        refused=fork(task="triage", parts=["Results"]),
        says="parts must have Conversation",
    ),
}

BOUNDS = {
    "a class of the pod has an object's name: of any other the API server says no more than 500": Case(
        accepted=spec(
            pod={"runtimeClassName": "sandbox.v2", "priorityClassName": "low", "serviceAccountName": "agents"}
        ),
        refused=spec(pod={"runtimeClassName": "https://example.com/v1"}),
        says="pod.runtimeClassName",
    ),
    "a prompt is not empty": Case(accepted=spec(), refused=spec(prompt=""), says="spec.prompt"),
    "a prompt is not blank": Case(
        accepted=spec(prompt="\n  What?\n"), refused={"prompt": " \t\n"}, says="spec.prompt in body should match"
    ),
    "instructions are not blank": Case(
        accepted=agent(systemPrompt=" Be brief. "), refused=agent(systemPrompt=" \n"), says="agent.systemPrompt"
    ),
    "a bucket has a bucket's length": Case(accepted=s3(bucket="abc"), refused=s3(bucket="ab"), says="s3.bucket"),
    "a bucket's name begins with a letter or a number": Case(
        accepted=s3(bucket="0-a"), refused=s3(bucket="-a0"), says="s3.bucket"
    ),
    "a ConfigMap has a name": Case(
        accepted={"promptFrom": {"configMapKeyRef": {"name": "prompts", "key": "triage.md"}}},
        refused={"promptFrom": {"configMapKeyRef": {"name": ""}}},
        says="promptFrom.configMapKeyRef.name",
    ),
    "a key of a ConfigMap is a file's name": Case(
        accepted={"promptFrom": {"configMapKeyRef": {"name": "prompts", "key": "a-b_c.d"}}},
        refused={"promptFrom": {"configMapKeyRef": {"name": "prompts", "key": "a/b"}}},
        says="promptFrom.configMapKeyRef.key",
    ),
    "a prompt has at most 64 Ki characters": Case(
        accepted=spec(prompt="a" * 65536), refused=spec(prompt="a" * 65537), says="spec.prompt: Too long"
    ),
    "a request has room for something": Case(
        accepted=agent(contextTokens=1000), refused=agent(contextTokens=999), says="agent.contextTokens"
    ),
    "a tag is a name": Case(
        accepted=agent(output={"format": "XmlTag", "tag": "final-answer"}),
        refused=agent(output={"format": "XmlTag", "tag": "final answer"}),
        says="output.tag",
    ),
    "an answer has one of three forms": Case(
        accepted=agent(output={"format": "Text"}), refused=agent(output={"format": "Yaml"}), says="output.format"
    ),
    "a tool is called as one sees fit, always or never": Case(
        accepted=agent(toolChoice="Auto"), refused=agent(toolChoice="Any"), says="agent.toolChoice"
    ),
    "the answer is a reply or the call of a tool": Case(
        accepted=agent(finish="Reply"), refused=agent(finish="Text"), says="agent.finish"
    ),
    "a model is named whole": Case(
        accepted=model(), refused=spec(agent={"model": {"name": "small"}}), says="model.baseURL: Required value"
    ),
    "a fallback of the main endpoint has options and a price of its own": Case(
        accepted=fallback(options={"temperature": 0.5}, price={"input": "1", "output": "2.5", "cachedInput": "0.1"}),
        refused=fallback(price={"input": "1"}),
        says="output: Required value",
    ),
    "a budget's money is a number of dollars": Case(
        accepted=spec(budget={"costUSD": "5.00"}), refused=spec(budget={"costUSD": "$5"}), says="budget.costUSD"
    ),
    "a price is a number of dollars": Case(
        accepted=model(price={"input": "0.25", "output": "1"}),
        refused=model(price={"input": "$1", "output": "1"}),
        says="price.input",
    ),
    "a header's value is one line": Case(
        accepted=model(headers={"X-Team": "blue and green"}),
        refused=model(headers={"X-Team": "blue\ngreen"}),
        says="headers",
    ),
    "a model is asked again at most ten times": Case(
        accepted=model(maxRetries=10), refused=model(maxRetries=11), says="maxRetries"
    ),
    "a model has at most eight fallbacks": Case(
        accepted=model(fallbacks=[{"name": "large"}] * 8),
        refused=model(fallbacks=[{"name": "large"}] * 9),
        says="fallbacks",
    ),
    "a model is reached by http or https": Case(
        accepted=model(baseURL="http://10.0.0.1:8000/v1"),
        refused=model(baseURL="ftp://example.com"),
        says="model.baseURL",
    ),
    "a key is not written into an address": Case(
        accepted=model(baseURL="https://example.com"),
        refused=model(baseURL="https://user:secret@example.com"),
        says="model.baseURL",
    ),
    "a Secret is named": Case(
        accepted=model(apiKeySecretRef={"name": "keys"}),
        refused=model(apiKeySecretRef={"key": "api-key"}),
        says="apiKeySecretRef.name: Required value",
    ),
    "a tool recovers in one of three ways": Case(
        accepted=tool(http=HTTP, recovery="Once"), refused=tool(http=HTTP, recovery="Never"), says="tools[0].recovery"
    ),
    "a doubt is met in one of three ways": Case(
        accepted=tool(http=HTTP, recovery="Once", onDoubt="TellModel"),
        refused=tool(http=HTTP, recovery="Once", onDoubt="Ignore"),
        says="tools[0].onDoubt",
    ),
    "a tool's name suits every model": Case(
        accepted=tool(http=HTTP, name="look_up-2"), refused=tool(http=HTTP, name="look up"), says="tools[0].name"
    ),
    "tools have different names": Case(
        accepted=spec(agent={"tools": [{"name": n, "recovery": "Idempotent", "http": HTTP} for n in "ab"]}),
        refused=spec(agent={"tools": [{"name": n, "recovery": "Idempotent", "http": HTTP} for n in "aa"]}),
        says="Duplicate value",
    ),
    "a tool's method is one of HTTP's": Case(
        accepted=tool(http={**HTTP, "method": "GET"}), refused=tool(http={**HTTP, "method": "LIST"}), says="http.method"
    ),
    "an argument stands behind the host": Case(
        accepted=tool(http={"url": "https://h/{{a}}?q={{b}}"}),
        refused=tool(http={"url": "https://{{a}}/"}),
        says="http.url",
    ),
    "a sleep ends": Case(
        accepted=tool(sleep={"maxSeconds": 2592000}),
        refused=tool(sleep={"maxSeconds": 2592001}),
        says="sleep.maxSeconds",
    ),
    "a function is named with its module": Case(
        accepted=tool(python="tools:look_up"), refused=tool(python="look_up"), says="tools[0].python"
    ),
    "code has a ConfigMap": Case(
        accepted=command(code={"configMapRef": {"name": "tools"}}), refused=command(code={}), says="code.configMapRef"
    ),
    "an MCP server does not ask a probe": Case(
        accepted=server(command=["mcp"], recovery="Idempotent"),
        refused=server(command=["mcp"], recovery="Reconcile"),
        says="mcpServers[0].recovery",
    ),
    "MCP servers have different names": Case(
        accepted=spec(agent={"mcpServers": [{"name": n, "command": ["m"]} for n in "ab"]}),
        refused=spec(agent={"mcpServers": [{"name": n, "command": ["m"]} for n in "aa"]}),
        says="Duplicate value",
    ),
    "a header is of one line": Case(
        accepted=tool(http={**HTTP, "headers": [{"name": "Accept", "value": "text/plain"}]}),
        refused=tool(http={**HTTP, "headers": [{"name": "Accept", "value": "a\nb: c"}]}),
        says="headers[0].value",
    ),
    "a result is at most a mebibyte": Case(
        accepted=tool(http=HTTP, maxResultBytes=1048576),
        refused=tool(http=HTTP, maxResultBytes=1048577),
        says="maxResultBytes",
    ),
    "a tool's timeout is at most an hour": Case(
        accepted=tool(http=HTTP, timeoutSeconds=3600),
        refused=tool(http=HTTP, timeoutSeconds=3601),
        says="timeoutSeconds",
    ),
    "a bucket has a bucket's name": Case(
        accepted=s3(bucket="my.agents-1"), refused=s3(bucket="My_Agents"), says="s3.bucket"
    ),
    "a prefix stays inside its bucket": Case(
        accepted=s3(prefix="prod/eu/"), refused=s3(prefix="prod/../dev"), says="s3.prefix"
    ),
    "an endpoint is an address": Case(
        accepted=s3(endpoint="http://10.0.0.1:7070"), refused=s3(endpoint="10.0.0.1:7070"), says="s3.endpoint"
    ),
    "addresses have one of two forms": Case(
        accepted=s3(addressing="Virtual"), refused=s3(addressing="Host"), says="s3.addressing"
    ),
    "encryption is of a known kind": Case(
        accepted=s3(encryption={"type": "SSE-S3"}), refused=s3(encryption={"type": "SSE-C"}), says="encryption.type"
    ),
    "a Redis address has no password in it": Case(
        accepted=redis(), refused=redis(url="redis://:secret@redis.example.com"), says="redis.url"
    ),
    "a Redis address is one": Case(
        accepted=redis(url="redis://redis"), refused=redis(url="https://redis"), says="redis.url"
    ),
    "a Redis prefix stays a path": Case(
        accepted=redis(prefix="prod/eu"), refused=redis(prefix="prod/../dev"), says="redis.prefix"
    ),
    "a log may be kept for ever, but not less than that": Case(
        accepted=redis(ttlSeconds=0), refused=redis(ttlSeconds=-1), says="redis.ttlSeconds"
    ),
    "a write waits for some replicas at most": Case(
        accepted=redis(durability={"aof": False, "replicas": 2}),
        refused=redis(durability={"replicas": 17}),
        says="durability.replicas",
    ),
    "a filesystem store has a volume": Case(
        accepted=spec(checkpoint={"filesystem": {"claimName": "checkpoints"}}),
        refused=spec(checkpoint={"filesystem": {"path": "prod"}}),
        says="filesystem.claimName",
    ),
    "a folder stays inside its volume": Case(
        accepted=spec(checkpoint={"filesystem": {"claimName": "c", "path": "prod/eu"}}),
        refused=spec(checkpoint={"filesystem": {"claimName": "c", "path": "../x"}}),
        says="filesystem.path",
    ),
    "writes are verified in one of two ways": Case(
        accepted=spec(checkpoint={"verify": "ReadBack"}),
        refused=spec(checkpoint={"verify": "Never"}),
        says="checkpoint.verify",
    ),
    "progress is written after one step at least": Case(
        accepted=spec(checkpoint={"everySteps": 5}),
        refused=spec(checkpoint={"everySteps": 0}),
        says="checkpoint.everySteps",
    ),
    "a command has a name": Case(accepted=command(), refused={"command": []}, says="spec.command"),
    "a command's folder is stored once a second at most": Case(
        accepted=command(checkpoint={"everySeconds": 1}),
        refused=command(checkpoint={"everySeconds": 0}),
        says="checkpoint.everySeconds",
    ),
    "one snapshot is kept at least": Case(
        accepted=spec(checkpoint={"keepLast": 1}), refused=spec(checkpoint={"keepLast": 0}), says="checkpoint.keepLast"
    ),
    "corruption is met in one of two ways": Case(
        accepted=spec(checkpoint={"onCorruption": "Stall"}),
        refused=spec(checkpoint={"onCorruption": "Restart"}),
        says="checkpoint.onCorruption",
    ),
    "a fork's key is a record's": Case(
        accepted=fork(task="triage", key=RECORD), refused=fork(task="triage", key="42"), says="resumeFrom.key"
    ),
    "a fork's key stays inside its store": Case(
        accepted=fork(task="triage", key=RECORD),
        refused=fork(task="triage", key=f"prod/../{RECORD}"),
        says="resumeFrom.key",
    ),
    "a fork's prefix stays inside its store": Case(
        accepted=fork(location=PLACE, key=RECORD),
        refused=fork(location={**PLACE, "prefix": "../prod"}, key=RECORD),
        says="resumeFrom.location.prefix",
    ),
    "what is taken along is known": Case(
        accepted=fork(task="triage", parts=["Results", "Conversation"]),
        refused=fork(task="triage", parts=["Conversation", "Files"]),
        says='Unsupported value: "Files"',
    ),
    "a task's name is one": Case(accepted=fork(task="triage-2"), refused=fork(task="Triage.2"), says="resumeFrom.task"),
    "a place to go on from has a kind": Case(
        accepted=fork(location=PLACE, key=RECORD),
        refused=fork(location={"bucket": "agents"}, key=RECORD),
        says="resumeFrom.location.type: Required value",
    ),
    "a region is one word": Case(accepted=s3(region="eu-west-1"), refused=s3(region="eu west"), says="s3.region"),
    "a budget allows one step at least": Case(
        accepted=spec(budget={"steps": 1}), refused=spec(budget={"steps": 0}), says="budget.steps"
    ),
    "a budget allows one token at least": Case(
        accepted=spec(budget={"tokens": 1}), refused=spec(budget={"tokens": 0}), says="budget.tokens"
    ),
    "failures may be allowed none": Case(
        accepted=spec(retry={"maxFailures": 0}), refused=spec(retry={"maxFailures": -1}), says="retry.maxFailures"
    ),
    "a backoff is one second at least": Case(
        accepted=spec(retry={"maxBackoffSeconds": 1}),
        refused=spec(retry={"maxBackoffSeconds": 0}),
        says="retry.maxBackoffSeconds",
    ),
    "how the log of a deleted task goes is one of two ways": Case(
        accepted=spec(checkpoint={"onDelete": "Delete"}),
        refused=spec(checkpoint={"onDelete": "Forget"}),
        says="checkpoint.onDelete",
    ),
    "more memory is an amount": Case(
        accepted=spec(retry={"oomMemoryLimit": "4Gi"}, **LIMITED),
        refused=spec(retry={"oomMemoryLimit": "much"}, **LIMITED),
        says="retry.oomMemoryLimit",
    ),
    "a runner may be waited for one second at least": Case(
        accepted=spec(retry={"startDeadlineSeconds": 1}),
        refused=spec(retry={"startDeadlineSeconds": 0}),
        says="retry.startDeadlineSeconds",
    ),
    "runners may work for one second at least": Case(
        accepted=spec(activeDeadlineSeconds=1),
        refused=spec(activeDeadlineSeconds=0),
        says="spec.activeDeadlineSeconds",
    ),
    "a finished task may go at once, and not before": Case(
        accepted=spec(ttlSecondsAfterFinished=0),
        refused=spec(ttlSecondsAfterFinished=-1),
        says="spec.ttlSecondsAfterFinished",
    ),
    "a grace is one second at least": Case(
        accepted=pod(terminationGracePeriodSeconds=1),
        refused=pod(terminationGracePeriodSeconds=0),
        says="terminationGracePeriodSeconds",
    ),
    "resources are quantities": Case(
        accepted=pod(resources={"requests": {"cpu": "250m", "memory": 1000000}}),
        refused=pod(resources={"requests": {"cpu": "much"}}),
        says="requests.cpu",
    ),
    "no field is taken that does not work yet": Case(
        accepted=spec(), refused=spec(entrypoint="pkg.mod:main"), says='unknown field "spec.entrypoint"'
    ),
}


@dataclass(frozen=True, kw_only=True)
class Tried:
    accepted: bool
    message: str = field(default="", compare=False)


def attempt(copy: Copy, *, name: str, spec: Object) -> Tried:
    body = copy.manifest(name=name, spec=spec)
    answer = copy.admin.send("POST", copy.path(), body=body, dryRun="All", fieldValidation="Strict")
    assert answer.accepted or answer.status in {400, 422}, answer
    return Tried(accepted=answer.accepted, message=answer.message)


def named(thing: Any, group: str) -> Any:
    """The example with the copy's group in place of {group}."""
    if isinstance(thing, dict):
        return {named(key, group): named(value, group) for key, value in thing.items()}
    return thing.replace("{group}", group) if isinstance(thing, str) else thing


@pytest.mark.parametrize("sentence", [*RULES, *BOUNDS])
def test_a_new_task_is_refused_only_for_what_is_wrong_with_it(copy: Copy, sentence: str) -> None:
    case = {**RULES, **BOUNDS}[sentence]
    good = attempt(copy, name=case.accepted_name, spec=named(case.accepted, copy.group))
    bad = attempt(copy, name=case.refused_name, spec=named(case.refused, copy.group))
    assert good == Tried(accepted=True), good.message
    assert bad == Tried(accepted=False)
    assert named(case.says, copy.group) in bad.message


def test_a_fork_takes_everything_along_unless_it_says_otherwise(copy: Copy) -> None:
    body = copy.manifest(name="fork", spec={"resumeFrom": {"task": "triage"}})
    made = copy.admin.send("POST", copy.path(), body=body, dryRun="All", fieldValidation="Strict")
    assert made.body["spec"]["resumeFrom"] == {"task": "triage", "parts": ["Conversation", "Results"]}


def test_the_smallest_task_is_complete_and_shows_its_defaults(copy: Copy) -> None:
    body = copy.manifest(name="smallest", spec={"prompt": "Hello."})
    made = copy.admin.send("POST", copy.path(), body=body, dryRun="All", fieldValidation="Strict")
    assert made.body["spec"] == {
        "prompt": "Hello.",
        "checkpoint": {
            "verify": "Checksum",
            "everySteps": 1,
            "keepLast": 3,
            "onCorruption": "Rewind",
            "onDelete": "Retain",
        },
        "budget": {"steps": 50},
        "retry": {"maxFailures": 3, "maxBackoffSeconds": 300},
        "suspend": False,
        "cancel": False,
    }
