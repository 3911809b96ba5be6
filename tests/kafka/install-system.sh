#!/bin/sh
# Install Java, Maven and kcat from the system's packages where they are missing.
set -eu
missing=""
command -v java >/dev/null 2>&1 || missing="default-jre-headless"
command -v mvn >/dev/null 2>&1 || missing="$missing maven"
command -v kcat >/dev/null 2>&1 || missing="$missing kcat"
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
  echo "the Kafka tests need Java 17, Maven and kcat: install$missing" >&2
  exit 1
fi
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086 -- a list of packages
$sudo apt-get install -y -qq --no-install-recommends $missing
