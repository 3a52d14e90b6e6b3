# Two stages: the first builds the environment from the lock, the second holds only what runs. Non-root, read-only friendly.
# To pin what was looked at: `docker build --build-arg PYTHON=python:3.11-slim-bookworm@sha256:… .`
ARG PYTHON=python:3.11-slim-bookworm
FROM ${PYTHON} AS build
WORKDIR /src
RUN python -m venv /opt/dauso && python -m venv /opt/build
COPY requirements requirements
# Wheels alone: nothing is compiled here, and what is fetched is what the lock names.
RUN /opt/dauso/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/run.txt \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/build.txt
COPY . .
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --no-index -w /wheel . \
    && /opt/dauso/bin/pip install --no-cache-dir --no-deps --no-index /wheel/*.whl
# No other wheel may bring packages of our six names (they are generic; pip overwrites silently).
RUN cd / && /opt/dauso/bin/python -P -c "import importlib.metadata as m; d=m.packages_distributions(); assert all(d[n]==['dauso'] for n in ('api','signer','ca_bridge','verification','audit','core')), d"

FROM ${PYTHON}
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libseccomp2 fonts-liberation && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 dauso && useradd --no-log-init --create-home --home-dir /var/lib/dauso --uid 10001 --gid 10001 dauso \
    && install -d -o dauso -g dauso -m 0700 /var/lib/dauso/home /var/lib/dauso/highwater /run/dauso
COPY --from=build /opt/dauso /opt/dauso
ENV PATH=/opt/dauso/bin:$PATH PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 DAUSO_HOME=/var/lib/dauso/home
USER 10001:10001
WORKDIR /var/lib/dauso
# No HEALTHCHECK here: web, signer and worker are asked differently (deploy/compose.yaml, the chart's probes).
ENTRYPOINT ["dauso"]
CMD ["doctor"]
