"""One other implementation of a recipe, and how it is stepped on the problem of the textbook loops."""

import contextlib
import importlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from problem import ROLE, Problem
from torch.overrides import TorchFunctionMode

from adamantine.role import HIDDEN

# Distribution, and the module that brings its optimizers.
PACKAGES = {
    "torch": "torch",
    "optax": "optax",
    "pytorch_optimizer": "pytorch_optimizer",
    "heavyball": "heavyball",
    "torch-optimi": "optimi",
    "torchao": "torchao.optim",
    "bitsandbytes": "bitsandbytes",
    "transformers": "transformers.optimization",
    "schedulefree": "schedulefree",
    "prodigyopt": "prodigyopt",
    "lion-pytorch": "lion_pytorch",
    "muon-optimizer": "muon",
    "adam-mini": "adam_mini",
    "came-pytorch": "came_pytorch",
    "galore-torch": "galore_torch",
    "apollo-torch": "apollo_torch",
    "kron-torch": "kron_torch",
    "sgd-sai": "sgd_sai",
}


NARROW = (torch.bfloat16, torch.float16, torch.float32)


@dataclass(frozen=True)
class Peer:
    """`call` of `package`, held against the recipe called `recipe` with `given`.

    `call` is evaluated with the package's module and `params` (a list of parameters), `named` (pairs), `w` (by name),
    `hidden` (the matrices of the blocks, and the convolution seen as one), `rest` (all others) and `lr` at hand;
    optax's are applied to the same arrays, and `hidden` then says of each whether it is. `why` says why it differs,
    and is empty where it should agree. `flag` is true where the call names more than hyperparameters that the recipe
    has too. `single` runs it in float32, as the package knows no other; `exact` leaves out its casts to types narrower
    than float64, which shows whether rounding is all that separates the two. `closure` hands `step` a function that
    computes the gradients anew.
    """

    recipe: str
    package: str
    call: str
    why: str = ""
    given: dict[str, Any] = field(default_factory=dict)
    flag: bool = False
    single: bool = False
    closure: bool = False
    exact: bool = False
    lr: float = 0.01

    def weights(self, steps: int) -> dict[str, torch.Tensor]:
        """The weights to evaluate after `steps`, in float64. Raises what the package raises."""
        dtype = torch.float32 if self.single else torch.float64
        start = {k: x.to(dtype) for k, x in Problem().start().items()}
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), unrounded(self.exact):
            warnings.simplefilter("ignore")
            if self.package == "optax":
                return with_optax(self, start, steps)
            return with_torch(self, start, steps)


class Unrounded(TorchFunctionMode):
    """Leaves out every cast to a narrower type than float64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The call, with float64 where it names a narrower type."""
        if func in (torch.Tensor.bfloat16, torch.Tensor.float, torch.Tensor.half):
            return args[0]
        wide = {
            k: torch.float64 if isinstance(x, torch.dtype) and x in NARROW else x for k, x in (kwargs or {}).items()
        }
        return func(*(torch.float64 if isinstance(x, torch.dtype) and x in NARROW else x for x in args), **wide)


@contextlib.contextmanager
def unrounded(wanted: bool) -> Iterator[None]:
    """In float64 throughout, if wanted: scalars by default, and no cast to less."""
    if not wanted:
        yield
        return
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with Unrounded():
            yield
    finally:
        torch.set_default_dtype(before)


def module(package: str) -> dict[str, Any]:
    """The names that a call of the package may use. Raises ImportError where it is not installed."""
    full = PACKAGES[package]
    found = importlib.import_module(full)
    if package == "heavyball":  # what is compared is the rule, not the compiler
        found.utils.compile_mode = None
    return {full.split(".")[0]: importlib.import_module(full.split(".")[0]), "torch": torch}


def with_torch(peer: Peer, start: dict[str, torch.Tensor], steps: int) -> dict[str, torch.Tensor]:
    """Step by step, the gradients at the peer's own weights; where it has two modes, those it evaluates in."""
    problem, w = Problem(), {k: torch.nn.Parameter(x.clone()) for k, x in start.items()}
    flat = {k: torch.nn.Parameter(x.data.flatten(1)) for k, x in w.items() if x.ndim > 2}  # in the same memory
    names = {
        "params": list(w.values()),
        "named": list(w.items()),
        "hidden": [flat.get(k, x) for k, x in w.items() if ROLE[k] in HIDDEN],
        "rest": [x for k, x in w.items() if ROLE[k] not in HIDDEN],
    }
    made = eval(peer.call, {**module(peer.package), **names, "w": w, "lr": peer.lr})
    optimizers = made if isinstance(made, list) else [made]
    for x in optimizers:
        if hasattr(x, "eval") and hasattr(x, "train"):
            x.train()
    for t in range(steps):

        def gradients(t: int = t) -> torch.Tensor:
            now = problem.grad({k: x.detach() for k, x in w.items()}, t)
            for k, x in w.items():
                x.grad = now[k].clone()
                if k in flat:
                    flat[k].grad = now[k].clone().flatten(1)
            return torch.zeros(())

        gradients()
        for x in optimizers:
            x.step(gradients) if peer.closure else x.step()
    for x in optimizers:
        if hasattr(x, "eval") and hasattr(x, "train"):
            x.eval()
    return {k: x.detach().double() for k, x in w.items()}


def with_optax(peer: Peer, start: dict[str, torch.Tensor], steps: int) -> dict[str, torch.Tensor]:
    """As `with_torch`, on jax arrays of the same numbers."""
    names = module("optax")
    import jax
    import numpy as np

    jax.config.update("jax_enable_x64", True)
    optax = names["optax"]
    problem, w = Problem(), {k: jax.numpy.asarray(x.numpy()) for k, x in start.items()}
    hidden = {k: ROLE[k] in HIDDEN for k in start}
    tx = eval(peer.call, {**names, "jax": jax, "hidden": hidden, "lr": peer.lr})
    state, update = tx.init(w), jax.jit(tx.update)

    def back(x: Any) -> torch.Tensor:
        return torch.from_numpy(np.array(x))

    for t in range(steps):
        now = problem.grad({k: back(x) for k, x in w.items()}, t)
        u, state = update({k: jax.numpy.asarray(x.numpy()) for k, x in now.items()}, state, w)
        w = optax.apply_updates(w, u)
    if "schedule_free" in peer.call:
        w = optax.contrib.schedule_free_eval_params(state, w)
    return {k: back(x).double() for k, x in w.items()}
