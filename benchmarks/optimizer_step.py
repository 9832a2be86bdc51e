"""Time of one optimizer step in units of torch's fused AdamW, paired: every round steps every optimizer once.

    python benchmarks/optimizer_step.py [--shapes decoder resnet50 gpt2] [--only NAME ...] [--rounds N] [--device cuda]

Prints, for each recipe on each set of shapes: the median over rounds of its time over fused AdamW's in the same round
with quartiles, the least time in milliseconds and nanoseconds a parameter, bytes of state a parameter (measured and
declared), the most temporary memory in units of the largest tensor, and, for matrix methods, its time over that of
its matrix products alone. Run it on a quiet machine; the ratio carries over to others, times do not.
"""

import argparse
import contextlib
import statistics
import time
import weakref

import torch
from rich.console import Console
from rich.table import Table
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import adamantine
from adamantine import tree
from adamantine.listing import recipes
from adamantine.role import Tag, Tags, bind


def decoder(vocab=8192, context=512, d=256, depth=12):
    """GPT-2's 148 tensors at width `d`: 11.7 million parameters."""
    shapes = {"wte.weight": (vocab, d), "wpe.weight": (context, d)}
    for i in range(depth):
        for name, shape in (
            ("ln_1.weight", (d,)),
            ("ln_1.bias", (d,)),
            ("attn.c_attn.weight", (3 * d, d)),
            ("attn.c_attn.bias", (3 * d,)),
            ("attn.c_proj.weight", (d, d)),
            ("attn.c_proj.bias", (d,)),
            ("ln_2.weight", (d,)),
            ("ln_2.bias", (d,)),
            ("mlp.c_fc.weight", (4 * d, d)),
            ("mlp.c_fc.bias", (4 * d,)),
            ("mlp.c_proj.weight", (d, 4 * d)),
            ("mlp.c_proj.bias", (d,)),
        ):
            shapes[f"h.{i}.{name}"] = shape
    return {**shapes, "ln_f.weight": (d,), "ln_f.bias": (d,)}


def resnet50():
    """The 161 tensors of ResNet-50: 25.6 million parameters."""
    shapes, inputs = {"conv1": (64, 3, 7, 7), "bn1.weight": (64,), "bn1.bias": (64,)}, 64
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512))):
        for block in range(blocks):
            convolutions = [(width, inputs, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
            convolutions += [(4 * width, inputs, 1, 1)] if block == 0 else []
            for i, shape in enumerate(convolutions):
                name = f"layer{stage}.{block}"
                shapes |= {f"{name}.conv{i}": shape, f"{name}.bn{i}.weight": shape[:1], f"{name}.bn{i}.bias": shape[:1]}
            inputs = 4 * width
    return {**shapes, "fc.weight": (1000, 2048), "fc.bias": (1000,)}


def gpt2():
    """GPT-2 124 M: 148 tensors."""
    return decoder(50257, 1024, 768)


SETS = {"decoder": decoder, "resnet50": resnet50, "gpt2": gpt2}
COLUMNS = ("optimizer", "of fused AdamW", "quartiles", "ms", "ns/param", "state B/param", "temporary", "of products")
# Compared with their matrix products alone, too: five Newton-Schulz iterations, or SOAP's two averages and three turns.
MATRIX = {"muon": "newton-schulz", "normuon": "newton-schulz", "scion": "newton-schulz", "soap": "soap"}


def tags(shapes):
    """Roles by the names above."""
    of = {"wte": "embedding", "wpe": "position", "fc": "head", "c_fc": "up"}

    def role(name, shape):
        if len(shape) == 1:
            return "norm" if "ln" in name or "bn" in name else "bias"
        if len(shape) == 4:
            return "convolution"
        part = name.split(".")[-2] if name.endswith("weight") else name
        return of.get(part) or ("query" if "c_attn" in name else "output" if "attn" in name else "down")

    heads = 12
    return Tags(tuple((k, Tag(role(k, s), heads=heads if role(k, s) == "query" else 0)) for k, s in shapes.items()))


class Peak(TorchDispatchMode):
    """The most bytes that tensors made inside take at one time."""

    def __enter__(self):
        self.live, self.peak, self.seen = 0, 0, set()
        return super().__enter__()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        old = {x.untyped_storage().data_ptr() for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        for x in tree_leaves(out):
            if not isinstance(x, torch.Tensor):
                continue
            storage = x.untyped_storage()
            where, n = storage.data_ptr(), storage.nbytes()
            if where in old or where in self.seen or not n:
                continue
            self.seen.add(where)
            self.live += n
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._freed, where, n)
        return out

    def _freed(self, where, n):
        self.live -= n
        self.seen.discard(where)


def parameters(shapes, device, dtype=torch.float32):
    """Parameters with gradients, alike for every optimizer."""
    rng = torch.Generator().manual_seed(0)
    out = {}
    for k, shape in shapes.items():
        x = torch.nn.Parameter(torch.randn(shape, generator=rng).mul_(0.02).to(device, dtype))
        x.grad = torch.randn(shape, generator=rng).mul_(1e-3).to(device, dtype)
        out[k] = x
    return out


def timed(step, device):
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def products(kind, shapes, device, max_side=1024):
    """The matrix products of a method on every matrix that it takes, and nothing else."""
    sizes = [(k, s[0], torch.Size(s[1:]).numel()) for k, s in shapes.items() if len(s) > 1]
    if kind == "newton-schulz":
        sizes = [(k, min(m, n), max(m, n)) for k, m, n in sizes if not k.startswith(("w", "fc"))]
    pool = {(m, n): torch.randn(m, n, device=device) for _, m, n in sizes}
    square = {n: torch.randn(n, n, device=device) for n in {n for _, *both in sizes for n in both} if n <= max_side}

    def run():
        for _, m, n in sizes:
            x = pool[m, n]
            if kind == "newton-schulz":
                for _ in range(5):
                    gram = x @ x.T
                    (gram @ gram) @ x
                continue
            if m <= max_side:
                x @ x.T
            if n <= max_side:
                x.T @ x
            for _ in range(3):
                if m <= max_side:
                    square[m] @ x
                if n <= max_side:
                    x @ square[n]

    return run


def peers():
    """Other packages' optimizers, as far as they are installed."""
    found = {}
    with contextlib.suppress(ImportError):
        import pytorch_optimizer as po

        found |= {
            f"pytorch_optimizer {name}": lambda w, name=name: getattr(po, name)(list(w.values()), lr=1e-4)
            for name in ("SOAP", "CAME", "AdaFactor", "SM3", "Lion")
        }
    with contextlib.suppress(ImportError):
        from torchao.optim import AdamW4bit, AdamW8bit

        found["torchao AdamW8bit"] = lambda w: AdamW8bit(list(w.values()), lr=1e-4)
        found["torchao AdamW4bit"] = lambda w: AdamW4bit(list(w.values()), lr=1e-4)
    with contextlib.suppress(ImportError):
        import optimi

        found["optimi AdamW"] = lambda w: optimi.AdamW(list(w.values()), lr=1e-4)
    if hasattr(torch.optim, "Muon"):
        found["torch Muon (matrices alone)"] = lambda w: torch.optim.Muon([x for x in w.values() if x.ndim == 2], 1e-4)
    return found


def measure(name, step, reference, rounds, device):
    """Median and quartiles of the ratio, and the least time in seconds."""
    for _ in range(3):
        reference(), step()
    ratios, least = [], float("inf")
    for _ in range(rounds):
        base = timed(reference, device)
        own = timed(step, device)
        ratios.append(own / base)
        least = min(least, own)
    return statistics.quantiles(ratios, n=4), least


def kept(optimizer, part, w, count):
    """Bytes of state a parameter, with those declared where they differ, and temporary memory in largest tensors."""
    with Peak() as peak:
        optimizer.step()
    held = sum(x.numel() * x.element_size() for _, x in tree.leaves(optimizer.state_dict()["state"])) / count
    declared = part.state_bytes(w) / count
    largest = max(x.numel() * x.element_size() for x in w.values())
    differs = "" if abs(held - declared) <= 0.005 * declared else f" (declared {declared:.2f})"
    return f"{held:.2f}{differs}", f"{peak.peak / largest:.2f}"


def main():
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--shapes", nargs="+", choices=SETS, default=["decoder", "resnet50", "gpt2"])
    command.add_argument("--only", nargs="+", default=[])
    command.add_argument("--rounds", type=int, default=15)
    command.add_argument("--device", default="cpu")
    given = command.parse_args()
    console, known = Console(width=150), recipes()
    for kind in given.shapes:
        shapes = SETS[kind]()
        count = sum(torch.Size(s).numel() for s in shapes.values())
        base = parameters(shapes, given.device)
        fused = torch.optim.AdamW(list(base.values()), 1e-3, fused=True)
        sheet = Table(title=f"{kind}: {len(shapes)} tensors, {count / 1e6:.1f} M parameters; unit: torch's fused AdamW")
        for column in (
            "optimizer",
            "ratio",
            "quartiles",
            "ms",
            "ns/param",
            "state B/param",
            "temporary",
            "of products",
        ):
            sheet.add_column(column, justify="left" if column == "optimizer" else "right")
        candidates = {
            "torch AdamW, default": lambda w: torch.optim.AdamW(list(w.values()), 1e-3),
            "torch SGD momentum, fused": lambda w: torch.optim.SGD(list(w.values()), 1e-3, 0.9, fused=True),
            **{
                name: lambda w, f=f, roles=tags(shapes): adamantine.torch_optimizer(
                    list(w.items()), f, lr=1e-4, steps=1000, roles=roles
                )
                for name, f in known.items()
            },
            "muon, bfloat16": lambda w, roles=tags(shapes): adamantine.torch_optimizer(
                list(w.items()), "muon", lr=1e-4, precision="bfloat16", roles=roles
            ),
            **peers(),
        }
        missing = []
        for name, build in candidates.items():
            if given.only and name not in given.only:
                continue
            w = parameters(shapes, given.device)
            optimizer = build(w)
            try:
                optimizer.step()
            except Exception as error:  # a peer may refuse anything
                missing.append(f"{name}: {str(error).splitlines()[0][:130]}")
                continue
            once = timed(optimizer.step, given.device)
            rounds = max(3, min(given.rounds, int(20 / max(once, 1e-9))))
            (low, middle, high), least = measure(name, optimizer.step, fused.step, rounds, given.device)
            bytes_, temporary, pure = "", "", ""
            if name in known:
                bytes_, temporary = kept(optimizer, bind(known[name](lr=1e-4), tags(shapes)), w, count)
            if name in MATRIX:
                run = products(MATRIX[name], shapes, given.device)
                pure = f"{least / min(timed(run, given.device) for _ in range(rounds)):.2f}"
            sheet.add_row(
                name,
                f"{middle:.2f}",
                f"{low:.2f}-{high:.2f}",
                f"{1e3 * least:.2f}",
                f"{1e9 * least / count:.2f}",
                bytes_,
                temporary,
                pure,
            )
            del optimizer, w
        console.print(sheet)
        console.print("\n".join(missing), style="dim")


if __name__ == "__main__":
    main()
