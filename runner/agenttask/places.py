"""Where a task's log lies: a part of the contract, since the operator resolves it and people's tools follow it.

Pure, and needs msgspec alone. A place is taken whole, from the task or from the chart, and never moves once it is
recorded; what opens it (the Secret, certificates, how the server wants to be spoken to) follows the task's own block as
long as there is one.
"""

from __future__ import annotations

import msgspec

from agenttask import contract


def resolve(
    *,
    own: contract.Checkpoint,
    default: contract.Checkpoint | None,
    recorded: contract.Location | None,
) -> contract.Location | None:
    """The recorded place, which never moves; before attempt 1 the task's own, else the chart's, else None."""
    mine = _of(own)
    if recorded is None:
        return mine or (_of(default) if default else None)
    if mine is None or mine.type != recorded.type:
        return recorded
    return msgspec.structs.replace(
        mine,
        bucket=recorded.bucket,
        prefix=recorded.prefix,
        endpoint=recorded.endpoint,
        region=recorded.region,
        claim_name=recorded.claim_name,
        path=recorded.path,
    )


def _of(checkpoint: contract.Checkpoint) -> contract.Location | None:
    if (s3 := checkpoint.s3) is not None:
        return contract.Location(
            type="s3",
            bucket=s3.bucket,
            prefix=s3.prefix,
            endpoint=s3.endpoint,
            region=s3.region,
            addressing=s3.addressing,
            encryption=s3.encryption,
            ca_config_map=s3.ca_config_map_ref,
            credentials_secret=s3.credentials_secret_ref.name if s3.credentials_secret_ref else None,
        )
    if (redis := checkpoint.redis) is not None:
        return contract.Location(
            type="redis",
            prefix=redis.prefix,
            endpoint=redis.url,
            ttl_seconds=redis.ttl_seconds,
            durability=redis.durability,
            ca_config_map=redis.ca_config_map_ref,
            credentials_secret=redis.credentials_secret_ref.name if redis.credentials_secret_ref else None,
        )
    if (volume := checkpoint.filesystem) is not None:
        return contract.Location(type="filesystem", claim_name=volume.claim_name, path=volume.path)
    return None
