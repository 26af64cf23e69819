#!/usr/bin/env python3
"""Compiles the example in the opening comment of each public header.

An example is the indented block of a header's first comment. It is put into a function together with declarations of the
names it takes for granted (a context, a graph, a value called x) and syntax-checked. So it need not be complete, but
every name, argument and type in it must exist."""
import glob
import os
import re
import subprocess
import sys

# What an example may use without saying where it comes from.
GIVEN = {
    "ctx": "lt_ctx *ctx", "params": "lt_params *params", "g": "lt_graph *g", "graph": "lt_graph *graph",
    "plan": "lt_plan *plan", "model": "lt_model *model", "tok": "lt_tokenizer *tok", "total": "int64_t total",
    "schedule": "lt_schedule schedule", "config": "lt_transformer_config config", "batch": "const void *batch",
    "train_set": "lt_dataset *train_set", "valid_set": "lt_dataset *valid_set",
}
VALUES = "x y w wg wu wd dw gain loss tokens targets norm".split()
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-Wno-unused", "-Wno-unused-parameter",
         "-Wno-uninitialized", "-Iinclude", "-fsyntax-only"]


def example_of(text):
    """Lines of the first comment that are indented by four or more beyond its star."""
    comment = text[:text.index("*/")]
    lines = [line[7:] for line in comment.splitlines() if line.startswith(" *     ")]
    return "\n".join(line for line in lines if line.strip() != "...")


def wrap(example):
    functions = [line for line in example.splitlines() if line.startswith("static ")]
    body = "\n".join(line for line in example.splitlines() if not line.startswith("static "))
    given = [declaration for name, declaration in list(GIVEN.items()) + [(v, "lt_t " + v) for v in VALUES]
             if re.search(r"(?<![\w.>])%s\b" % name, body)]
    # The example stands in a block of its own, where it may declare these names anew.
    return ("#include <lathe/lathe.h>\n#include <stdio.h>\n%s\nint lt_example(%s)\n{\n{\n%s\n}\nreturn 0;\n}\n"
            % ("\n".join(functions), ", ".join(given) or "void", body))


def main():
    errors = 0
    headers = sorted(glob.glob("include/lathe/*.h"))
    for header in headers:
        with open(header, encoding="utf-8") as file:
            example = example_of(file.read())
        if len(example.splitlines()) < 2:
            print("%s: no example in the opening comment" % header)
            errors += 1
            continue
        source = wrap(example)
        compiler = os.environ.get("CC", "cc").split()
        result = subprocess.run(compiler + FLAGS + ["-x", "c", "-"], input=source, capture_output=True, text=True)
        if result.returncode:
            numbered = "\n".join("%3d  %s" % pair for pair in enumerate(source.splitlines(), 1))
            print("%s: the example does not compile\n%s\n%s" % (header, result.stderr, numbered))
            errors += 1
    print("%d headers, %d errors" % (len(headers), errors))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
