#!/bin/bash
# check_install.sh PREFIX SCRATCH - is the tree under PREFIX one that others can build against? A program is compiled
# through pkg-config, through find_package(lathe) against the shared and the static library, and run; then soname,
# exports and the absence of build paths are checked.
set -euo pipefail
prefix=$1 scratch=$2
rm -rf "$scratch"
mkdir -p "$scratch"

pc=$(find "$prefix" -name lathe.pc)
export PKG_CONFIG_PATH=${pc%/*}
library=$(dirname "$PKG_CONFIG_PATH")
version=$(pkg-config --modversion lathe)

cat >"$scratch/hello.c" <<'C'
#include <lathe/lathe.h>
#include <stdio.h>
int main(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_graph *g;
    lt_plan *plan;
    if (!ctx || lt_graph_create(ctx, NULL, &g) != LT_OK) return 1;
    lt_t sum = lt_add(lt_constant(g, 1), lt_constant(g, 2));
    if (lt_compile(g, NULL, 1, &sum, &plan) != LT_OK || lt_run(plan) != LT_OK) {
        puts(lt_ctx_message(ctx));
        return 1;
    }
    printf("%s %g\n", lt_version(), (double)*(const lt_real *)lt_result(plan, 0));
    lt_plan_free(plan);
    lt_graph_free(g);
    lt_ctx_free(ctx);
    return 0;
}
C
expect() {
    local said
    said=$(LD_LIBRARY_PATH=$library "$2")
    [ "$said" = "$version 3" ] || { echo "$1: expected '$version 3', got '$said'"; exit 1; }
    echo "$1: $said"
}

# shellcheck disable=SC2046  # flags are words
${CC:-gcc} -std=c11 -Wall -Wextra -Werror "$scratch/hello.c" -o "$scratch/pc" $(pkg-config --cflags --libs lathe)
expect pkg-config "$scratch/pc"

cat >"$scratch/CMakeLists.txt" <<'C'
cmake_minimum_required(VERSION 3.22)
project(consumer LANGUAGES C)
find_package(lathe 0.1 REQUIRED COMPONENTS shared static)
foreach(kind shared static)
  add_executable(hello_${kind} hello.c)
  target_link_libraries(hello_${kind} PRIVATE lathe::${kind})
endforeach()
C
cmake -S "$scratch" -B "$scratch/build" -DCMAKE_PREFIX_PATH="$prefix" >"$scratch/log" &&
    cmake --build "$scratch/build" >>"$scratch/log" || { cat "$scratch/log"; exit 1; }
expect "find_package, shared" "$scratch/build/hello_shared"
expect "find_package, static" "$scratch/build/hello_static"

if command -v g++ >/dev/null; then
    for header in "$prefix"/include/lathe/*.h; do
        g++ -std=c++11 -Wall -Wextra -Werror -fsyntax-only -x c++ -I"$prefix/include" "$header" 2>"$scratch/log" ||
            { grep -v 'pragma once' "$scratch/log"; exit 1; }
    done
    echo "headers: every one compiles alone, as C++"
fi

soname=$(readelf -d "$library/liblathe.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
[ "$soname" = "liblathe.so.${version%%.*}" ] || { echo "soname is '$soname'"; exit 1; }
strangers=$(nm -D --defined-only "$library/liblathe.so" | awk '$3 !~ /^lt_/ && $3 !~ /^LATHE_/ { print $3 }')
[ -z "$strangers" ] || { echo "exports that do not begin with lt_: $strangers"; exit 1; }
echo "soname $soname, $(nm -D --defined-only "$library/liblathe.so" | grep -c ' lt_') symbols, all lt_"

if grep -rIl -e "$PWD" "$prefix"; then
    echo "installed text files name the build tree"
    exit 1
fi
