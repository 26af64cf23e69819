#!/usr/bin/env python3
"""Checks the tree: arrows between folders, unique file names, sizes.

The truth about arrows is the LINKS of lathe_folder() in the root CMakeLists.txt, taken transitively; the outline below
says which arrows may be declared at all. Tests, examples and benchmarks may include everything."""
import collections
import os
import re
import sys

HEADERS = {
    "base": "base", "params": "autograd", "graph": "autograd", "plan": "autograd", "ops": "autograd",
    "attach": "autograd", "images": "autograd", "recurrent": "autograd", "optim": "optim", "nn": "nn", "formats": "data", "data": "data", "tokenizer": "data",
    "gguf": "data", "chat": "data", "convert": "models", "infer": "infer", "evals": "evals", "goldens": "evals", "ptq": "train",
    "qat": "qat", "cluster": "qat", "scheme": "autograd", "observe": "autograd", "int8": "infer", "lora": "lora", "distill": "distill", "prune": "prune", "models": "models", "networks": "models", "classes": "data", "train": "train",
    "recipes": "recipes",
}
FEATURES = {"qat", "lora", "distill", "prune"}
OUTLINE = {
    "base": set(),
    "kernels": {"base"},
    "autograd": {"base", "kernels"},
    "optim": {"base", "kernels", "autograd"},
    "nn": {"base", "kernels", "autograd"},
    "data": {"base", "kernels"},
    "models": {"base", "kernels", "autograd", "nn", "data"},
}
for feature in FEATURES:
    OUTLINE[feature] = {"base", "kernels", "autograd", "nn", "data"}
OUTLINE["infer"] = {"base", "kernels", "autograd", "nn", "data", "models", "qat"}
OUTLINE["train"] = set(OUTLINE) - {"infer"}
OUTLINE["evals"] = set(OUTLINE)
OUTLINE["recipes"] = set(OUTLINE)
OUTLINE["cli"] = set(OUTLINE)
FREE = {"tests", "examples", "bench"}
FOLDERS = list(OUTLINE)
CORE_LINES, HEADER_LINES = 3000, 300

errors = []


def declared_links():
    """{folder: all folders it may include}, from the root CMakeLists.txt; cli links the whole library."""
    with open("CMakeLists.txt") as file:
        text = re.sub(r"#.*", "", file.read())
    direct = {}
    for name, rest in re.findall(r"lathe_folder\(\s*(\w+)([^)]*)\)", text):
        links = re.search(r"\bLINKS\b(.*?)(?:\bLIBS\b|$)", rest, re.S)
        direct[name] = set(links.group(1).split()) if links else set()
    direct["cli"] = set(direct)
    closed = {}

    def close(name, path):
        if name in path:
            errors.append("CMakeLists.txt: the folders %s include each other" % " <- ".join(path + [name]))
            return set()
        if name not in closed:
            reach = set()
            for link in direct.get(name, ()):
                reach |= {link} | close(link, path + [name])
            closed[name] = reach
        return closed[name]

    for name in direct:
        close(name, [])
    return direct, closed


def sources(folder):
    for where, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if name.endswith((".c", ".h", ".def")):
                yield os.path.join(where, name)


def owner(include):
    """The folder an #include "..." line reaches, or None when it is not one of ours."""
    match = re.fullmatch(r"lathe/(\w+)\.h", include)
    if match:
        return HEADERS.get(match.group(1))
    top = include.split("/")[0]
    return top if "/" in include and top in FOLDERS else None


def check_arrows(direct, closed):
    for name, links in direct.items():
        for link in sorted(links - OUTLINE.get(name, set())):
            errors.append("CMakeLists.txt: %s may not link %s" % (name, link))
    for folder in FOLDERS:
        for path in sources(folder):
            with open(path, encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
                    if match:
                        check_include(folder, closed, "%s:%d" % (path, number), match.group(2), path)


def check_include(folder, closed, place, include, path):
    if include == "omp.h" and not re.fullmatch(r"base/par\.[ch]", path):
        errors.append("%s: only base/par.c knows OpenMP" % place)
    if include in ("lathe/lathe.h", "lathe.h") and folder != "cli":
        errors.append("%s: include the header that is meant, not lathe.h" % place)
    match = re.fullmatch(r"lathe/(\w+)\.h", include)
    if match and match.group(1) not in HEADERS and match.group(1) != "lathe":
        errors.append("%s: tests/include_arrows.py does not know whose header %s is" % (place, include))
    target = owner(include)
    if target is None or target == folder:
        return
    if folder in FEATURES and target in FEATURES:
        errors.append("%s: the features never include each other (%s, %s)" % (place, folder, target))
    elif target not in closed.get(folder, set()):
        errors.append("%s: %s does not link %s, so it may not include %s" % (place, folder, target, include))


def check_public_headers(closed):
    for path in sources("include"):
        base = os.path.basename(path)[:-2]
        with open(path, encoding="utf-8") as file:
            lines = file.readlines()
        if len(lines) > HEADER_LINES:
            errors.append("%s: %d lines; a public header has at most %d" % (path, len(lines), HEADER_LINES))
        for number, line in enumerate(lines, 1):
            match = re.match(r'\s*#\s*include\s*[<"]lathe/(\w+)\.h[>"]', line)
            if match and base in HEADERS and match.group(1) in HEADERS:
                mine, target = HEADERS[base], HEADERS[match.group(1)]
                if target != mine and target not in closed.get(mine, set()):
                    errors.append("%s:%d: %s does not link %s" % (path, number, mine, target))


def check_names():
    """File names are unique; main.c, CMakeLists.txt and what stands beside them in data sets are not ours to name."""
    places = collections.defaultdict(list)
    for folder in FOLDERS + sorted(FREE) + ["include"]:
        for path in sources(folder):
            places[os.path.basename(path)].append(path)
    for name, paths in sorted(places.items()):
        if len(paths) > 1 and not name == "main.c":
            errors.append("one name, several files: %s" % ", ".join(paths))


def core_lines():
    count = 0
    for path in sources("autograd"):
        if not path.startswith("autograd/ops/"):
            with open(path, encoding="utf-8") as file:
                count += len(file.readlines())
    return count


def main():
    direct, closed = declared_links()
    check_arrows(direct, closed)
    check_public_headers(closed)
    check_names()
    count = core_lines()
    print("autograd/ without ops: %d lines of at most %d" % (count, CORE_LINES))
    if count > CORE_LINES:
        errors.append("autograd/ without ops has %d lines; the core stays under %d" % (count, CORE_LINES))
    for error in errors:
        print(error)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
