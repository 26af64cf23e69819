#!/bin/bash
# From a fresh machine to the demo: installs what is missing, builds, runs `lathe demo`. Arguments go to the demo.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh
cmake --preset release -DLT_TESTS=OFF -Wno-dev >/dev/null
cmake --build --preset release -j "$(nproc)" >/dev/null
exec build/release/lathe demo --out out/demo "$@"
