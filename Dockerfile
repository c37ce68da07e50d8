# Daemon, gateway and command line in one image; Ray comes with it, since replicas need the same Python and hcctl.
# Build: docker build --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:<digest> -t hcctl .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /src
COPY requirements/ requirements/
# The locks of the product and of clusters, by hash; torch by itself, as in the Makefile.
RUN python -m venv /opt/hcctl \
    && /opt/hcctl/bin/pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: \
        --requirement requirements/py3.11.txt --requirement requirements/clusters-py3.11.txt \
    && /opt/hcctl/bin/pip install --no-cache-dir --only-binary :all: --requirement requirements/torch.txt
COPY pyproject.toml README.md ./
COPY autoscaler/ autoscaler/
COPY cli/ cli/
COPY infra/ infra/
COPY serving/ serving/
RUN /opt/hcctl/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="hcctl" \
      org.opencontainers.image.description="One model service on two sites: private GPUs first, cloud GPUs while they pay." \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 hcctl && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp hcctl
COPY --from=build /opt/hcctl /opt/hcctl
ENV PATH=/opt/hcctl/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0
# By number: Kubernetes checks runAsNonRoot by it.
USER 10001:10001
WORKDIR /project
ENTRYPOINT ["hcctl"]
CMD ["--help"]
