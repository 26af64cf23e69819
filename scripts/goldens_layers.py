#!/usr/bin/env python3
"""Writes tests/golden/layers.json: what PyTorch in float64 computes for the layers of convolutional and recurrent
networks and their losses, for tests/test_layer_goldens.c to reproduce.

usage: goldens_layers.py [--out tests/golden]
needs: torch

Inputs come from the generator of goldens.py, of which input i of a case has stream i; the cotangent has the stream
after the inputs. So the file holds what comes out alone: y and the gradient of <cotangent, y> for each input that has
one. Images are [B, H, W, C] here, as in lathe; PyTorch is given views of them. A case with several outputs gives them
one behind the other, as one row of numbers.
"""
import argparse
import os

import torch
import torch.nn.functional as F

from goldens import reals, write


def case(op, inputs, fn, **attributes):
    """inputs: [(shape, scale)], or [(shape, scale, True)] for 1 + numbers"""
    given = [{"stream": i, "shape": s[0], "scale": s[1], "gain": len(s) > 2} for i, s in enumerate(inputs)]
    x = [reals(d["stream"], d["shape"], d["scale"], d["gain"]).requires_grad_() for d in given]
    y = fn(*x)
    dy = reals(len(x), list(y.shape), 1.0)
    grads = torch.autograd.grad(y, x, dy, allow_unused=True)
    return {"op": op, **attributes, "inputs": given, "shape": list(y.shape), "y": y.detach().flatten().tolist(),
            "gradients": [None if g is None else g.flatten().tolist() for g in grads]}


def planar(x):
    return x.permute(0, 3, 1, 2)


def rows(y):
    return y.permute(0, 2, 3, 1).contiguous()


# ---- Convolution and pooling ---------------------------------------------------------------------------------------
def convolutions():
    def conv(x, w, stride, pad, dilation, groups):
        inputs = [(x, 1.0), (w, 0.5)]
        return case("conv2d", inputs,
                    lambda a, b: rows(F.conv2d(planar(a), b, None, stride, pad, dilation, groups)),
                    stride=stride, pad=pad, dilation=dilation, groups=groups)
    return [conv([2, 5, 6, 3], [4, 3, 3, 3], [1, 1], [1, 1], [1, 1], 1),
            conv([2, 7, 6, 2], [3, 2, 3, 2], [2, 1], [1, 0], [1, 1], 1),
            conv([1, 8, 7, 4], [6, 2, 3, 3], [2, 2], [1, 1], [1, 1], 2),
            conv([2, 6, 5, 4], [4, 1, 3, 3], [1, 1], [1, 1], [1, 1], 4),
            conv([1, 7, 7, 3], [6, 1, 3, 3], [2, 2], [1, 1], [1, 1], 3),
            conv([1, 9, 8, 2], [3, 2, 3, 3], [1, 2], [2, 2], [2, 2], 1),
            conv([1, 9, 9, 4], [4, 2, 3, 3], [2, 1], [2, 1], [2, 1], 2),
            conv([2, 4, 4, 5], [3, 5, 1, 1], [1, 1], [0, 0], [1, 1], 1)]


def pools():
    def pool(op, x, kernel, stride, pad, count_pad=True):
        def run(a):
            if op == "max_pool2d":
                return rows(F.max_pool2d(planar(a), kernel, stride, pad))
            return rows(F.avg_pool2d(planar(a), kernel, stride, pad, count_include_pad=count_pad))
        return case(op, [(x, 1.0)], run, kernel=kernel, stride=stride, pad=pad, count_pad=count_pad)
    out = []
    for op in ("max_pool2d", "avg_pool2d"):
        out += [pool(op, [2, 6, 4, 3], [2, 2], [2, 2], [0, 0]), pool(op, [1, 7, 6, 3], [3, 3], [2, 2], [1, 1]),
                pool(op, [1, 6, 5, 2], [3, 2], [1, 2], [1, 0])]
    out.append(pool("avg_pool2d", [1, 7, 6, 3], [3, 3], [2, 2], [1, 1], False))
    out.append(case("global_avg_pool", [([2, 3, 4, 5], 1.0)], lambda a: a.mean((1, 2))))
    return out


# ---- Norms ---------------------------------------------------------------------------------------------------------
def batch_norms():
    """three batches, one after the other: y and gradients of the last one, what the averages are then, and an
    evaluation by them"""
    out = []
    for shape, momentum, relu in (([3, 2, 3, 4], 0.1, False), ([6, 5], 0.3, False), ([2, 3, 3, 4], 0.1, True)):
        C = shape[-1]
        norm = torch.nn.BatchNorm1d(C, eps=1e-3, momentum=momentum)

        def run(x, w, b):
            y = F.batch_norm(x.reshape(-1, C), norm.running_mean, norm.running_var, w, b, norm.training, momentum,
                             norm.eps).reshape(x.shape)
            return F.relu(y) if relu else y
        w, b = (([C], 0.5, True), ([C], 0.5))
        for batch in range(2):
            run(reals(10 + batch, shape, 2.0), reals(1, [C], 0.5, True), reals(2, [C], 0.5))
        train = case("batch_norm", [(shape, 2.0), w, b], run, eps=1e-3, momentum=momentum, relu=relu, training=True,
                     earlier=[10, 11], earlier_scale=2.0)
        train["running_mean"], train["running_var"] = norm.running_mean.tolist(), norm.running_var.tolist()
        norm.eval()
        out += [train, case("batch_norm", [(shape, 2.0), w, b], run, eps=1e-3, momentum=momentum, relu=relu,
                            training=False, running_mean=norm.running_mean.tolist(),
                            running_var=norm.running_var.tolist())]
    return out


def group_norms():
    def group(shape, groups):
        C = shape[-1]

        def run(x, w, b):
            y = F.group_norm(x.reshape(shape[0], -1, C).transpose(1, 2), groups, w, b, 1e-3)
            return y.transpose(1, 2).reshape(shape)
        return case("group_norm", [(shape, 2.0), ([C], 0.5, True), ([C], 0.5)], run, groups=groups, eps=1e-3)
    return [group([2, 3, 2, 6], 3), group([2, 4, 4], 1), group([2, 5, 4], 4), group([3, 8], 2)]


# ---- Recurrence ----------------------------------------------------------------------------------------------------
def recurrences():
    """y, then the last states; inputs x, w_ih, w_hh and, where they are given, b_ih, b_hh and the first states"""
    out = []
    for kind, gates in (("lstm", 4), ("gru", 3)):
        for bias, start in ((True, True), (True, False), (False, False)):
            B, T, I, H = 2, 4, 3, 4
            inputs = [([B, T, I], 1.0), ([gates * H, I], 0.7), ([gates * H, H], 0.7)]
            inputs += [([gates * H], 0.5)] * (2 * bias) + [([B, H], 1.0)] * (start * (2 if kind == "lstm" else 1))

            def run(x, w_ih, w_hh, *rest):
                biases = list(rest[:2]) if bias else []
                first = [s.unsqueeze(0) for s in rest[2 if bias else 0:]]
                if not first:
                    first = [torch.zeros(1, B, H)] * (2 if kind == "lstm" else 1)
                names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
                weights = dict(zip(names, [w_ih, w_hh] + biases))
                layer = getattr(torch.nn, kind.upper())(I, H, bias=bias, batch_first=True)
                states = tuple(first) if kind == "lstm" else first[0]
                y, last = torch.func.functional_call(layer, weights, (x, states))
                last = last if kind == "lstm" else [last]
                return torch.cat([y.flatten()] + [s.flatten() for s in last])
            out.append(case(kind, inputs, run, bias=bias, start=start))
    return out


# ---- Losses --------------------------------------------------------------------------------------------------------
def losses():
    target = torch.tensor([3, -1, 0, 6, 2])
    live = target >= 0
    out = []
    for smoothing in (0.0, 0.1, 0.5):
        out.append(case("cross_entropy", [([5, 7], 4.0)],
                        lambda z: F.cross_entropy(z, target, ignore_index=-1, label_smoothing=smoothing),
                        smoothing=smoothing, target=target.tolist()))
    out.append(case("cross_entropy", [([5, 7], 4.0)],
                    lambda z: F.cross_entropy(z, target, ignore_index=-1, reduction="sum", label_smoothing=0.1) / 11.0,
                    smoothing=0.1, target=target.tolist(), norm=11.0))
    for margin in (1.0, 0.3):
        out.append(case("hinge", [([5, 7], 2.0)], lambda z: F.multi_margin_loss(z[live], target[live], margin=margin),
                        margin=margin, target=target.tolist()))
    out.append(case("hinge", [([5, 7], 2.0)],
                    lambda z: F.multi_margin_loss(z[live], target[live], reduction="sum") / 11.0,
                    margin=1.0, target=target.tolist(), norm=11.0))
    for scale in (3.0, 800.0):
        out.append(case("bce", [([4, 6], scale), ([4, 6], 0.5, True)],
                        lambda z, t: F.binary_cross_entropy_with_logits(z, t)))
    return out


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", default=os.path.join(root, "tests", "golden"))
    cases = convolutions() + pools() + batch_norms() + group_norms() + recurrences() + losses()
    write(ap.parse_args().out, "layers.json", {"cases": cases})


if __name__ == "__main__":
    main()
