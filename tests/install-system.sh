#!/bin/sh
# Install system packages whose commands are missing: install-system.sh COMMAND=PACKAGE…
# What cannot be installed is named, and the tests that need it are skipped (tests/needs.py); where
# CI is set, that is a failure instead.
set -eu
missing=""
for pair in "$@"; do
  command -v "${pair%%=*}" >/dev/null 2>&1 || missing="$missing ${pair#*=}"
done
[ -n "$missing" ] || exit 0

without() {
  echo "not installed:$missing ($1)" >&2
  [ -z "${CI:-}" ]
  exit
}

command -v apt-get >/dev/null 2>&1 || without "there is no apt-get here"
sudo=""
if [ "$(id -u)" != 0 ]; then
  # Asks for a password only where somebody can type it.
  { command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || [ -t 0 ]; }; } \
    || without "that needs root"
  sudo="sudo"
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of packages
{ $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends $missing; } \
  || without "apt-get failed"
