# Build: docker build -t safety-proxy .
# The wheel is built in one image and installed in another, so that no tool and no source gets into the second.

FROM python:3.11-slim AS build
WORKDIR /src
COPY . .
RUN python -m venv /opt/safety-proxy \
    && pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && /opt/safety-proxy/bin/pip install --no-cache-dir /wheels/*.whl

FROM python:3.11-slim
# A fixed number, so that mounted files can be given to this user. It owns nothing of the program.
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin safety-proxy
COPY --from=build /opt/safety-proxy /opt/safety-proxy
ENV PATH=/opt/safety-proxy/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 8080
# /healthz, not /readyz: a classifier that is away is no reason to restart the proxy.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["safety-proxy"]
# Mount a configuration there, as docker-compose.yml does. Beyond loopback it must hold `keys`, or `auth: none`.
CMD ["serve", "--host", "0.0.0.0", "--config", "/etc/safety-proxy/proxy.yaml"]
