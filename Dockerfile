# The program, as an image: `docker build --build-arg EXTRAS=postgres,view --tag turnlog:0.1.0 .`
# Its default command is the viewer; every other command is given as arguments.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY migrations migrations
COPY fixtures/demo.jsonl.gz fixtures/
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .
ARG EXTRAS=all
RUN python -m venv /opt/turnlog \
    && /opt/turnlog/bin/pip install --no-cache-dir "$(echo /wheels/turnlog-*.whl)[$EXTRAS]"

FROM python:3.11-slim-bookworm
RUN groupadd --system --gid 10001 turnlog \
    && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/turnlog --create-home turnlog
COPY --from=build /opt/turnlog /opt/turnlog
# Journals and caches are in the home folder: it is the one place to mount a volume at, and all else can be read-only.
ENV PATH=/opt/turnlog/bin:$PATH HOME=/var/lib/turnlog PYTHONUNBUFFERED=1
WORKDIR /var/lib/turnlog
USER 10001:10001
EXPOSE 8000
# checkov:skip=CKV_DOCKER_2: most commands are jobs; deploy/compose.yaml has the viewer's health check
ENTRYPOINT ["turnlog"]
CMD ["view", "--host", "0.0.0.0", "--port", "8000", "--allow-host", "localhost", "--no-open"]
