# One image for workers, clients and tools; torch is not in it (serving never imports it).
#   docker build -t rankstream .
#   docker build --build-arg EXTRAS=train -t rankstream-train .     to train, export and embed
FROM python:3.11-slim AS build
ARG EXTRAS=""
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY rankstream rankstream
COPY features features
COPY events events
COPY metrics metrics
COPY bundles bundles
COPY content content
COPY graph graph
COPY retrieval retrieval
COPY models models
COPY ranking ranking
COPY streams streams
COPY gateway gateway
COPY web web
COPY evaluation evaluation
COPY cli cli
COPY deploy/requirements.lock ./
# What is served with is pinned, by version and by checksum; extras are pinned to the same versions where they share any.
RUN python -m venv /opt/rankstream \
 && /opt/rankstream/bin/pip install --no-cache-dir --require-hashes -r requirements.lock \
 && /opt/rankstream/bin/pip install --no-cache-dir --no-deps . \
 && if [ -n "$EXTRAS" ]; then \
      sed -n 's/^\([^ ;]*==[^ ;]*\).*/\1/p' requirements.lock > pinned.txt \
      && /opt/rankstream/bin/pip install --no-cache-dir -c pinned.txt ".[$EXTRAS]"; \
    fi

FROM python:3.11-slim
COPY --from=build /opt/rankstream /opt/rankstream
ENV PATH=/opt/rankstream/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 10001 rankstream \
 && mkdir -p /var/lib/rankstream && chown rankstream /var/lib/rankstream
USER rankstream
WORKDIR /home/rankstream
# With EXTRAS=fast, the machine code of the compiled engine, so that no container compiles it: for the processor that the
# image is built on, unless NUMBA_CPU_NAME says another (docs/operations.md, "The compiled engine").
RUN if python -c "import numba"; then \
      python -c "from rankstream.streams.engine import open_engine; open_engine('compiled')"; \
    fi
VOLUME /var/lib/rankstream
ENV RANKSTREAM_STATE_DIR=/var/lib/rankstream RANKSTREAM_WEB_PORT=6066
# /live, not /ready: whoever restarts what is unhealthy must not restart a restore. A gateway sets HEALTH_URL to its own.
ENV HEALTH_URL=http://127.0.0.1:6066/live
HEALTHCHECK --interval=10s --timeout=4s --start-period=60s --retries=3 \
 CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(os.environ['HEALTH_URL'], timeout=3)"]
ENTRYPOINT ["rankstream"]
CMD ["worker"]
