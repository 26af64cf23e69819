#!/usr/bin/env python3
"""The network, batches and steps of examples/char_lstm.c in PyTorch, to stand beside it.

usage: python examples/char_lstm_torch.py [--epochs 20] [--data examples/data/treasure.txt] [--threads 0]
needs: torch"""
import argparse
import math
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

BATCH, LENGTH, EMBEDDING, HIDDEN, VOCAB, SAMPLE = 32, 64, 64, 256, 256, 200
LEARNING_RATE, TEMPERATURE = 2e-3, 0.7


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, EMBEDDING)
        self.lstm = nn.LSTM(EMBEDDING, HIDDEN, batch_first=True)
        self.output = nn.Linear(HIDDEN, VOCAB)
        for p in self.parameters():
            nn.init.uniform_(p, -1 / math.sqrt(HIDDEN), 1 / math.sqrt(HIDDEN))

    def forward(self, x, state):
        y, state = self.lstm(self.embedding(x), state)
        return self.output(y), state


def text_pass(net, text, optimizer):
    """Reads the text once; trains when there is an optimizer. The mean loss of its steps."""
    stream = (len(text) - 1) // BATCH
    steps, state, total = stream // LENGTH, None, 0.0
    starts = torch.arange(BATCH)[:, None] * stream + torch.arange(LENGTH)
    for at in range(steps):
        index = starts + at * LENGTH
        logits, state = net(text[index], state)
        loss = F.cross_entropy(logits.reshape(-1, VOCAB), text[index + 1].reshape(-1))
        state = tuple(s.detach() for s in state)
        if optimizer:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        total += loss.item() / steps
    return total


def write_text(net):
    byte, state, out = torch.tensor([[10]]), None, []
    for _ in range(SAMPLE):
        logits, state = net(byte, state)
        byte = torch.multinomial(F.softmax(logits[0] / TEMPERATURE, -1), 1)
        out.append(byte.item())
    return "".join(chr(b) if b == 10 or 32 <= b < 127 else "?" for b in out)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--epochs", type=int, default=20)
    p.add_argument("--data", default="examples/data/treasure.txt")
    p.add_argument("--threads", type=int, default=0)
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    with open(a.data, "rb") as f:
        text = torch.tensor(list(f.read()))
    held_out = len(text) // 10
    train, valid = text[:len(text) - held_out], text[len(text) - held_out:]
    net = Network()
    optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE)
    for epoch in range(1, a.epochs + 1):
        start = time.perf_counter()
        loss = text_pass(net, train, optimizer)
        seconds = time.perf_counter() - start
        with torch.no_grad():
            held = text_pass(net, valid, None)
        print(f"epoch {epoch:3d}  loss {loss:.4f}  valid {held:.4f}  {len(train) / seconds:.0f} bytes/s", flush=True)
    with torch.no_grad():
        print("sample:", write_text(net))


if __name__ == "__main__":
    main()
