# Small, without root, and content with a read-only root file system: it writes to /data (SQLite) and /tmp alone.
#   docker build -t hookline .
#   docker run --read-only --tmpfs /tmp -v hookline:/data -p 127.0.0.1:8080:8080 -e HOOKLINE_SECRET_KEY=… hookline
ARG PYTHON=3.13-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /build
RUN python -m venv /opt/hookline
# Dependencies first, by hash: they change less often than we do.
COPY requirements.lock ./
RUN /opt/hookline/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: \
      -r requirements.lock
COPY requirements-build.lock pyproject.toml README.md LICENSE ./
COPY src ./src
# What builds the wheel stays behind in this stage.
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: \
      -r requirements-build.lock \
 && /opt/build/bin/python -m hatchling build --target wheel \
 && /opt/hookline/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps dist/hookline-*.whl \
 && /opt/hookline/bin/python -m compileall -q /opt/hookline/lib \
 && /opt/hookline/bin/pip uninstall --yes pip

FROM python:${PYTHON}
RUN groupadd --system --gid 65532 hookline \
 && useradd --system --uid 65532 --gid 65532 --no-create-home --home-dir /data --shell /usr/sbin/nologin hookline \
 && install --directory --owner 65532 --group 65532 --mode 0700 /data
COPY --from=build /opt/hookline /opt/hookline
ENV PATH=/opt/hookline/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOOKLINE_HOST=0.0.0.0 \
    HOOKLINE_PORT=8080 \
    HOOKLINE_DATABASE_URL=sqlite:////data/hookline.db
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 8080
# Drain, then attempts in flight: give it 50 s before SIGKILL (docker stop --time 50).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/readyz', timeout=5)"]
ENTRYPOINT ["hookline"]
CMD ["serve"]
