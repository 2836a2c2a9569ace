#!/usr/bin/env bash
# Brings what building and testing needs onto a Debian (or Ubuntu) or macOS machine, and says nothing when all of it
# is there. Run by `make setup`; safe to run any number of times.
#
# Needed: Go, a C compiler (librdkafka), jemalloc (the release build), PostgreSQL's server binaries, PgBouncer, Java and
# Maven (Apache Kafka for tests), Node with npm (the documentation's JavaScript is run by a test), spin (the model of the
# protocol is searched by a test), promtool (a test lets every alert fire), Chromium (a test works
# with the console).
# No database cluster and no service is made or started: tests run servers of their own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# --- what is missing ------------------------------------------------------------------------------------------------

go_is_new_enough() {
    # Asked inside the module: a Go from 1.21 on fetches the toolchain that go.mod names.
    local version
    version=$(go env GOVERSION 2>/dev/null) || return 1
    [[ $version =~ go1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= 26))
}

c_compiler_works() {
    # A compiler without the C library's headers is of no use.
    local cc=${CC:-}
    [ -n "$cc" ] || { have cc && cc=cc; } || { have gcc && cc=gcc; } || { have clang && cc=clang; } || return 1
    printf '#include <stdlib.h>\nint main(void) { return 0; }\n' | $cc -x c -fsyntax-only - >/dev/null 2>&1
}

postgres_is_here() {
    local place
    have initdb && have postgres && return 0
    for place in "$(have pg_config && pg_config --bindir || true)" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
        /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin /usr/local/pgsql/bin; do
        [ -n "$place" ] && [ -x "$place/initdb" ] && [ -x "$place/postgres" ] && return 0
    done
    return 1
}

pgbouncer_is_here() {
    have pgbouncer || [ -x /usr/sbin/pgbouncer ]
}

# The allocator of the release build.
jemalloc_is_here() {
    local place
    for place in /usr/lib/*/libjemalloc.a /usr/lib/libjemalloc.a /opt/homebrew/lib/libjemalloc.a /usr/local/lib/libjemalloc.a; do
        [ -e "$place" ] && return 0
    done
    return 1
}

chromium_is_here() {
    have chromium || have chromium-browser || have google-chrome || [ -x "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" ]
}

# The same places, in the same order, as internal/devenv/kafka looks in.
java_is_new_enough() {
    local java version
    for java in "${JAVA_HOME:-/nowhere}"/bin/java /opt/homebrew/opt/openjdk*/bin/java \
        /usr/local/opt/openjdk*/bin/java "$(command -v java || true)"; do
        [ -n "$java" ] && [ -x "$java" ] || continue
        version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')
        [ -n "$version" ] && ((version >= 17)) && return 0
        return 1
    done
    return 1
}

have go || die "Go is missing: install 1.26 or newer from https://go.dev/dl/ and run this again"
go_is_new_enough || die "$(go version 2>&1 | tail -n 1): 1.26 or newer is needed, see https://go.dev/dl/"

missing=""
c_compiler_works || missing="$missing cc"
postgres_is_here || missing="$missing postgresql"
pgbouncer_is_here || missing="$missing pgbouncer"
jemalloc_is_here || missing="$missing jemalloc"
java_is_new_enough || missing="$missing java"
have mvn || missing="$missing maven"
have node || missing="$missing node"
have npm || missing="$missing npm"
have spin || missing="$missing spin"
have promtool || missing="$missing promtool"
chromium_is_here || missing="$missing chromium"

# --- bring it -------------------------------------------------------------------------------------------------------

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "needs root and finds no sudo. Run as root: $*"
    fi
}

apt_install() {
    say "installing: $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o Dpkg::Use-Pty=0 \
        --no-install-recommends "$@" >&2
}

# Debian's package starts a service (a pooler on port 6432, a Prometheus on 9090) unless it is told not to, and again at
# each boot.
install_stopped() {
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod +x "$policy"
        apt_install "$1" || { as_root rm -f "$policy"; return 1; }
        as_root rm -f "$policy"
    else
        apt_install "$1"
    fi
    ! have systemctl || as_root systemctl disable -q "$1" >&2 || true
}

readonly no_cluster=/etc/postgresql-common/createcluster.d/outbox-relay.conf

on_debian() {
    local packages="" postgres="" stopped=""
    for word in $missing; do
        case $word in
        cc) packages="$packages gcc libc6-dev" ;;
        jemalloc) packages="$packages libjemalloc-dev" ;;
        java) packages="$packages default-jre-headless" ;;
        maven) packages="$packages maven" ;;
        node) packages="$packages nodejs" ;;
        npm) packages="$packages npm" ;;
        spin) packages="$packages spin" ;;
        chromium) packages="$packages chromium" ;;
        postgresql) postgres=1 ;;
        pgbouncer) stopped="$stopped pgbouncer" ;;
        promtool) stopped="$stopped prometheus" ;;
        esac
    done
    as_root apt-get update -qq >&2
    # shellcheck disable=SC2086 # one word a package
    [ -z "$packages" ] || apt_install $packages
    for word in $stopped; do install_stopped "$word"; done
    [ -n "$postgres" ] || return 0
    # Debian's package starts a cluster unless it is told not to. The setting goes again afterwards: whoever installs
    # PostgreSQL on this machine later gets what Debian does by default.
    as_root mkdir -p "$(dirname "$no_cluster")"
    trap 'as_root rm -f "$no_cluster"' EXIT
    echo 'create_main_cluster = false' | as_root tee "$no_cluster" >/dev/null
    apt_install postgresql
}

on_macos() {
    local packages=""
    for word in $missing; do
        case $word in
        cc) die "a C compiler is missing: run xcode-select --install and then this again" ;;
        java) packages="$packages openjdk@17" ;;
        maven) packages="$packages maven" ;;
        node | npm) packages="${packages% node} node" ;;
        postgresql) packages="$packages postgresql@17" ;;
        spin) packages="$packages spin" ;;
        pgbouncer) packages="$packages pgbouncer" ;;
        jemalloc) packages="$packages jemalloc" ;;
        promtool) packages="$packages prometheus" ;;
        chromium) die "Chrome is missing: run brew install --cask google-chrome and then this again" ;;
        esac
    done
    have brew || die "Homebrew is missing (https://brew.sh). With it, or otherwise, install:$packages"
    say "installing:$packages"
    # shellcheck disable=SC2086
    brew install $packages >&2
}

if [ -n "$missing" ]; then
    if have apt-get; then
        on_debian
    elif [ "$(uname -s)" = Darwin ]; then
        on_macos
    else
        die "install these with your system's packages, then run this again (Java 17 or newer):$missing"
    fi
    c_compiler_works || die "the C compiler does not work: echo 'int main(){}' | cc -x c -"
    postgres_is_here || die "PostgreSQL's initdb and postgres are still not found: put their folder on PATH"
    java_is_new_enough || die "Java 17 or newer is still not found: put it on PATH or set JAVA_HOME"
    pgbouncer_is_here || die "pgbouncer is still not found: put it on PATH"
    have mvn || die "Maven's mvn is still not found: put it on PATH"
    have spin || die "the model checker spin is still not found: put it on PATH"
fi

# Tests must not spend their time limit on a download. Says so when it downloads, is silent otherwise.
go run -buildvcs=false ./internal/devenv/kafka/fetch
