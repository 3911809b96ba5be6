#!/bin/sh
# Install this checkout with extras into a virtual environment: install-python.sh PYTHON EXTRA,…
# uv takes a quarter of pip's time. It does not read pip's settings, so they are handed over; where
# it cannot be had or fails, pip installs.
set -eu
python="$1"
extras="$2"

setting() { # the value of a setting of pip, from its files or the environment
  "$python" -m pip config list | sed -n "s/^[^=]*\.$1='\(.*\)'\$/\1/p" | tail -n 1
}

with_uv() {
  "$python" -m pip install -q 'uv>=0.9,<1' || return 1
  set -- -q --python "$python" -c constraints.txt -e ".[$extras]"
  index="$(setting index-url)"
  extra_index="$(setting extra-index-url)"
  links="$(setting find-links)"
  certificates="$(setting cert)"
  [ -z "$index" ] || set -- "$@" --index-url "$index"
  [ -z "$extra_index" ] || set -- "$@" --extra-index-url "$extra_index" --index-strategy unsafe-best-match
  [ -z "$links" ] || set -- "$@" --find-links "$links"
  [ -z "$certificates" ] || export SSL_CERT_FILE="$certificates"
  # Compiled bytecode halves the start-up time of everything that follows.
  UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_HTTP_TIMEOUT=180 "$python" -m uv pip install "$@"
}

echo "installing volsvc with its extras $extras: about a minute" >&2
with_uv || {
  echo "uv could not install, so pip does" >&2
  "$python" -m pip install -q -c constraints.txt -e ".[$extras]"
}
