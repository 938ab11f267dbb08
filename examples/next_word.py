"""
A language model with 20,000 words, and no logits
=================================================

A small model guesses the next word of Python's own documentation and sources from the three words before. Fixed random
vectors of these make up the hidden rows; the last layer, of a weight row for each of 20,000 words, is trained with
`linear_cross_entropy`. For a batch of 4,096 words the logits and their gradient would take 655 MB; what a call takes is
printed beside the loss.
"""

import inspect
import pathlib
import pydoc
import re
import time
import tracemalloc

import numpy as np

from xentc import linear_cross_entropy

N_CLASSES, N_FEATURES, CONTEXT, BATCH, BATCHES = 20_000, 64, 3, 4096, 20

# ---- The text: all that the standard library says, word by word; what is rare is ignored as a target.
library = pathlib.Path(inspect.getfile(pydoc)).parent
files = [path for folder in ("", "asyncio", "email", "encodings", "idlelib", "importlib", "pydoc_data", "unittest", "xml")
         for path in sorted((library / folder).glob("*.py"))]
text = " ".join(path.read_text("utf-8", errors="ignore") for path in files)
words = np.array(re.findall(r"[a-z]+|[A-Z][a-z]*|[0-9]+|[^\sA-Za-z0-9]", text))
names, codes, counts = np.unique(words, return_inverse=True, return_counts=True)
rank = np.empty(len(names), int)
rank[np.argsort(-counts)] = np.arange(len(names))
codes = rank[codes]
codes[codes >= N_CLASSES] = -100                    # padded, unknown: no target

rng = np.random.default_rng(0)
vectors = rng.standard_normal((CONTEXT, N_CLASSES + 1, N_FEATURES), dtype=np.float32) / np.float32(np.sqrt(CONTEXT))


def hidden_rows(places):
    """Of words at some places: the sum of the vectors of those before, one set of vectors for each distance."""
    before = [np.where(codes[places - 1 - i] < 0, N_CLASSES, codes[places - 1 - i]) for i in range(CONTEXT)]
    return np.tanh(sum(vectors[i, c] for i, c in enumerate(before)))


def most_memory(call):
    """What a call returns, and the most memory that it takes beyond what there is, in MB."""
    tracemalloc.start()
    result = call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return result, peak / 1e6


places = np.arange(CONTEXT, len(codes))
held_out = places[places % 50 == 0][:BATCH]
places = rng.permutation(places[places % 50 != 0])
known = codes[places] >= 0
frequency = np.bincount(codes[places[known]], minlength=N_CLASSES) + 1.0
bias = np.log(frequency / frequency.sum()).astype(np.float32)       # so the model begins with what is frequent
weight = np.zeros((N_CLASSES, N_FEATURES), np.float32)
# ---- Adam, from its paper.
parameters = (weight, bias)
first, second = ([np.zeros_like(p) for p in parameters] for _ in range(2))
rows, targets = hidden_rows(held_out), codes[held_out]
start, megabytes = time.perf_counter(), 0.0
print(f"{len(words):,} words, {len(names):,} different ones")
for step in range(BATCHES + 1):
    if step % 5 == 0:
        loss = linear_cross_entropy(rows, weight, targets, bias=bias, ignore_index=-100)
        print(f"batch {step:3}: held-out loss {loss:.3f}, perplexity {np.exp(loss):6.1f}, "
              f"{time.perf_counter() - start:5.1f} s, {megabytes:3.0f} MB for a loss and its gradients")
    batch = places[step * BATCH : (step + 1) * BATCH]
    hidden = hidden_rows(batch)
    (_, (_, *gradients)), megabytes = most_memory(lambda hidden=hidden, batch=batch: linear_cross_entropy(
        hidden, weight, codes[batch], bias=bias, ignore_index=-100, return_grad=True))
    for p, g, m, v in zip(parameters, gradients, first, second, strict=True):
        m += 0.1 * (g - m)
        v += 0.001 * (g * g - v)
        p -= 0.01 * (m / (1 - 0.9 ** (step + 1))) / (np.sqrt(v / (1 - 0.999 ** (step + 1))) + 1e-8)
