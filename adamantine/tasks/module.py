"""Any `torch.nn.Module` with a loss and a source of batches as a task, Hugging Face models included."""

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from adamantine.point import Draw
from adamantine.role import Tags
from adamantine.tagger import tag
from adamantine.tree import Params


@dataclass(frozen=True)
class ModuleTask:
    """The mean of `loss(run, batch)` over examples, where `run(*inputs)` calls the module with the weights at hand.

    `build` is the module itself (its present weights are where every run starts), or a function named at the top of a
    file that builds it (every seed then starts from its own weights). `loss(run, batch) -> [B]` and
    `batches(rng) -> (() -> batch)` are such functions too, and `evaluate(run) -> {name: number}` where given: their
    names and source are the task's identity. All that is random in `batches` comes from `rng`.

    The module runs in training mode for the loss and in evaluation mode for the score. Its buffers are never changed:
    batch normalization works on the batch, and at scoring on the statistics the module came with. Dropout inside
    the module draws from a generator that is seeded with the batch, so that every question asked at a point sees
    the same masks. Set `splits=False` where the loss of an example depends on the others in its batch.

    Raises TypeError where a field is of the wrong kind, ValueError where the loss has the wrong shape.
    """

    build: Any
    loss: Callable[[Callable[..., Any], Any], Tensor]
    batches: Callable[[torch.Generator], Callable[[], Any]]
    evaluate: Callable[[Callable[..., Any]], dict[str, float]] | None = None
    splits: bool = True
    _held: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse fields of the wrong kind, and a module without weights."""
        for name in ("build", "loss", "batches"):
            if not callable(getattr(self, name)):
                raise TypeError(f"ModuleTask: {name} is {getattr(self, name)!r}; give a module or a named function.")
        if isinstance(self.build, nn.Module):
            object.__setattr__(self, "build", Frozen(self.build))

    def __repr__(self) -> str:
        """The constructor call, with functions by their names."""
        held = {f.name: getattr(self, f.name) for f in fields(self) if f.repr}
        words = [f"{name}={getattr(x, '__qualname__', None) or repr(x)}" for name, x in held.items()]
        return f"ModuleTask({', '.join(words)})"

    def fingerprint(self) -> str:
        """Of the module's weights and structure, where it was given as it is."""
        return self.build.fingerprint() if isinstance(self.build, Frozen) else ""

    def _module(self, rng: torch.Generator | None = None) -> nn.Module:
        """The module, built once for its structure; a new one where `rng` seeds its weights."""
        if rng is None and "module" in self._held:
            return self._held["module"]
        seed = 0 if rng is None else int(torch.randint(2**62, (), generator=rng))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = self.build()
        if not isinstance(module, nn.Module):
            raise TypeError(f"ModuleTask: build gave a {type(module).__name__}; it must give a torch.nn.Module.")
        if not any(x.requires_grad for x in module.parameters()):
            raise ValueError(
                "ModuleTask: the module has no parameter that requires a gradient; nothing can be trained."
            )
        if rng is None:
            self._held["module"] = module
        return module

    def init(self, rng: torch.Generator) -> Params:
        """The weights of a newly built module, tied ones once; frozen ones are no part of them."""
        module = self._module(None if isinstance(self.build, Frozen) else rng)
        return {k: x.detach().clone() for k, x in module.named_parameters() if x.requires_grad}

    def tags(self) -> Tags:
        """The roles of the trained tensors, as `tagger.tag` reads them off the module."""
        module = self._module()
        trained = {k for k, x in module.named_parameters() if x.requires_grad}
        return Tags(tuple((k, x) for k, x in tag(module).pairs if k in trained))

    def source(self, rng: torch.Generator) -> Draw:
        """`{"batch": ..., "seed": ...}` with the user's batch and a seed for what is random inside the module.

        Where the user's stream has `state_dict` and `load_state_dict`, so has this one, and a run can be resumed.
        """
        draw = self.batches(rng)

        def both(w: Params) -> dict[str, Any]:
            batch = draw()
            tensors = [x for x in tree_leaves(batch) if isinstance(x, Tensor)]
            size = len(tensors[0]) if tensors and tensors[0].ndim else 1
            # One seed for all, with an axis of examples like everything else in a batch.
            return {"batch": batch, "seed": torch.randint(2**62, (1,), generator=rng).expand(size)}

        for name in ("state_dict", "load_state_dict"):
            if hasattr(draw, name):
                setattr(both, name, getattr(draw, name))
        return both

    def losses(self, w: Params, batch: dict[str, Any]) -> Tensor:
        """The user's loss of each example, `[B]`."""
        return self.outputs_and_losses(w, batch)[1]

    def outputs_and_losses(self, w: Params, batch: dict[str, Any]) -> tuple[tuple[Tensor, ...], Tensor]:
        """The tensors that the module gave (the `logits`, where it has such) at its calls, and the losses from them."""
        module = self._module().train()
        called, said = _Call(module, w, self._buffers(module, w)), []

        def run(*inputs: Any, **named: Any) -> Any:
            out = called(*inputs, **named)
            said.append(getattr(out, "logits", out))
            return out

        device = next(iter(w.values())).device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            if not torch._C._functorch.is_batchedtensor(batch["seed"]):  # pyright: ignore[reportAttributeAccessIssue]
                # Not torch.manual_seed, which formats a traceback for every device that is not there: a millisecond.
                torch.default_generator.manual_seed(int(batch["seed"][0]))
                if device.type == "cuda":
                    torch.cuda.manual_seed(int(batch["seed"][0]))
            out = self.loss(run, batch["batch"])
        if not isinstance(out, Tensor) or out.ndim != 1:
            shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(f"ModuleTask: the loss gave {shape}; it must give one number an example, shape [B].")
        return tuple(x for x in tree_leaves(said) if isinstance(x, Tensor) and x.requires_grad), out

    @torch.no_grad()
    def score(self, w: Params) -> dict[str, float]:
        """What `evaluate` gives, in evaluation mode; nothing without it."""
        if self.evaluate is None:
            return {}
        module = self._module().eval()
        return self.evaluate(_Call(module, w, self._buffers(module, w)))

    def _buffers(self, module: nn.Module, w: Params) -> dict[str, Tensor]:
        like = next(iter(w.values()))
        fixed = {k: x.detach() for k, x in module.named_parameters() if not x.requires_grad}
        held = {**dict(module.named_buffers()), **fixed}
        # Copies: batch normalization writes into its running statistics.
        return {k: x.to(like.device, like.dtype if x.is_floating_point() else None, copy=True) for k, x in held.items()}


@dataclass(frozen=True)
class _Call:
    module: nn.Module
    weights: Params
    buffers: dict[str, Tensor]

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """The module's output at these weights."""
        return functional_call(self.module, {**self.buffers, **self.weights}, inputs, named, tie_weights=True)


class Frozen:
    """A module as it is: calling it gives a copy."""

    def __init__(self, module: nn.Module) -> None:
        self.module = copy.deepcopy(module)

    def __repr__(self) -> str:
        """The module's class."""
        return f"{type(self.module).__name__}(...)"

    def __call__(self) -> nn.Module:
        """A copy of the module."""
        return copy.deepcopy(self.module)

    def fingerprint(self) -> str:
        """SHA-256 of the module's printed structure and all its tensors."""
        whole = hashlib.sha256(repr(self.module).encode())
        for name, x in self.module.state_dict().items():
            whole.update(name.encode())
            whole.update(x.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return whole.hexdigest()
