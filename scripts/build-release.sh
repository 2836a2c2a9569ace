#!/usr/bin/env bash
# The program as it is published: scripts/build-release.sh OUT [more for the linker, as -X main.version=v1].
# For `make release`, the image and the test of the release. It needs a C compiler and jemalloc.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Kafka's messages as franz-go has them, which no event passes through (one is read or written a request), and the broker
# of `relay dev`. Without inlining they are smaller by 1.3 MB (docs/decisions/0008-binary-size.md).
small=(
    -gcflags=github.com/twmb/franz-go/pkg/kmsg=-l
    -gcflags=github.com/twmb/franz-go/pkg/kfake=-l
)

exec go build -buildvcs=false -trimpath -tags jemalloc "${small[@]}" -ldflags "-s -w ${2:-}" -o "$1" ./cmd/relay
