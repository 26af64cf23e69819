#!/usr/bin/env python3
"""Checks what the libraries ask for and what they offer.

liblathe never ends the process, never prints and opens no socket: no undefined symbol of the archive may be one that
does. The shared library exports lt_ names alone. LATHE_STATIC and LATHE_SHARED name the files."""
import os
import subprocess
import sys

FORBIDDEN = set("""
abort exit _exit _Exit quick_exit raise kill longjmp _longjmp siglongjmp __longjmp_chk __assert_fail
printf fprintf vprintf vfprintf dprintf puts fputs putchar putc perror psignal stdout stderr
__printf_chk __fprintf_chk __vprintf_chk __vfprintf_chk __dprintf_chk
socket connect bind listen accept accept4 setenv putenv unsetenv fork system popen
""".split())
# Unwinders and instrumentation of special builds.
IGNORED_EXPORTS = ("__", "_init", "_fini", "_edata", "_end", "asan", "ubsan", "gcov")


def nm(*arguments):
    result = subprocess.run(["nm", *arguments], capture_output=True, text=True)
    if result.returncode:
        sys.exit("nm %s: %s" % (" ".join(arguments), result.stderr.strip()))
    return result.stdout.splitlines()


def check_undefined(archive):
    errors, member = [], "?"
    for line in nm("--undefined-only", archive):
        words = line.split()
        if line.endswith(":"):
            member = line[:-1]
        elif words and words[-1].split("@")[0] in FORBIDDEN:
            errors.append("%s in %s: the library may not use %s" % (member, archive, words[-1]))
    return errors


def check_exports(library):
    errors = []
    for line in nm("--dynamic", "--defined-only", library):
        kind, name = line.split()[-2], line.split()[-1].split("@")[0]
        if kind == "A":  # the name of a symbol version
            continue
        if not name.startswith("lt_") and not name.startswith(IGNORED_EXPORTS):
            errors.append("%s exports %s, which is no lt_ name" % (library, name))
    return errors


def main():
    archive, library = os.environ.get("LATHE_STATIC"), os.environ.get("LATHE_SHARED")
    if not archive or not library:
        sys.exit("LATHE_STATIC and LATHE_SHARED must name the libraries (ctest sets them)")
    errors = check_undefined(archive) + check_exports(library)
    for error in errors:
        print(error)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
