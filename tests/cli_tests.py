#!/usr/bin/env python3
"""Tests of the lathe program: what it says, what it writes, with which code it leaves.

usage: cli_tests.py [PATH_TO_LATHE]     (else $LATHE, else build/release/lathe)
No module outside Python's own. What needs ../shared/data is skipped without it (LT_DATA names another place). The last
line holds the totals; the exit code is 1 when a check failed."""
import json
import math
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

VERBS = ["demo", "train", "eval", "generate", "tokenize", "convert", "inspect", "doctor", "bench", "cluster", "quantize"]
TO_COME = ["dump", "prune", "factor", "merge", "search", "run",
           "compress", "rollback"]
INIT = "llama:layers=1,dim=32,hidden=64,heads=2,kv_heads=1,context=128"
EVAL_KEYS = {"perplexity", "nll", "tokens", "documents", "seconds", "tokens_per_second", "peak_rss_bytes",
             "model_bytes", "parameters", "nonzero_parameters"}
PROGRESS = re.compile(r"^step \d+/\d+  loss [\d.]+  val (-|[\d.]+)  lr \d\.\de[-+]\d\d  \|g\| (-|[\d.]+)  \d+ tok/s  "
                      r"mem [\d.]+/\d+ GB  eta (-|[\d:]+)")


class Tests:
    def __init__(self, program, root):
        self.program, self.root = program, root
        self.passed = self.failed = self.skipped = 0

    def path(self, name):
        return os.path.join(self.root, name)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def run(self, *words, env=None):
        result = subprocess.run([self.program, *words], capture_output=True, text=True, cwd=self.root, timeout=300,
                                env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL)
        return result.returncode, result.stdout, result.stderr

    def check(self, what, good, info=""):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print("FAIL %s\n     %s" % (what, str(info).strip().replace("\n", "\n     ")[-2000:]))
        return good

    def expect(self, what, words, code, *patterns, env=None):
        """Runs; checks the exit code and that every pattern stands in the message. Returns stdout."""
        found, out, err = self.run(*words, env=env)
        self.check("%s: exit %d" % (what, code), found == code, "exit %d\n%s%s" % (found, out, err))
        for pattern in patterns:
            self.check("%s: says %r" % (what, pattern), re.search(pattern, err), err)
        if code:
            self.check("%s: nothing on stdout" % what, out == "" or "--json" in words, out)
        return out

    def answer(self, what, words, code=0):
        """The JSON object on stdout, which must be all there is."""
        found, out, err = self.run(*words, "--json")
        self.check("%s: exit %d" % (what, code), found == code, "exit %d\n%s%s" % (found, out, err))
        try:
            value = json.loads(out)
        except ValueError:
            value = None
        self.check("%s: one JSON object on stdout" % what, isinstance(value, dict), out)
        return value if isinstance(value, dict) else {}


def run_all(name, tests, prepare=None):
    """Every *_cli_tests.py: the tests in a directory of their own, each with what `prepare` returns; the totals."""
    program = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("LATHE", "build/release/lathe")
    if not os.access(program, os.X_OK):
        print("no program at %s: nothing was tested" % program)
        return 1 if len(sys.argv) > 1 else 0
    root = tempfile.mkdtemp(prefix="lathe-cli-")
    t = Tests(os.path.abspath(program), root)
    try:
        with_these = (prepare(t) if prepare else None) or ()
        for test in tests:
            start = time.monotonic()
            try:
                test(t, *with_these)
            except (OSError, ValueError, KeyError, IndexError, TypeError, subprocess.SubprocessError) as error:
                t.check("%s ran through" % test.__name__, False, repr(error))
            if "-v" in sys.argv:
                print("%-22s %.1f s" % (test.__name__, time.monotonic() - start))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print("%s: %d checks passed, %d failed, %d skipped" % (name, t.passed, t.failed, t.skipped))
    return 1 if t.failed else 0


def read_safetensors(path):
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        return json.loads(file.read(size)), file.read()


def write_safetensors(path, header, data):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def test_help(t):
    out = t.expect("--help", ["--help"], 0)
    t.check("--help lists the verbs", all(re.search(r"^  %s +\w" % v, out, re.M) for v in VERBS), out)
    t.check("--version", re.fullmatch(r"lathe \d+\.\d+\.\d+\n", t.expect("--version", ["--version"], 0)))
    for verb in VERBS:
        one, two = t.expect(verb + " --help", [verb, "--help"], 0), t.expect("help " + verb, ["help", verb], 0)
        t.check("help %s and %s --help agree" % (verb, verb), one == two and "usage: lathe " + verb in one, one)
        for flag in ("--json", "--threads", "--seed", "--compute", "--quiet", "--config"):
            t.check("%s --help names %s" % (verb, flag), flag + " " in one, one)
    out = t.expect("train --help", ["train", "--help"], 0)
    t.check("help shows groups and defaults",
            "Optimizer\n" in out and re.search(r"--learning-rate X .*\[1e-3\]", out), out)
    t.check("no colours in a pipe", "\033" not in out)


def test_usage(t):
    t.expect("no verb", [], 2, "usage: lathe VERB")
    t.expect("unknown verb", ["trian"], 2, "'trian'", "did you mean 'train'")
    for verb in TO_COME:
        t.expect(verb, [verb], 2, "'%s' comes with a later version" % verb)
    t.expect("flag before the verb", ["--threads", "train"], 2, "before the verb")
    t.expect("unknown flag", ["train", "--learing-rate", "3"], 2, "--learing-rate", "did you mean --learning-rate")
    t.expect("a name from elsewhere", ["train", "--lr", "3"], 2, "did you mean --learning-rate")
    t.expect("an underscore will do", ["train", "--learning_rate", "x"], 2, "--learning-rate: 'x' is no number")
    t.expect("no value", ["train", "--steps"], 2, "--steps needs a value")
    t.expect("a flag for a value", ["train", "--steps", "--data", "x"], 2, "--steps needs a value")
    t.expect("a word too many", ["train", "something"], 2, "'something' stands alone")
    for flag, value, says in (("--steps", "1.5", "no whole number"), ("--batch-size", "0", "out of range"),
                              ("--learning-rate", "nan", "no number"), ("--memory-limit", "much", "no size"),
                              ("--optimizer", "adam", "adamw|adamw_8bit|adamw8bit|lion|muon|sgd"),
                              ("--json", None, None), ("--lr-schedule", "cosin", "cosine|linear"),
                              ("--compute", "fp8", "auto|f32|bf16"),
                              ("--qat-activations", "int4", "none|runtime|int8_token"),
                              ("--qat-scale", "best", "dynamic|mse|lsq")):
        if value:
            t.expect("%s %s" % (flag, value), ["train", flag, value], 2, flag, re.escape(says))
    for words, *says in ((["--qat", "q9"], "--qat: ", "q4_k_m"), (["--qat", "int9"], "--qat: ", "intN"),
                         (["--qat", "mix:mxfp4"], "is no mix"), (["--qat-embedding", "q9"], "--qat-embedding: "),
                         (["--tensor-type", "q6_k"], "--tensor-type: ", "PATTERN=TYPE"),
                         (["--tensor-type", "a=q6_k,b=q9"], "--tensor-type: ", "q9"),
                         (["--qat-activations", "runtime"], "--qat TYPE"), (["--export", "x.gguf"], "--qat TYPE"),
                         (["--qat", "q4_0", "--export-other-type"], "--export-type"),
                         (["--qat", "q4_0", "--export-type", "q9"], "--export-type: ")):
        base = ["train", "--init", INIT, "--data", "x", "--out", "y"]
        t.expect(" ".join(words), base + words, 2, *map(re.escape, says))
    for flag in ("--lora-rank", "--teacher", "--prune-sparsity", "--dora", "--kd-loss"):
        t.expect(flag, ["train", flag, "8"], 2, flag + " comes with a later version")
    t.expect("no model", ["train", "--data", "x", "--out", "y"], 2, "--model", "--init")
    t.expect("two models", ["train", "--model", "a", "--init", "b"], 2, "exclude each other")
    t.expect("no data", ["train", "--init", INIT, "--out", "y"], 2, "--data")
    t.expect("no out", ["train", "--init", INIT, "--data", "y"], 2, "--out")
    for spec in ("llamma:layers=1", "llama:layres=1", "llama:dim=33,heads=2", "llama:dim=-4"):
        t.expect("--init " + spec, ["train", "--init", spec, "--data", "text.txt", "--out", "y"], 2, "init|llama")
    t.expect("a gate that compares nothing", ["eval", "--model", "a", "--data", "b", "--gate", "nll=3"], 2, "nll=3")
    t.expect("a gate on nothing", ["eval", "--model", "a", "--data", "b", "--gate", "perplexty<3"], 2, "'perplexity'")


def test_yaml(t):
    for name, text, code, says in (
            ("wrong key", "steps: 3\nlearning_rat: 1e-4\n", 2,
             r"wrong.yaml:2: .*learning_rat; did you mean learning_rate"),
            ("wrong value", "batch_size: many\n", 2, r"wrong.yaml:1: batch_size: 'many'"),
            ("a list", "steps: [1, 2]\n", 2, r"wrong.yaml:1: steps takes one value"),
            ("nested", "train:\n  steps: 3\n", 2, r"wrong.yaml:1: "),
            ("twice", "steps: 3\nsteps: 4\n", 2, r"wrong.yaml:2: steps was set before, at .*wrong.yaml:1"),
            ("later", "lora_rank: 16\n", 2, r"wrong.yaml:1: lora_rank comes with a later version"),
            ("no mapping", "- steps\n", 2, r"wrong.yaml:1: "),
            ("no YAML", "steps: 3\n  x: : y\n", 3, r"wrong.yaml:2: no valid YAML"),
            ("bytes", "\x01\x02", 3, r"wrong.yaml:")):
        t.write("wrong.yaml", text)
        t.expect("yaml: " + name, ["train", "-c", "wrong.yaml"], code, says)
    t.expect("yaml: missing", ["train", "-c", "none.yaml"], 3, "none.yaml")
    t.write("good.yaml", "# read as the flags are\ninit: %s\ndata: text.txt\nout: yaml_run\nsteps: 9\n"
                         "learning_rate: 1e-5\nweight_decay: 1e-2\nappend_eos: yes\ntokenizer: null\nseed: 7\n"
                         "memory_limit: 2GB\n" % INIT)
    t.answer("yaml: a run", ["train", "-c", "good.yaml", "--steps", "2"])
    with open(t.path("yaml_run/config.yaml")) as file:
        resolved = file.read()
    for line in ("steps: 2", "learning_rate: 1.0e-05", "weight_decay: 0.01", "append_eos: true", "seed: 7",
                 "out: yaml_run", "memory_limit: 2000000000", 'init: "%s"' % INIT, "optimizer: adamw"):
        t.check("config.yaml holds %r" % line, line + "\n" in resolved, resolved)
    for word in ("json", "quiet", "help", "tokenizer:"):
        t.check("config.yaml does not hold " + word, "\n%s" % word not in resolved, resolved)
    t.answer("yaml: config.yaml runs again", ["train", "-c", "yaml_run/config.yaml", "--out", "yaml_again"])
    with open(t.path("yaml_again/config.yaml")) as file:
        t.check("config.yaml comes back the same", file.read().replace("yaml_again", "yaml_run") == resolved)


def test_train(t):
    code, out, err = t.run("train", "--init", INIT, "--data", "text.txt", "--out", "model", "--steps", "12",
                           "--log-every", "4", "--eval-every", "6")
    t.check("train: exit 0", code == 0, err)
    for label in ("model ", "parameters ", "kernels ", "threads ", "memory ", "data ", "sample "):
        t.check("train: the banner has " + label, re.search("^%s" % label, err, re.M), err)
    lines = [line for line in err.splitlines() if line.startswith("step ")]
    t.check("train: progress lines", len(lines) >= 3 and all(PROGRESS.match(line) for line in lines), err)
    t.check("train: a table", "perplexity" in out and "after, float" in out, out)
    for name in ("config.json", "model.safetensors", "config.yaml", "run.json", "metrics.jsonl", "report.html",
                 "checkpoints"):
        t.check("train: writes " + name, os.path.exists(t.path("model/" + name)))
    quiet = t.run("train", "--init", INIT, "--data", "text.txt", "--out", "quiet", "--steps", "12", "--quiet")
    t.check("train: --quiet says nothing", quiet[0] == 0 and quiet[2] == "", quiet[2])
    same = [open(t.path(d + "/model.safetensors"), "rb").read() for d in ("model", "quiet")]
    t.check("train: the same seed gives the same bytes", same[0] == same[1])
    one = t.answer("train: --json", ["train", "--model", "model", "--data", "text.txt", "--out", "tuned", "--steps",
                                     "6", "--qat", "q4_0", "--qat-embedding", "q8_0", "--threads", "1", "--export",
                                     "made/q4.safetensors"])
    for key in ("steps", "loss", "valid_loss", "perplexity", "tokens_per_second", "peak_rss_bytes", "forecast",
                "before", "before_rounded", "after", "exported", "export"):
        t.check("train: --json has " + key, key in one, one)
    t.check("train: the file gives the loss training ended with", one.get("export_is_what_was_trained") is True, one)
    t.check("train: the codes are smaller",
            one and one["exported"]["model_bytes"] < one["after"]["model_bytes"] / 3, one)
    shipped = t.answer("eval: --codes", ["eval", "--model", "model", "--codes", "made/q4.safetensors", "--data", "text.txt",
                                         "--split", "valid", "--max-seq-length", "128"])
    t.check("the file is what was evaluated", shipped.get("nll") == one.get("exported", {}).get("nll"),
            (shipped, one))
    rounded = t.answer("eval: --qat", ["eval", "--model", "tuned", "--qat", "q4_0", "--qat-embedding", "q8_0", "--data",
                                       "text.txt", "--split", "valid"])
    t.check("codes and training's grid agree", math.isclose(rounded.get("nll", 0), shipped.get("nll", 1), rel_tol=1e-5),
            (rounded, shipped))


def test_export(t):
    """A .gguf of the codes, the card beside it, other types refused until they are allowed."""
    words = ["train", "--model", "model", "--data", "text.txt", "--steps", "2", "--threads", "1"]
    one = t.answer("export: .gguf", words + ["--out", "grid", "--qat", "q4_0", "--tensor-type",
                                             "*.attn_v.weight=q8_0,*.attn_k.weight=q5_1", "--export", "grid/m.gguf"])
    t.check("export: the proof", one.get("proof", {}).get("identical") is True and one["proof"]["tensors"] > 10 and
            one.get("export_is_what_was_trained") is True, one)
    found = t.answer("export: inspect", ["inspect", "grid/m.gguf"])
    t.check("export: types", all(x in json.dumps(found) for x in ("q4_0", "q8_0", "q5_1")), found)
    alone = t.answer("export: eval", ["eval", "--model", "grid/m.gguf", "--data", "text.txt", "--split", "valid",
                                      "--max-seq-length", "128"])
    t.check("export: the file's own perplexity", math.isclose(alone.get("perplexity", 0), one["exported"]["perplexity"],
                                                             rel_tol=1e-6), (alone, one))
    card = open(t.path("grid/README.md")).read()
    t.check("export: the card", "identical" in card and "after, this file" in card and "q5_1" in card, card)
    t.check("export: config.yaml has the rules", "attn_v.weight=q8_0" in open(t.path("grid/config.yaml")).read())
    info = json.load(open(t.path("grid/run.json")))
    t.check("export: run.json has the policy", info.get("quantization", {}).get("qat") == "q4_0", info)
    other = words + ["--qat", "q4_0", "--export-type", "q8_0", "--export"]
    t.expect("export: another type", other + ["o1/m.gguf", "--out", "o1"], 2, "was trained on q4_0",
             "--export-other-type")
    code, out, err = t.run(*other, "o2/m.gguf", "--out", "o2", "--export-other-type")
    t.check("export: another type, allowed", code == 0 and "rounded a second time" in err, (out, err))
    shown = t.run(*words, "--qat", "q4_k_m", "--out", "mixed")
    t.check("export: fallbacks are said before step 1", "are no multiple of 256: q5_0 instead of q4_k" in
            shown[2].split("\nstep ")[0], shown[2])
    chosen = t.run(*words, "--auto-bits", "6", "--out", "auto", "--export", "auto/m.gguf")
    t.check("auto bits: a table, and an export", chosen[0] == 0 and "rise of the loss" in chosen[2] and
            "identical" in chosen[1] and "tensor_type" in open(t.path("auto/run.json")).read(), chosen)
    t.expect("auto bits: too few", words + ["--auto-bits", "1", "--out", "o4"], 2, "smallest types take")
    t.expect("auto bits: with a type", words + ["--auto-bits", "5", "--qat", "q4_0", "--out", "o4"], 2, "exclude")
    t.expect("export: no type of GGUF", words + ["--qat", "int4:g32", "--out", "o3", "--export", "o3/m.gguf"], 2,
             "on the grid int4:g32", ".safetensors")
    t.expect("export: an ending that names no format", words + ["--qat", "q4_0", "--out", "o3", "--export", "o3/m.bin"],
             2, "--export: o3/m.bin", ".gguf", ".safetensors")
    t.expect("auto bits: memory", words + ["--auto-bits", "6", "--out", "o4", "--memory-limit", "1M"], 4,
             "--auto-bits measures with", "a double a weight")
    t.expect("backward of no integer product", words + ["--qat", "q4_0", "--qat-backward", "int8", "--out", "o4"], 2,
             "integer backward")
    t.expect("scales that nothing keeps", words + ["--qat", "q4_0", "--qat-scale-every", "4", "--out", "o4"], 2,
             "scale_every 4 keeps scales of K-quants")


def test_learned_scales(t):
    """Those of a checkpoint are used; those of a finished run are asked for there."""
    learned = t.answer("learned: train", ["train", "--model", "model", "--data", "text.txt", "--steps", "3", "--threads",
                                          "1", "--qat", "int3:g16", "--qat-scale", "lsq", "--qat-activations",
                                          "int8_token", "--out", "learned"])
    words = ["--data", "text.txt", "--split", "valid", "--max-seq-length", "512", "--qat", "int3:g16",
             "--qat-activations", "int8_token"]
    found = t.answer("learned: eval", ["eval", "--model", "learned/checkpoints/ckpt-000003", *words])
    t.check("learned: the loss of training", math.isclose(found.get("nll", 0), learned["valid_loss"], rel_tol=1e-6),
            (found, learned))
    t.expect("learned: not among the weights", ["eval", "--model", "learned", *words], 2, "lsq",
             "learned/checkpoints/ckpt-000003")
    t.expect("learned: another grid", ["eval", "--model", "learned", *words[:6], "--qat", "q4_0"], 0)
    t.expect("learned: generate", ["generate", "--model", "learned", "--qat", "int3:g16", "--prompt", "a"], 2,
             "learned/checkpoints/ckpt-000003")


def test_stop_and_resume(t):
    words = ["train", "--init", INIT, "--data", "text.txt", "--out", "stopped", "--steps", "100000", "--log-every", "1"]
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen([t.program, *words], cwd=t.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True)
        for line in process.stderr:
            if line.startswith("step "):
                break
        time.sleep(0.2)
        process.send_signal(number)
        err = process.communicate(timeout=120)[1]
        t.check("stopped by %d: exit %d" % (number, 128 + number), process.returncode == 128 + number, err[-1000:])
        t.check("stopped: says where the state is", "stopped/checkpoints" in err, err[-1000:])
    t.check("stopped: a checkpoint is there", os.listdir(t.path("stopped/checkpoints")))
    whole = t.answer("inspect a checkpoint", ["inspect", "stopped/checkpoints/" + sorted(
        os.listdir(t.path("stopped/checkpoints")))[-1]])
    t.check("inspect: the step", whole.get("checkpoint", {}).get("step", 0) > 0, whole)
    spent = t.answer("--max-seconds", words[:-2] + ["--max-seconds", "0.05", "--out", "spent"], 130)
    t.check("--max-seconds: --json says why", "max-seconds" in spent.get("error", ""), spent)


def test_limits(t):
    t.expect("a forecast above the limit", ["train", "--init", INIT, "--data", "text.txt", "--out", "big",
                                            "--batch-size", "4096", "--memory-limit", "40M"], 4, "batch_size|memory")
    t.expect("out under a file", ["train", "--init", INIT, "--data", "text.txt", "--out", "text.txt/x"], 6,
             "text.txt/x")
    t.expect("out in /proc", ["train", "--init", INIT, "--data", "text.txt", "--out", "/proc/x"], 6, "/proc/x")
    with open("/dev/full", "w") as full:
        code = subprocess.run([t.program, "--help"], stdout=full, stderr=subprocess.DEVNULL).returncode
    t.check("a full stdout: exit 6", code == 6, code)
    bad = t.answer("an error as JSON", ["eval", "--model", "none", "--data", "text.txt"], 3)
    t.check("an error as JSON: keys", bad.get("exit_code") == 3 and "none" in bad.get("error", ""), bad)


def test_eval(t):
    base = ["eval", "--model", "model", "--data", "text.txt"]
    got = t.answer("eval", base)
    t.check("eval: the keys", EVAL_KEYS <= set(got), got)
    t.check("eval: perplexity is exp(nll)", math.isclose(got["perplexity"], math.exp(got["nll"]), rel_tol=1e-6), got)
    other = t.answer("eval: another batch size", base + ["--batch-size", "1", "--threads", "1"])
    t.check("eval: batch size changes nothing", math.isclose(other["nll"], got["nll"], rel_tol=1e-5), (got, other))
    t.check("eval: text", "perplexity " in t.expect("eval: text", base, 0))
    t.expect("gates that hold", base + ["--gate", "perplexity<=1e9", "--gate=tokens>0"], 0)
    code, out, err = t.run(*base, "--gate", "perplexity <= 1.0", "--gate", "tokens>0")
    t.check("a gate that fails: exit 1, the result and the reason", code == 1 and "perplexity " in out and
            "gate missed: perplexity" in err and "tokens>0" not in err, (code, out, err))
    missed = t.answer("a gate that fails, as JSON", base + ["--gate", "perplexity<=1.0", "--gate", "tokens>0"], 1)
    t.check("gates in JSON", [g["passed"] for g in missed.get("gates", [])] == [False, True], missed)
    t.expect("logits", base + ["--dump-logits", "logits.f32"], 0)
    t.check("logits: whole rows of the vocabulary", os.path.getsize(t.path("logits.f32")) % (258 * 4) == 0)
    t.expect("logits: a place that cannot be", base + ["--dump-logits", "/proc/x/y"], 6, "/proc/x/y")
    t.expect("missing data", ["eval", "--model", "model", "--data", "none.txt"], 3, "none.txt")
    t.expect("missing model", ["eval", "--model", "none", "--data", "text.txt"], 3, "none")


def broken_copy(t, name):
    shutil.rmtree(t.path("broken"), ignore_errors=True)
    shutil.copytree(t.path("model"), t.path("broken"))
    return t.path("broken/" + name)


def test_broken(t):
    base = ["eval", "--model", "broken", "--data", "text.txt"]
    path = broken_copy(t, "model.safetensors")
    whole = open(path, "rb").read()
    for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        with open(path, "wb") as file:
            file.write(whole[:size])
        t.expect("weights cut to %d bytes" % size, base, 3, "model.safetensors")
        t.expect("inspect of weights cut to %d bytes" % size, ["inspect", path], 3, "model.safetensors")
    os.unlink(path)
    t.expect("weights missing", base, 3, "model.safetensors|safetensors")
    header, data = read_safetensors(t.path("model/model.safetensors"))
    name = next(n for n in header if n.endswith("up_proj.weight"))
    header[name]["shape"].reverse()
    write_safetensors(path, header, data)
    t.expect("a shape config.json contradicts", base, 3, re.escape(name), r"\[32, 64\]", r"\[64, 32\]")
    t.expect("inspect: a shape config.json contradicts", ["inspect", "broken"], 3, re.escape(name))
    header[name]["shape"].reverse()
    header["model.stranger.weight"] = header.pop(name)
    write_safetensors(path, header, data)
    t.expect("a tensor missing", base, 3, re.escape(name))
    path = broken_copy(t, "config.json")
    text = open(path).read()
    for what, changed in (("cut", text[: len(text) // 2]),
                          ("no number", text.replace('"hidden_size": 32', '"hidden_size": "a"')),
                          ("a stranger", re.sub(r'"model_type": "\w+"', '"model_type": "rwkv"', text)), ("empty", "")):
        t.write("broken/config.json", changed)
        t.expect("config.json: " + what, base, 3, "config.json")
    t.write("broken/config.json", text)
    t.write("broken/bad.txt", "fine\n")
    with open(t.path("broken/bad.txt"), "ab") as file:
        file.write(b"\xff\xfe\n")
    t.expect("text that is not UTF-8", ["eval", "--model", "model", "--data", "broken/bad.txt"], 3, r"bad.txt:2")
    t.expect("inspect: missing", ["inspect", "none"], 3, "none")
    t.expect("inspect: a text", ["inspect", "text.txt"], 3, "text.txt")
    t.expect("inspect: nothing", ["inspect"], 2, "inspect PATH")


def test_inspect(t):
    got = t.answer("inspect", ["inspect", "model"])
    t.check("inspect: the model", got.get("model", {}).get("layers") == 1 and got["model"]["dim"] == 32, got)
    tensors = got["files"][0]["tensors"]
    t.check("inspect: the tensors", sum(x["elements"] for x in tensors) == got["model"]["parameters"], tensors)
    out = t.expect("inspect: text", ["inspect", "model/model.safetensors"], 0)
    t.check("inspect: text names tensors", "model.embed_tokens.weight" in out and "[258, 32]" in out, out)
    codes = t.answer("inspect: codes", ["inspect", "made/q4.safetensors"])
    t.check("inspect: lattice types", {"q4_0", "q8_0"} <= set(codes["files"][0]["types"]), codes["files"][0]["types"])


def test_machine(t):
    got = t.answer("doctor", ["doctor"])
    for key in ("cpu", "isa", "kernels", "threads", "memory_available_bytes", "f32_gflops", "memory_gbytes_per_second",
                "notes"):
        t.check("doctor: has " + key, key in got, got)
    t.check("doctor: measured", got.get("f32_gflops", 0) > 0.05 and got.get("memory_gbytes_per_second", 0) > 0.05, got)
    forced = t.run("doctor", env={"LT_ISA": "ref"})
    t.check("doctor: names what is forced", "LT_ISA=ref" in forced[1], forced)
    for step in ("full", "qat"):
        got = t.answer("bench " + step, ["bench", "--step", step, "--shape", "tiny", "--batch", "1", "--seq", "32",
                                         "--steps", "2"])
        for key in ("tokens_per_second", "peak_rss_bytes", "gemm_share", "first_step_seconds"):
            t.check("bench %s: %s" % (step, key), got.get(key, 0) > 0, got)
    t.expect("bench: later", ["bench", "--step", "lora"], 2, "later version")


def test_demo(t):
    if "ref products" in t.run("doctor")[1]:  # the demo's model takes minutes on plain products
        t.skipped += 1
        print("skipped: the demo (plain products)")
        return
    code, out, err = t.run("demo", "--steps", "4", "--out", "demo", "--qat", "q8_0")
    t.check("demo: exit 0", code == 0, err)
    for row in ("float, the start", "float, trained on", "rounded afterwards", "trained on the grid"):
        t.check("demo: row " + row, re.search("^%s +[0-9.]+" % row, out, re.M), out)
    t.check("demo: an export with proof", "identical to what was trained" in out and
            os.path.exists(t.path("demo/qat/model.gguf")) and os.path.exists(t.path("demo/qat/README.md")), out)
    t.check("demo: a report", "<svg" in open(t.path("demo/report.html")).read())
    got = t.answer("demo: with activations", ["demo", "--steps", "4", "--out", "demo8", "--qat", "w8a8"])
    with open(t.path("demo8/qat/metrics.jsonl")) as file:  # the file's codes have the loss that training ended with
        losses = [row["valid_loss"] for row in map(json.loads, file) if "valid_loss" in row]
    nll = got.get("qat", {}).get("nll", 0)
    t.check("demo: what ships is what was trained", losses and abs(nll - losses[-1]) < 1e-7 * nll, [nll, losses])


def test_real_model(t):
    data = os.environ.get("LT_DATA") or "../shared/data"
    model = os.path.abspath(os.path.join(data, "models/stories260K/hf"))
    text = os.path.abspath(os.path.join(data, "text/tinystories-1700.txt"))
    if not os.path.isdir(model) or not os.path.isfile(text):
        t.skipped += 1
        print("skipped: stories260K (no %s)" % data)
        return
    with open(text) as file:
        t.write("stories.txt", "<|endoftext|>".join(file.read(60000).split("<|endoftext|>")[:60]))
    got = t.answer("stories260K", ["eval", "--model", model, "--data", "stories.txt", "--dump-logits", "stories.f32"])
    t.check("stories260K: perplexity of the float model", 3.2 < got.get("perplexity", 0) < 4.6, got)
    rounded = t.answer("stories260K, q4_0", ["eval", "--model", model, "--data", "stories.txt", "--qat", "q4_0"])
    t.check("stories260K: q4_0 is a little worse", 1.01 < rounded.get("perplexity", 0) / got.get("perplexity", 1) < 1.3,
            rounded)
    t.check("stories260K: parameters", got.get("parameters") == 260032, got)


def make_text(t):
    """A hundred small documents that a tiny model can learn something from."""
    names, things = ["Ann", "Bob", "Cleo", "Dan"], ["ball", "kite", "boat", "drum", "cake"]
    documents = ["%s had a %s. %s liked the %s, and the %s was %s.\n" % (n, x, n, x, x, c)
                 for n in names for x in things for c in ("red", "blue", "old", "new", "big")]
    t.write("text.txt", "<|endoftext|>\n".join(documents))


def main():
    tests = (test_help, test_usage, test_yaml, test_train, test_export, test_learned_scales, test_stop_and_resume,
             test_limits, test_eval, test_broken, test_inspect, test_machine, test_demo, test_real_model)
    return run_all("cli", tests, make_text)


if __name__ == "__main__":
    sys.exit(main())
