"""What the instruments cost, beside other packages' in the same process and the same round.

    python benchmarks/instruments.py [--only products sharpness examples noise watch] [--models mlp cnn gpt]

products   one Hessian or Gauss-Newton product, in gradients of the same batch
sharpness  the largest eigenvalue: error, products and gradients it took, from nothing and while training
examples   gradient norms of every example, in gradients of the same batch
noise      a training step that also measures noise statistics, over the bare step
watch      a training loop that is watched, over the bare loop

Every round runs every contestant once, in a new order; figures are medians over rounds of the ratio within the round,
with quartiles. Packages that are not installed are left out. Run it on a quiet machine; by default on one thread, since
two threads on small networks tell more of the scheduler than of the work (`--threads`).
"""

import argparse
import contextlib
import copy
import io
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves

import adamantine
from adamantine import tree
from adamantine.derivatives import REBUILT
from adamantine.point import Point, stream
from adamantine.probes.noise_scale import NoiseScale
from adamantine.probes.sharpness import Sharpness
from adamantine.probes.signal_to_noise import SignalToNoise
from adamantine.solvers.lanczos import lanczos
from adamantine.solvers.operator import hessian
from adamantine.tasks.module import ModuleTask
from adamantine.watching import presets

console = Console(width=130)


def mlp():
    return nn.Sequential(nn.Linear(784, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 10))


def cnn():
    layers = []
    for a, b in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 10))


class Block(nn.Module):
    """A Transformer block."""

    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.mixed, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x):
        """`[B, T, d]`."""
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.mixed(self.norm1(x)).chunk(3, -1))
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(h.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    """818 thousand parameters."""

    def __init__(self, vocab=65, d=128, depth=4, context=64):
        super().__init__()
        self.token, self.position = nn.Embedding(vocab, d), nn.Embedding(context, d)
        self.blocks = nn.Sequential(*[Block(d, 4) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, vocab, bias=False)

    def forward(self, x):
        """Logits, `[B, vocab, T]`."""
        h = self.token(x) + self.position(torch.arange(x.shape[1]))
        return self.head(self.norm(self.blocks(h))).transpose(1, 2)


# The network, and a batch of its own; the labels follow a fixed random teacher, so that there is something to learn.
MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[torch.Generator], torch.Tensor], int]] = {
    "mlp": (mlp, lambda rng: torch.randn(128, 784, generator=rng), 10),
    "cnn": (cnn, lambda rng: torch.randn(64, 3, 32, 32, generator=rng), 10),
    "gpt": (Gpt, lambda rng: torch.randint(65, (16, 64), generator=rng), 65),
}


def criterion(out, y):
    return F.cross_entropy(out, y)


def each(run, batch):
    x, y = batch
    losses = F.cross_entropy(run(x), y, reduction="none")
    return losses if losses.ndim == 1 else losses.mean(1)


class Batches:
    """Inputs and labels of one model."""

    def __init__(self, name: str) -> None:
        self.make, self.classes = MODELS[name][1], MODELS[name][2]
        self.teacher = stream(0, "teacher")
        self.rule: torch.Tensor | None = None

    def __call__(self, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch."""
        x = self.make(rng)
        if x.is_floating_point():
            flat = x.flatten(1)
            if self.rule is None:
                self.rule = torch.randn(flat.shape[1], self.classes, generator=self.teacher)
            return x, (flat @ self.rule).argmax(1)
        return x, (5 * x + 3 * x.roll(1, 1)) % self.classes


def trained(name: str, steps: int = 60):
    """A network after some steps, its batch, and the point there."""
    torch.manual_seed(0)
    model, draw, rng = MODELS[name][0](), Batches(name), stream(0, "batches")
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    for _ in range(steps):
        x, y = draw(rng)
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
    return model, draw(rng)


def never(rng):
    raise NotImplementedError


def point(model, batch):
    task = ModuleTask(model, each, never)
    size = len(batch[0])
    held = {"batch": batch, "seed": torch.zeros((), dtype=torch.int64).expand(size)}
    return Point(task, {k: x.detach() for k, x in model.named_parameters()}, held)


def again(p: Point) -> Point:
    """The same point with nothing known yet."""
    return Point(p.task, p.w, p.batch)


def seconds(f):
    begin = time.perf_counter()
    f()
    return time.perf_counter() - begin


def paired(contestants: dict[str, Callable[[], object]], reference: str, rounds: int) -> dict[str, tuple]:
    """Median and quartiles over rounds of each contestant's time over the reference's in the same round."""
    for f in contestants.values():  # warm
        f()
        f()
    ratios: dict[str, list[float]] = {k: [] for k in contestants}
    order = list(contestants)
    for i in range(rounds):
        random.Random(i).shuffle(order)
        took = {k: seconds(contestants[k]) for k in order}
        for k in order:
            ratios[k].append(took[k] / took[reference])
    return {k: tuple(statistics.quantiles(v, n=4)) for k, v in ratios.items()}


def show(title: str, found: dict[str, tuple], extra: dict[str, str] | None = None) -> None:
    table = Table(title=title, title_justify="left", box=None)
    for column in ("", "median", "quartiles", ""):
        table.add_column(column, justify="left" if not column else "right")
    for k, (low, middle, high) in found.items():
        table.add_row(k, f"{middle:.2f}", f"{low:.2f}-{high:.2f}", (extra or {}).get(k, ""))
    console.print(table)
    console.print()


def peers_products(model, batch, v):
    """Other packages' products on the same batch: Hessian, and Gauss-Newton where they have it."""
    params = dict(model.named_parameters())
    flat, out = tree.flat(v), {}
    with contextlib.suppress(ImportError):
        import curvlinops

        loss = nn.CrossEntropyLoss()
        listed = [*params.values()]
        for kind in ("HessianLinearOperator", "GGNLinearOperator"):
            operator = getattr(curvlinops, kind)(model, loss, listed, [batch], check_deterministic=False)
            out[f"curvlinops {kind[:3].replace('Hes', 'Hessian')}"] = lambda o=operator: o @ flat
    with contextlib.suppress(ImportError):
        import hessian_eigenthings as eigenthings

        operator = eigenthings.HessianOperator(model, [batch], eigenthings.supervised_loss(criterion))
        out["hessian-eigenthings Hessian"] = lambda: operator.matvec(flat)
    with contextlib.suppress(ImportError):
        import pyhessian

        whole = pyhessian.hessian(model, criterion, dataloader=[batch], cuda=False)
        vs = [*v.values()]
        out["PyHessian, data loader"] = lambda: whole.dataloader_hv_product(vs)
        with sdpa_kernel(SDPBackend.MATH):
            single = pyhessian.hessian(model, criterion, data=batch, cuda=False)
        from pyhessian.utils import hessian_vector_product

        out["PyHessian, one batch"] = lambda: hessian_vector_product(single.gradsH, single.params, vs)
    model.train()
    return {k: in_math(f) for k, f in out.items()}


def in_math(f: Callable[[], object]) -> Callable[[], object]:
    """As `f`, with attention in the one kernel that others can differentiate twice."""

    def wrapped():
        with sdpa_kernel(SDPBackend.MATH):
            return f()

    return wrapped


def products(name: str, rounds: int) -> None:
    model, batch = trained(name)
    p = point(model, batch)
    x, y = batch
    listed = [*model.parameters()]
    rng = stream(1, "direction")
    v = {k: torch.randn(t.shape, generator=rng) for k, t in p.w.items()}

    def rebuilt():
        q = Point(p.task, p.w, p.batch, hvp_by=REBUILT)
        return q.hvp(v)

    contestants = {
        "gradient": lambda: torch.autograd.grad(criterion(model(x), y), listed),
        "ours: Hessian, graph kept": lambda: p.hvp(v),
        "ours: Hessian, graph rebuilt": rebuilt,
        "ours: Hessian, with its graph": lambda: again(p).hvp(v),
        "ours: Gauss-Newton, graph kept": lambda: p.ggn_vp(v),
        **peers_products(model, batch, v),
    }
    ratios = paired(contestants, "gradient", rounds)
    # Against `jvp(grad)` in double precision, which nobody here uses. A difference would see the kinks of ReLU as well.
    precise, (x, y) = copy.deepcopy(model).double(), tree.place(batch, "cpu", torch.float64)
    w, along = (tree.place(a, "cpu", torch.float64) for a in (p.w, v))
    with sdpa_kernel(SDPBackend.MATH):
        slope = torch.func.grad(lambda w: criterion(torch.func.functional_call(precise, w, (x,)), y))
        true = tree.flat(torch.func.jvp(slope, (w,), (along,))[1])
    errors = {}
    for k, f in contestants.items():
        if "Hessian" in k and "GGN" not in k:
            found = f()
            found = found[1] if isinstance(found, tuple) and isinstance(found[0], float) else found
            flat = torch.cat([x.detach().reshape(-1) for x in tree_leaves(found)]).double()
            errors[k] = f"error {float((flat - true).norm() / true.norm()):.0e}"
    show(f"{name}: one product, in gradients", ratios, errors)


def sharpness(name: str, rounds: int) -> None:
    model, batch = trained(name)
    p = point(model, batch)
    exact = float(lanczos(hessian(again(p)), 60, stream(0, "exact")).values[-1])
    x, y = batch
    listed = [*model.parameters()]
    found: dict[str, float] = {}

    def ours():
        found["ours, from nothing"] = Sharpness()(again(p))["sharpness"]

    contestants = {"gradient": lambda: torch.autograd.grad(criterion(model(x), y), listed), "ours, from nothing": ours}
    with contextlib.suppress(ImportError):
        import pyhessian

        def theirs():
            single = pyhessian.hessian(model, criterion, data=batch, cuda=False)
            found["PyHessian, power iteration"] = single.eigenvalues(maxIter=100, tol=1e-3)[0][0]

        contestants["PyHessian, power iteration"] = theirs
    with contextlib.suppress(ImportError):
        import hessian_eigenthings as eigenthings

        operator = eigenthings.HessianOperator(model, [batch], eigenthings.supervised_loss(criterion))

        def krylov():
            values = eigenthings.lanczos(operator, k=1, max_iter=20, tol=1e-2, which="LA").eigenvalues
            found["hessian-eigenthings, Lanczos"] = float(values.max())

        contestants["hessian-eigenthings, Lanczos"] = krylov
    with contextlib.suppress(ImportError):
        import curvlinops
        import scipy.sparse.linalg

        linear = curvlinops.HessianLinearOperator(
            model, nn.CrossEntropyLoss(), listed, [batch], check_deterministic=False
        ).to_scipy()

        def eigsh():
            value = scipy.sparse.linalg.eigsh(linear, k=1, which="LA", tol=1e-2, return_eigenvectors=False)[0]
            found["curvlinops, scipy eigsh"] = float(value)

        contestants["curvlinops, scipy eigsh"] = eigsh
    contestants = {k: f if k == "gradient" or k.startswith("ours") else in_math(f) for k, f in contestants.items()}
    with contextlib.redirect_stdout(io.StringIO()):
        ratios = paired(contestants, "gradient", rounds)
    model.train()
    errors = {k: f"error {abs(x - exact) / exact:.1e}" for k, x in found.items()}
    show(f"{name}: largest eigenvalue, in gradients; the exact one is {exact:.4g}", ratios, errors)
    tracked(name, True)
    tracked(name, False)


def tracked(name: str, stays: bool, measurements: int = 25) -> None:
    """Error and products of the tracked eigenvalue while the network trains, every 16 steps."""
    torch.manual_seed(0)
    model, draw, rng = MODELS[name][0](), Batches(name), stream(0, "batches")
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    probe, notes, batch, errors, counts = Sharpness(), {}, draw(rng), [], []
    for step in range(16 * measurements):
        if step % 16 == 0:
            q = point(model, batch if stays else draw(rng))
            q = Point(q.task, q.w, q.batch, step, notes=notes)
            value = probe(q)["sharpness"]
            counts.append(q.cost["hvp"])
            exact = float(lanczos(hessian(again(q)), 40, stream(0, "exact")).values[-1])
            errors.append(abs(value - exact) / exact)
        x, y = draw(rng)
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
    first, rest = counts[0], counts[1:]
    console.print(
        f"{name}: tracked while training, on {'one batch' if stays else 'a new batch each time'}: median error "
        f"{statistics.median(errors[1:]):.1e}, worst {max(errors[1:]):.1e}; products {first} at first, then median "
        f"{statistics.median(rest):.0f}, mean {statistics.mean(rest):.1f}\n"
    )


def examples(name: str, rounds: int) -> None:
    model, batch = trained(name)
    p = point(model, batch)
    x, y = batch
    listed = [*model.parameters()]

    def one(w, x, y):
        return each(lambda z: torch.func.functional_call(model, w, (z,)), (x[None], y[None])).sum()

    by_vmap = torch.func.vmap(torch.func.grad(one), (None, 0, 0))

    def norms():
        return {k: g.flatten(1).norm(dim=1) for k, g in by_vmap(p.w, x, y).items()}

    contestants = {
        "gradient": lambda: torch.autograd.grad(criterion(model(x), y), listed),
        "ours: norms": lambda: again(p).each_grad_norm(),
        "ours: Gram matrix": lambda: again(p).each_gram(),
        "ours: gradients": lambda: again(p).each_grad(),
        "torch.func.vmap: norms": norms,
    }
    with contextlib.suppress(ImportError):
        import backpack
        from backpack import extensions

        if name != "gpt":
            theirs, loss = backpack.extend(MODELS[name][0]()), backpack.extend(nn.CrossEntropyLoss())

            def by_backpack():
                with backpack.backpack(extensions.BatchL2Grad()):
                    loss(theirs(x), y).backward()

            contestants["BackPACK: norms"] = by_backpack
    show(f"{name}: gradient norms of every example, in gradients", paired(contestants, "gradient", rounds))


def noise(name: str, rounds: int) -> None:
    model, batch = trained(name)
    x, y = batch
    optimizer = torch.optim.SGD(model.parameters(), 1e-4, momentum=0.9)

    task, held = (q := point(model, batch)).task, q.batch

    def here():
        return Point(task, {k: w.detach() for k, w in model.named_parameters()}, held)

    def step():
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()

    def with_probes(*probes):
        def measured():
            step()
            q = here()
            for probe in probes:
                probe(q)

        return measured

    # A tracked step computes its gradient by the measurement, whose backward pass gives both.
    def instead():
        q = here()
        for probe in (NoiseScale(), SignalToNoise()):
            probe(q)
        for k, w in model.named_parameters():
            w.grad = q.grad[k]
        optimizer.step()

    contestants = {
        "bare step": step,
        "noise scale and signal-to-noise with the step": instead,
        "the same beside the step": with_probes(NoiseScale(), SignalToNoise()),
    }
    show(f"{name}: a step that measures noise, over the bare step", paired(contestants, "bare step", rounds))


def loop(name: str, steps: int, probes=None, every: int = 16, budget: float | None = None) -> Callable[[], object]:
    def run():
        torch.manual_seed(0)
        model, draw, rng = MODELS[name][0](), Batches(name), stream(0, "batches")
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        watch = None
        if probes is not None:
            watch = adamantine.watch(
                model, optimizer, each, data=lambda rng: draw(rng), probes=probes, every=every, budget=budget,
                store=tempfile.mkdtemp(),
            )  # fmt: skip
        batches = [draw(rng) for _ in range(8)]
        begin = time.perf_counter()
        for step in range(steps):
            x, y = batches[step % 8]
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
            if watch is not None:
                watch.step((x, y))
        took = time.perf_counter() - begin
        if watch is not None:
            watch.close()
        return took

    return run


def watched(name: str, rounds: int) -> None:
    steps = {"mlp": 2048, "cnn": 192, "gpt": 192}[name]
    contestants = {
        "bare loop": loop(name, steps),
        "norms every step": loop(name, steps, presets.NORMS, 1),
        "norms every 16 steps": loop(name, steps, presets.NORMS),
        "default every 16 steps": loop(name, steps, presets.DEFAULT),
        "default within a tenth": loop(name, steps, presets.DEFAULT, budget=0.1),
    }
    ratios: dict[str, list[float]] = {k: [] for k in contestants}
    order = list(contestants)
    for i in range(rounds + 1):
        random.Random(i).shuffle(order)
        took = {k: contestants[k]() for k in order}
        if i:
            for k in order:
                ratios[k].append(took[k] / took["bare loop"])
    found = {k: tuple(statistics.quantiles(v, n=4)) for k, v in ratios.items()}
    show(f"{name}: {steps} steps of AdamW, watched, over the bare loop", found)


PARTS = {"products": products, "sharpness": sharpness, "examples": examples, "noise": noise, "watch": watched}


def main():
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    command.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    command.add_argument("--rounds", type=int, default=15)
    command.add_argument("--threads", type=int, default=1)
    given = command.parse_args()
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")
    console.print(f"torch {torch.__version__}, {given.threads} threads\n")
    for part in given.only:
        for name in given.models:
            PARTS[part](name, given.rounds if part != "watch" else min(given.rounds, 7))


if __name__ == "__main__":
    main()
