#!/bin/sh
# Make the secrets that compose.yaml mounts, once: random keys for operators, callers and
# Prometheus, and Grafana's password. What exists is left alone.
# Usage: sh deploy/secrets.sh [FOLDER]
set -eu
folder="${1:-$(dirname "$0")/secrets}"
mkdir -p "$folder"
# Containers run as users of their own and have to read the files; the folder keeps others out.
chmod 700 "$folder"
umask 022

random() {
  head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'
}

for name in operator:read,predict,admin client:read,predict prometheus:read; do
  file="$folder/${name%%:*}.key"
  [ -e "$file" ] && continue
  printf 'vsk_%s' "$(random)" > "$file"
  sha256="$(sha256sum "$file" | cut -d' ' -f1)"
  scopes="$(echo "${name#*:}" | sed 's/[^,]*/"&"/g; s/,/, /g')"
  printf '[[keys]]\nname = "%s"\nsha256 = "%s"\nscopes = [%s]\n\n' \
    "${name%%:*}" "$sha256" "$scopes" >> "$folder/keys.toml"
done
[ -e "$folder/grafana.password" ] || random > "$folder/grafana.password"
echo "secrets are in $folder: keep it out of backups that others read"
