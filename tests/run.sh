#!/usr/bin/env bash
# Everything, in the order in which it fails fastest. Without root, what needs real hosts is named and left out; with
# CI=true that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$([ "$(id -u)" -eq 0 ] && echo yes || echo no)
if [ "$root" = no ]; then
  echo "Left out: tests on real hosts and molecule. They make hosts with their own init, and that needs root."
  if [ "${CI:-}" = true ]; then
    echo "With CI=true nothing may be left out." >&2
    exit 1
  fi
  if ! [ -x /usr/sbin/sshd ]; then
    echo "The unit tests start an SSH server of their own: install the package openssh-server." >&2
    exit 2
  fi
fi
[ "$root" = no ] || make packages
make lint
make unit
if [ "$root" = yes ]; then
  make lab
  make molecule
fi
