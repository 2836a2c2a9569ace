# syntax=docker/dockerfile:1
# The relay as an image: the binary, certificate authorities and glibc, which librdkafka needs.
#
#   docker build -t relay --build-arg VERSION=$(git describe --tags --always) .
#   docker run --rm -e RELAY_POSTGRES_URL=… -e RELAY_KAFKA_BROKERS=… relay check

# Built on the Debian that it runs on: a newer glibc at build time would be asked for at run time.
FROM golang:1.26-bookworm AS build
# The allocator that the tag jemalloc links in (publisher/librdkafka/jemalloc.go).
RUN apt-get update && apt-get install -y --no-install-recommends libjemalloc-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=dev COMMIT=unknown DATE=unknown
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=1 scripts/build-release.sh /out/relay \
    "-X main.version=${VERSION} -X main.commit=${COMMIT} -X main.date=${DATE}"

FROM debian:bookworm-slim
# From the build image, so that no package has to be installed here.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo
COPY --from=build /out/relay /usr/local/bin/relay
# A number, because Kubernetes checks runAsNonRoot by number. The relay writes no file.
USER 65532:65532
EXPOSE 9187
# The process answers on http.listen. With another address there, or none, set or disable the check anew.
# Bash opens the connection: the image has no other client.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9187 && printf 'GET /livez HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q '^HTTP/1.[01] 200' <&3"]
ENTRYPOINT ["/usr/local/bin/relay"]
CMD ["run"]
