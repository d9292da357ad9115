#!/usr/bin/env bash
# The Debian packages that the tests need, and those that are named as arguments. A Docker that is on the machine stays: nothing is ever removed.
set -euo pipefail
if [ "$(id -u)" -ne 0 ]; then
  echo "The lab needs root: it makes real hosts with their own init." >&2
  exit 1
fi
wanted=(acl debootstrap e2fsprogs iproute2 iptables openssh-client openssh-server openssl sshpass strace sudo tar xz-utils zstd)
command -v auditctl >/dev/null || wanted+=(auditd)
command -v dockerd >/dev/null || wanted+=(docker.io)
wanted+=("$@")
missing=()
for package in "${wanted[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-remove --no-install-recommends "${missing[@]}" >/dev/null
fi
