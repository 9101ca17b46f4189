# The two images of the product: `--target proxy` (the sidecar) and `--target control-plane`.
#
# Wheels are fetched and installed in builder stages; a result is the base plus one virtual
# environment: no pip, no compiler, a numeric user, nothing to write to but mounted volumes.
# Dependencies are those of docker/*.lock, exact and by their hashes, in layers of their own, so a
# change of code rebuilds without a network. The last step of each result proves what is in it.
# Written for BuildKit and for buildah 1.28 alike: no heredocs, no frontend line.

ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
# Two environments: /opt/build has pip and the build backend and stays behind, /opt/matrixflag ships.
RUN python -m venv /opt/build && python -m venv --without-pip /opt/matrixflag
COPY docker/build.lock /locks/
RUN /opt/build/bin/pip install --quiet --only-binary :all: --require-hashes -r /locks/build.lock
WORKDIR /src

FROM builder AS proxy-builder
COPY docker/sidecar.lock /locks/
RUN /opt/build/bin/pip --python /opt/matrixflag/bin/python install --quiet --only-binary :all: \
    --require-hashes -r /locks/sidecar.lock
COPY pyproject.toml README.md LICENSE ./
COPY proxy proxy
# control_plane is not copied, so the wheel that is made here cannot hold it
RUN /opt/build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels . && \
    /opt/build/bin/pip --python /opt/matrixflag/bin/python install --quiet --no-deps /wheels/*.whl

FROM builder AS control-plane-builder
COPY docker/control-plane.lock /locks/
RUN /opt/build/bin/pip --python /opt/matrixflag/bin/python install --quiet --only-binary :all: \
    --require-hashes -r /locks/control-plane.lock
COPY pyproject.toml README.md LICENSE ./
COPY proxy proxy
COPY control_plane control_plane
RUN /opt/build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels . && \
    /opt/build/bin/pip --python /opt/matrixflag/bin/python install --quiet --no-deps /wheels/*.whl

FROM ${PYTHON_IMAGE} AS runtime
# The base's own installers go: an intruder in the container should have to bring tools along.
# /var/lib/matrixflag is where volumes are mounted; a fresh one inherits its owner.
COPY docker/remove_installers.py /tmp/
RUN python /tmp/remove_installers.py && rm /tmp/remove_installers.py && \
    install -d -o 10001 -g 10001 -m 0700 /var/lib/matrixflag
ENV PATH=/opt/matrixflag/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.licenses="MIT"

FROM runtime AS control-plane
LABEL org.opencontainers.image.title="Matrix Flag control plane"
COPY --from=control-plane-builder /opt/matrixflag /opt/matrixflag
# Numeric, so that runAsNonRoot can be checked without reading the image's passwd.
USER 10001:10001
COPY docker/verify_image.py /opt/matrixflag/
RUN python /opt/matrixflag/verify_image.py --import proxy --import control_plane --forbid pytest,locust
EXPOSE 8000 8001
ENTRYPOINT ["matrixflag", "control-plane"]

FROM runtime AS proxy
LABEL org.opencontainers.image.title="Matrix Flag sidecar"
COPY --from=proxy-builder /opt/matrixflag /opt/matrixflag
USER 10001:10001
COPY docker/verify_image.py /opt/matrixflag/
RUN python /opt/matrixflag/verify_image.py --import proxy --forbid control_plane,redis,scipy,jsonschema,jwt,argon2,webauthn,ldap3
EXPOSE 8016 8014
ENTRYPOINT ["matrixflag", "proxy"]
