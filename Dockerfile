# syntax=docker/dockerfile:1
# Images of the operator and of the runner, and of a throw-away S3 server for trying things out.
#   docker build --target operator -t agenttask-operator:dev .
#   docker build --target runner   -t agenttask-runner:dev .
#   docker build --target devstore --build-context versitygw=DIR -t agenttask-devstore:dev .   (DIR holds the binary)
# BASE is any image with Python 3.13 as `python3` and its venv module.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
ARG UV_VERSION=0.13.9
# The system's certificates, so that a company's own authority is trusted where its bundle is mounted.
ENV UV_SYSTEM_CERTS=1 UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 \
    UV_PROJECT_ENVIRONMENT=/opt/agenttask PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install -q "uv==${UV_VERSION}"
# Our own files alone make the last layer of an image, so that a change of code is a small one.
RUN printf '%s\n' '#!/bin/sh -e' \
    'find /opt/agenttask -newer /src/uv.lock-installed ! -type d | (mkdir -p /new && xargs cp -a --parents -t /new)' \
    > /usr/local/bin/collect-new && chmod 755 /usr/local/bin/collect-new
WORKDIR /src
# Dependencies change seldom and sources often: each has its own layer.
COPY pyproject.toml uv.lock ./
COPY operator/pyproject.toml operator/
COPY runner/pyproject.toml runner/

FROM build AS operator-dependencies
RUN /opt/uv/bin/uv sync --frozen --no-dev --no-install-workspace --package agenttask-operator && \
    touch uv.lock-installed
FROM build AS runner-dependencies
RUN /opt/uv/bin/uv sync --frozen --no-dev --no-install-workspace --package agenttask --extra runner --extra mcp && \
    touch uv.lock-installed

FROM operator-dependencies AS operator-build
COPY operator operator
COPY runner runner
RUN /opt/uv/bin/uv sync --frozen --no-dev --no-editable --package agenttask-operator && \
    collect-new && \
    ! /opt/agenttask/bin/python -c "import boto3" 2>/dev/null && /opt/agenttask/bin/python -c "import kopf"
FROM runner-dependencies AS runner-build
COPY runner runner
RUN /opt/uv/bin/uv sync --frozen --no-dev --no-editable --package agenttask --extra runner --extra mcp && \
    collect-new && \
    ! /opt/agenttask/bin/python -c "import kopf" 2>/dev/null && /opt/agenttask/bin/python -c "import boto3"

FROM ${BASE} AS python
ENV PATH=/opt/agenttask/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /
USER 65532:65532

FROM python AS operator
COPY --from=operator-dependencies /opt/agenttask /opt/agenttask
COPY --from=operator-build /new /
ENTRYPOINT ["agenttask-operator"]

FROM python AS runner
COPY --from=runner-dependencies /opt/agenttask /opt/agenttask
COPY --from=runner-build /new /
ENTRYPOINT ["agenttask"]

FROM ${BASE} AS devstore
COPY --from=versitygw versitygw /usr/local/bin/versitygw
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/versitygw"]
