# Two stages: the first builds the environment from the lock, the second holds only what runs. Non-root, read-only friendly.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/dauso
COPY requirements/run.txt requirements/run.txt
RUN /opt/dauso/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt
COPY . .
RUN /opt/dauso/bin/pip install --no-cache-dir hatchling && /opt/dauso/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/dauso/bin/pip uninstall -y hatchling
# No other wheel may bring packages of our six names (they are generic; pip overwrites silently).
RUN cd / && /opt/dauso/bin/python -P -c "import importlib.metadata as m; d=m.packages_distributions(); assert all(d[n]==['dauso'] for n in ('api','signer','ca_bridge','verification','audit','core')), d"

FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends libseccomp2 fonts-liberation && rm -rf /var/lib/apt/lists/* \
    && useradd --system --create-home --home-dir /var/lib/dauso --uid 10001 dauso \
    && install -d -o dauso -g dauso -m 0700 /var/lib/dauso/home /var/lib/dauso/highwater /run/dauso
COPY --from=build /opt/dauso /opt/dauso
ENV PATH=/opt/dauso/bin:$PATH PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 DAUSO_HOME=/var/lib/dauso/home
USER 10001
WORKDIR /var/lib/dauso
# No HEALTHCHECK here: web, signer and worker are asked differently (deploy/compose.yaml, the chart's probes).
ENTRYPOINT ["dauso"]
CMD ["doctor"]
