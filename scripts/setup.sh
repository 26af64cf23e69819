#!/bin/bash
# Installs what lathe needs to be built and tested on Debian 12 and Ubuntu 24.04: only what is missing, so that a
# machine which has everything stays off the network. `setup.sh --ci` adds the tools of .ci/run.
set -euo pipefail

# tool=package: wanted when the command is not there.
tools=(gcc=gcc make=make cmake=cmake pkg-config=pkg-config python3=python3)
packages=(libc6-dev zlib1g-dev libjansson-dev libyaml-dev libxxhash-dev libpcre2-dev libutf8proc-dev libhdf5-dev liblapacke-dev libcunit1-dev)
# Faster products. lathe builds and passes without them, and not every architecture has both.
optional=(libdnnl-dev libopenblas-dev)

case "${1:-}" in
"") ;;
--ci)
    tools+=(clang-14=clang-14 clang-format-14=clang-format-14 gcovr=gcovr g++=g++)
    packages+=(libomp-14-dev libclang-rt-14-dev)
    ;;
*)
    echo "usage: scripts/setup.sh [--ci]" >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "setup.sh knows Debian and Ubuntu alone; docs/dependencies.md lists what to install by hand" >&2
    exit 0
fi

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

missing=()
for entry in "${tools[@]}"; do
    command -v "${entry%%=*}" >/dev/null || missing+=("${entry#*=}")
done
for package in "${packages[@]}"; do
    installed "$package" || missing+=("$package")
done
wanted=()
for package in "${optional[@]}"; do
    installed "$package" || wanted+=("$package")
done
[ ${#missing[@]} -eq 0 ] && [ ${#wanted[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "missing: ${missing[*]} ${wanted[*]}; run scripts/setup.sh as root, or install sudo" >&2
        [ ${#missing[@]} -eq 0 ] && exit 0
        exit 1
    fi
    as_root=(sudo)
fi
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"; }

echo "installing: ${missing[*]} ${wanted[*]}" >&2
if ! apt update >&2 && [ ${#missing[@]} -ne 0 ]; then
    echo "apt-get update failed; trying with the package lists that are here" >&2
fi
if [ ${#missing[@]} -ne 0 ]; then
    apt install --no-install-recommends "${missing[@]}" >&2
fi
for package in "${wanted[@]}"; do
    apt install --no-install-recommends "$package" >&2 || echo "$package is not to be had: going on without it" >&2
done
