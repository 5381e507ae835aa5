"""What a task asks for, and what one attempt at it is told."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import msgspec

from agenttask.contract.names import RESULT_BYTES
from agenttask.contract.place import ForkedFrom, Place, ResumeFrom
from agenttask.contract.wire import Wire


class SecretKeyRef(Wire, frozen=True):
    """One key of a Secret in the task's namespace."""

    name: str
    key: str = "api-key"


class SecretRef(Wire, frozen=True):
    """A Secret in the task's namespace."""

    name: str


class ConfigMapKeyRef(Wire, frozen=True):
    """One key of a ConfigMap in the task's namespace."""

    name: str
    key: str = "ca.crt"


class Price(Wire, frozen=True):
    """US dollars for a million tokens."""

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    """For input the endpoint had seen before; None: as for any other."""


class Fallback(Wire, frozen=True):
    """Another model, for when those before it do not answer.

    It stands at its own endpoint or, without a `base_url`, at the main one with all that belongs there.
    """

    name: str
    base_url: str | None = msgspec.field(name="baseURL", default=None)
    api_key_secret_ref: SecretKeyRef | None = None
    ca_config_map_ref: ConfigMapKeyRef | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    price: Price | None = None


class Model(Wire, frozen=True):
    """An OpenAI-compatible chat-completions endpoint. Taken whole or not at all: a key goes only where it belongs."""

    base_url: str = msgspec.field(name="baseURL")
    name: str
    api_key_secret_ref: SecretKeyRef | None = None
    ca_config_map_ref: ConfigMapKeyRef | None = None
    """The certificates that vouch for the endpoint, instead of the image's."""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    """Sent with each request to this endpoint, beside what the protocol needs."""
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    """Further fields of each request, as the endpoint knows them."""
    price: Price | None = None
    """None: as in the public price list."""
    max_retries: int = 3
    """How often a model is asked again before the next one is, or the attempt ends."""
    fallbacks: tuple[Fallback, ...] = ()


class Header(Wire, frozen=True):
    """A header of each request; exactly one of `value` and `secret_key_ref` is set."""

    name: str
    value: str | None = None
    secret_key_ref: SecretKeyRef | None = None
    prefix: str = ""
    """What stands before the Secret's value, as in `Bearer `."""


class HttpTool(Wire, frozen=True):
    """A tool that is one HTTP request: arguments as JSON body, or as query for GET, HEAD and DELETE.

    `{{name}}` stands for an argument, which is then sent in that place alone.
    """

    url: str
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    headers: tuple[Header, ...] = ()
    body: dict[str, Any] | None = None
    """What is sent instead of the arguments; a text that is one `{{name}}` alone becomes that argument, of any type."""


class Probe(Wire, frozen=True):
    """Asks whether a call has taken effect; exactly one of `http`, `command` and `python` is set.

    It gets what the call got, idempotency key included, and answers `{"done": true, "result": …}` or `{"done": false}`.
    """

    http: HttpTool | None = None
    command: tuple[str, ...] | None = None
    python: str | None = None


class Sleep(Wire, frozen=True):
    """Lets the model wait: `{"seconds": n}`. What takes longer than another pod would is waited without one."""

    max_seconds: int = 86400


class Tool(Wire, frozen=True):
    """A tool the model may call; exactly one of `http`, `command`, `python` and `sleep` is set."""

    name: str
    recovery: Literal["Idempotent", "Once", "Reconcile"] = "Once"
    """What follows when a call's outcome was lost: run it again; never run it again; ask the probe."""
    on_doubt: Literal["Stall", "TellModel", "Fail"] = "Stall"
    """What follows when nothing says whether a call took effect."""
    probe: Probe | None = None
    """Of a tool with recovery Reconcile."""
    description: str = ""
    parameters: dict[str, Any] = msgspec.field(default_factory=lambda: {"type": "object", "properties": {}})
    http: HttpTool | None = None
    command: tuple[str, ...] | None = None
    python: str | None = None
    """`package.module:function`, which gets the arguments by name, in a process of its own."""
    sleep: Sleep | None = None
    """Its parameters are its own, and it may run twice."""
    pass_env: tuple[str, ...] = ()
    """Variables of the runner's environment that a process sees beside the few that every one does."""
    timeout_seconds: int = 60
    max_result_bytes: int = RESULT_BYTES
    """What the model gets of a result at most."""


class Output(Wire, frozen=True):
    """The form of an answer."""

    format: Literal["Text", "Json", "XmlTag"] = "Text"
    tag: str | None = None
    """Of the format XmlTag: what stands in it is the answer."""
    schema: dict[str, Any] | None = None
    """JSON Schema of the answer; in a tag the answer then is JSON too."""


class McpServer(Wire, frozen=True):
    """A server whose tools the model may call as `<server>_<tool>`; exactly one of `url` and `command` is set."""

    name: str
    url: str | None = None
    """Of a server that is spoken to over streamable HTTP."""
    headers: tuple[Header, ...] = ()
    command: tuple[str, ...] | None = None
    """Of a server that is a process in the runner's container, spoken to over its standard input and output."""
    pass_env: tuple[str, ...] = ()
    tools: tuple[str, ...] | None = None
    """Those the model is told of, by the server's own names; None: all."""
    recovery: Literal["Idempotent", "Once"] | None = None
    """Of all its tools; None: as each tool's own hints say."""
    on_doubt: Literal["Stall", "TellModel", "Fail"] = "Stall"
    timeout_seconds: int = 60
    max_result_bytes: int = RESULT_BYTES


class Agent(Wire, frozen=True):
    """What the built-in agent is: nothing in here is about one task."""

    system_prompt: str | None = None
    model: Model | None = None
    tool_choice: Literal["Auto", "Required", "None"] = "Auto"
    """Whether each reply may, must or must not call tools."""
    finish: Literal["Reply", "Tool"] = "Reply"
    """How the answer is given: by a reply without tool calls, or by calling the tool `finish`."""
    output: Output = Output()
    context_tokens: int | None = None
    """From which size on requests are made shorter; None: where the endpoint calls one too long."""
    tools: tuple[Tool, ...] = ()
    mcp_servers: tuple[McpServer, ...] = ()


class Encryption(Wire, frozen=True):
    """Encryption at rest by the S3 server: with its own key, or with one of its key service (None: the default one)."""

    type: Literal["SSE-S3", "SSE-KMS"]
    kms_key_id: str | None = msgspec.field(name="kmsKeyID", default=None)


class Durability(Wire, frozen=True):
    """What a Redis write waits for before it counts."""

    aof: bool = True
    """That the primary (and `replicas`) have it in their append-only file, on disk."""
    replicas: int = 0
    """That so many replicas have it."""


class S3(Wire, frozen=True):
    """A place in an S3 bucket. Without a credentials Secret the default AWS chain applies."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    addressing: Literal["Path", "Virtual"] | None = None
    encryption: Encryption | None = None
    ca_config_map_ref: ConfigMapKeyRef | None = None
    credentials_secret_ref: SecretRef | None = None


class Redis(Wire, frozen=True):
    """A place on a Redis server with one primary: one hash per task."""

    url: str
    """`redis://host:6379/0` or `rediss://…`; never with a password in it."""
    prefix: str = ""
    ttl_seconds: int = 604800
    """How long a log is kept after its final record; an unfinished one never expires."""
    durability: Durability = Durability()
    ca_config_map_ref: ConfigMapKeyRef | None = None
    credentials_secret_ref: SecretRef | None = None


class Filesystem(Wire, frozen=True):
    """A folder on a volume with hard links."""

    claim_name: str
    """PersistentVolumeClaim in the task's namespace."""
    path: str = ""
    """Folder inside the volume."""


class Checkpoint(Wire, frozen=True):
    """Where the checkpoint log goes (at most one place), and how it is kept."""

    s3: S3 | None = None
    redis: Redis | None = None
    filesystem: Filesystem | None = None
    verify: Literal["Checksum", "ReadBack"] = "Checksum"
    """Whether the store's own checksums are enough, or each write is read back and compared."""
    every_steps: int = 1
    """1: every event is durable before the next thing happens. More: a kill repeats up to that many steps."""
    every_seconds: int | None = None
    """How often a command's folder is stored; None: every `EVERY_SECONDS`."""
    keep_last: int = 3
    """How many verified snapshots are kept; records older than the oldest of them go."""
    on_corruption: Literal["Rewind", "Stall"] = "Rewind"
    """What to do when a record that is needed cannot be read."""
    on_delete: Literal["Retain", "Delete"] = "Retain"
    """What becomes of the log when the task is deleted."""


class ConfigMapRef(Wire, frozen=True):
    """A ConfigMap in the task's namespace."""

    name: str


class Code(Wire, frozen=True):
    """Python modules of the task's own: the files of a ConfigMap, mounted at `CODE_DIR`, on the path of what runs."""

    config_map_ref: ConfigMapRef


class Budget(Wire, frozen=True):
    """What the task may use. `steps` counts model replies."""

    steps: int = 50
    tokens: int | None = None
    """Sent and received, together; None: as many as it takes."""
    cost_usd: Decimal | None = msgspec.field(name="costUSD", default=None)
    """Paid for the model, estimates included; None: as much as it takes."""


class Retry(Wire, frozen=True):
    """How application failures are retried. Disruptions never count."""

    max_failures: int = 3
    max_backoff_seconds: int = 300
    oom_memory_limit: str | None = None
    """Up to how much memory a container gets that went over its limit, as a quantity; unset: no more than before."""
    start_deadline_seconds: int | None = None
    """How long a runner that works is waited for; unset: trouble before it does never ends a task."""


class PromptKeyRef(Wire, frozen=True):
    """One key of a ConfigMap in the task's namespace, with a prompt."""

    name: str
    key: str = "prompt"


class PromptFrom(Wire, frozen=True):
    """Where a prompt is read from."""

    config_map_key_ref: PromptKeyRef


class TaskSpec(Wire, frozen=True):
    """`spec` of an AgentTask. `pod` is merged into the runner pod by the operator and means nothing to a runner."""

    prompt: str | None = None
    """The first user message, or the next one of a fork; None in a fork, with `prompt_from`, or with `command`."""
    prompt_from: PromptFrom | None = None
    """Read by the first attempt, for all."""
    resume_from: ResumeFrom | None = None
    agent: Agent = Agent()
    command: tuple[str, ...] | None = None
    """A program to run instead of the agent; its folder is kept."""
    code: Code | None = None
    checkpoint: Checkpoint = Checkpoint()
    budget: Budget = Budget()
    retry: Retry = Retry()
    suspend: bool = False
    cancel: bool = False
    active_deadline_seconds: int | None = None
    """For how long runners may work, all attempts together."""
    ttl_seconds_after_finished: int | None = None
    """How long a finished task is kept; unset: until somebody deletes it."""
    pod: dict[str, Any] = {}  # noqa: RUF012 - msgspec copies it


class Location(Place, frozen=True):
    """`status.location`: where the log lies and how its store is spoken to, resolved before attempt 1.

    The place is immutable from then on; the rest follows `spec.checkpoint` as long as that names the place itself.
    """

    addressing: Literal["Path", "Virtual"] | None = None
    encryption: Encryption | None = None
    ttl_seconds: int | None = None
    durability: Durability | None = None
    ca_config_map: ConfigMapKeyRef | None = None
    credentials_secret: str | None = None
    """Name of the Secret written beside the place, so that a changed default never sends a key elsewhere."""


class Assignment(Wire, frozen=True):
    """What one attempt is told: everything the runner needs but its secrets and its pod's identity."""

    contract: int
    namespace: str
    name: str
    uid: str
    attempt: int
    location: Location
    spec: TaskSpec
    """With the model resolved: `spec.agent.model` is set, unless `spec.command` is."""
    recorded_key: str | None = None
    """`status.checkpoint.key` when the attempt was raised: a lower bound for what the log must hold."""
    recorded_seq: int | None = None
    forked_from: ForkedFrom | None = None
    """What an empty log begins with."""
    unreported: tuple[int, ...] | None = None
    """Attempts whose pods may still run: their nodes have not reported their end. None: nothing is known of any.

    At most `MAX_UNREPORTED`; of a full list, all attempts below the lowest count too.
    """
    met_park: int | None = None
    """The park whose wait is over; a run parked anywhere else goes on waiting."""
