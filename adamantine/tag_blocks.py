"""What attention and feed-forward layers of a module are, from shapes, siblings and the names of modules together.

A name alone decides nothing: three layers are query, key and value where they are children of one module, are called
so, and have shapes that agree. Where shapes do not settle it, the layer stays without a role.
"""

import re
from typing import Any

from torch import nn

from adamantine.role import Cut, Tag
from adamantine.tag_layers import Found, Layer, Trial, ancestors, kind, within
from adamantine.tag_probe import Stretch, in_turn, multiplied

_TAIL = r"(_?(proj|projection|lin|linear|layer|attn))?$"
NAMED = {
    role: re.compile(rf"^((w|to|linear|lin)_?)?({word}){_TAIL}", re.I)
    for role, word in (("query", "q|query"), ("key", "k|key"), ("value", "v|value"))
}
OUTPUT = re.compile(r"^(o|wo|out|output|dense|proj|c_proj|(o|out)_(proj|lin|linear)|w_o|to_out|proj_out)(\.0)?$", re.I)
FUSED = re.compile(r"^(c_attn|w?_?qkv(_?proj)?|to_qkv|query_key_value|in_proj_qkv)$", re.I)
HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads", "nhead")
# Where no forward pass shows in which order a fused layer gives its parts, these are known to give them in turn.
KNOWN = ("GPT2Attention", "DecisionTransformerGPT2Attention", "ImageGPTAttention", "Phi3Attention", "Phi3MLP", "GlmMLP")
KV_HEADS = ("num_key_value_heads", "n_kv_heads", "num_kv_heads", "n_kv_head")


def whole_number(owners: tuple[Any, ...], names: tuple[str, ...]) -> int:
    """The first of the attributes that one of the owners has as a positive whole number, or 0."""
    for owner in owners:
        for name in names:
            n = getattr(owner, name, None)
            if isinstance(n, int) and not isinstance(n, bool) and n > 0:
                return n
    return 0


class Blocks:
    """Fills `found`, by parameter, with the layers whose role in a block is certain or in question."""

    def __init__(self, model: nn.Module, layers: list[Layer], run: Trial | None) -> None:
        self.model, self.run = model, run
        self.modules = dict(model.named_modules())
        self.config = getattr(model, "config", None)
        self.layers, self.found = layers, dict[str, Found]()
        self.scopes: list[str] = []  # of attention, with its output

    def owners(self, name: str) -> tuple[Any, ...]:
        """Who may know the numbers of a module: itself, its configuration, the model's."""
        module = self.modules[name]
        return module, getattr(module, "config", None), self.config

    def rest(self, scope: str) -> list[Layer]:
        """Layers in `scope` without a role."""
        return [x for x in self.layers if within(x.name, scope) and x.key not in self.found]

    def say(self, layer: Layer, tag: Tag, reason: str) -> None:
        """Note a role; where the layer is, is added to the reason."""
        module = self.modules.get(layer.name)
        place = f"{kind(module)} of {kind(self.modules[layer.parent])}" if module else kind(self.modules[layer.parent])
        self.found[layer.key] = Found(tag, f"{place}: {reason}")

    # --- attention --------------------------------------------------------------------------------------------

    def attention(self) -> None:
        """Queries, keys, values and outputs, fused or not."""
        for name, module in self.modules.items():
            if isinstance(module, nn.MultiheadAttention):
                self._multihead(name, module)
                continue
            children = [x for x in self.layers if x.parent == name and not x.experts]
            by = {role: [x for x in children if says.match(x.own)] for role, says in NAMED.items()}
            if all(len(found) == 1 for found in by.values()):
                self._separate(name, *(found[0] for found in by.values()))
            for layer in children:
                if FUSED.match(layer.own):
                    self._fused(name, layer, by["query"])

    def _multihead(self, name: str, module: nn.MultiheadAttention) -> None:
        d, heads, at = module.embed_dim, module.num_heads, f"{name}." if name else ""
        cuts = tuple(Cut(role, d, heads) for role in NAMED)
        fused = Tag("query+key+value", cuts)
        self.found[f"{at}in_proj_weight"] = Found(fused, f"in_proj_weight of MultiheadAttention: 3 x {d} outputs")
        for role, short in zip(NAMED, ("q", "k", "v"), strict=True):
            self.found[f"{at}{short}_proj_weight"] = Found(Tag(role, heads=heads), "of MultiheadAttention")
        out = Tag("output", heads=heads)
        self.found[f"{at}out_proj.weight"] = Found(out, "out_proj of MultiheadAttention: reads all heads")
        self.scopes.append(name)

    def _separate(self, name: str, q: Layer, k: Layer, v: Layer) -> None:
        if k.ins != v.ins or k.outs != v.outs or q.outs % k.outs:
            return
        heads, kv = self._heads(name, q.outs, k.outs)
        for layer, role, n in ((q, "query", heads), (k, "key", kv), (v, "value", kv)):
            said = f"{n} heads" if n else "number of heads not found"
            self.say(layer, layer.tag(role, n), f"{role} beside its siblings, {said}")
        self._output(name, q.outs, q.ins, heads)

    def _heads(self, name: str, queries: int, keys: int) -> tuple[int, int]:
        heads, size = whole_number(self.owners(name), HEADS), whole_number(self.owners(name)[:1], ("head_dim",))
        if size and queries % size == 0 and not heads:
            heads = queries // size
        if not heads or queries % heads or keys % (queries // heads):
            return 0, 0
        return heads, keys // (queries // heads)

    def _output(self, name: str, width: int, out: int, heads: int) -> str:
        """Name of the layer after attention: beside it in its module, or alone in the one around it; "" for none."""
        for scope in ancestors(name):
            rest = [x for x in self.rest(scope) if not FUSED.match(x.own) and not x.experts]
            fits = [x for x in rest if x.ins == width and x.outs == out]
            if scope == name and len(fits) > 1:
                fits = [x for x in fits if OUTPUT.match(x.name[len(scope) + bool(scope) :])]
            if len(fits) == 1 and (scope == name or len(rest) == 1) and (scope or scope == name):
                self.say(fits[0], fits[0].tag("output", heads), "output of attention, the one that reads all heads")
                self.scopes.append(scope)
                return fits[0].name
            if rest:
                break
        self.scopes.append(name)
        return ""

    def _fused(self, name: str, layer: Layer, query: list[Layer]) -> None:
        heads = whole_number(self.owners(name), HEADS)
        kv = whole_number(self.owners(name), KV_HEADS) or heads
        cross = bool(query) and layer.own == "c_attn" and layer.outs == 2 * query[0].outs
        if cross:
            width = query[0].outs
            self.say(query[0], query[0].tag("query", heads), f"query of cross-attention, {heads} heads")
            sizes = (("key", width, heads), ("value", width, heads))
        else:
            size = layer.outs // (heads + 2 * kv) if heads and layer.outs % (heads + 2 * kv) == 0 else 0
            sizes = (("query", heads * size, heads), ("key", kv * size, kv), ("value", kv * size, kv))
            width = heads * size
        at = self._output(name, width or layer.ins, query[0].ins if cross else layer.ins, heads)
        known = kind(self.modules[name]) in KNOWN
        if not known and width and not cross and self.run and at:
            q, k, v = (n for _, n, _ in sizes)
            known = in_turn(self.model, self.run, layer.name, (q, k, v), heads, at)
        if not width or not known:
            why = "not seen to come one after another" if width else "no number of heads fits their sizes"
            self.say(layer, layer.tag("?"), f"query, key and value fused, but {why}")
            return
        cuts = tuple(Cut(*x) for x in sizes)
        parts = "+".join(cut.role for cut in cuts)
        said = " + ".join(str(c.size) for c in cuts) if kv != heads else f"{len(cuts)} x {width}"
        self.say(layer, layer.tag(parts, cuts=cuts), f"{said} outputs, {heads} heads")

    # --- feed-forward -----------------------------------------------------------------------------------------

    def feed_forward(self) -> None:
        """Gates, ups and downs of the blocks around attention, then what is in question there."""
        blocks = [next((x for x in ancestors(scope) if self.rest(x)), None) for scope in self.scopes]
        for scope in dict.fromkeys(blocks):
            if scope is not None:
                self._block(scope)
        for name in self.modules:
            if isinstance(self.modules.get(name.rpartition(".")[0]), nn.ModuleList):
                self._inside(name)

    def _block(self, scope: str) -> None:
        self._inside(scope)
        if scope:
            for layer in self.rest(scope):
                self.say(layer, layer.tag("?"), "beside attention, but shapes and siblings fit no feed-forward layer")

    def _inside(self, scope: str) -> None:
        for inner in reversed([n for n in self.modules if n == scope or within(n, scope)]):
            self._routers(inner)
            self._match(self.rest(inner))

    def _routers(self, name: str) -> None:
        experts = whole_number(self.owners(name), ("num_experts", "num_local_experts", "n_routed_experts"))
        for layer in self.rest(name):
            if (
                experts > 1
                and layer.outs == experts
                and re.search("router|gate", layer.own, re.I)
                and not layer.experts
            ):
                self.say(layer, layer.tag("matrix"), f"router to {experts} experts")

    def _match(self, layers: list[Layer]) -> None:
        if len(layers) == 2:
            self._pair(*sorted(layers, key=lambda x: x.ins))
        elif len(layers) == 3:
            self._gated(layers)

    def _pair(self, up: Layer, down: Layer) -> None:
        if up.ins != down.outs or up.experts != down.experts:
            return
        if up.outs == down.ins:
            if up.outs > up.ins or re.sub("1$", "2", up.own) == down.own != up.own:
                self.say(up, up.tag("up"), f"{up.ins} to {up.outs}, before {down.own}")
                self.say(down, down.tag("down"), f"{down.ins} to {down.outs}, after {up.own}")
        elif up.outs == 2 * down.ins:
            self._fused_gate(up, down)

    def _fused_gate(self, both: Layer, down: Layer) -> None:
        n, which = down.ins, None
        if both.experts or kind(self.modules[both.parent]) in KNOWN:
            which = 1 if "gate_up" in both.own else None
        elif self.run is not None:
            pieces = Stretch(both.name, 0, n), Stretch(both.name, n)
            which = multiplied(self.model, self.run, pieces, down.name)
        if which is None:
            self.say(both, both.tag("?"), "gate and up fused, perhaps, but not seen to be")
        else:
            roles = ("gate", "up") if which else ("up", "gate")
            cuts = tuple(Cut(role, n) for role in roles)
            self.say(both, both.tag("+".join(roles), cuts=cuts), f"2 x {n} outputs, before {down.own}")
        self.say(down, down.tag("down"), f"{down.ins} to {down.outs}, after {both.own}")

    def _gated(self, layers: list[Layer]) -> None:
        downs = [x for x in layers if sum((y.outs, y.ins) == (x.ins, x.outs) for y in layers if y is not x) == 2]
        if len(downs) > 1:
            downs = [x for x in downs if "down" in x.own]
        if len(downs) != 1:
            return
        pair = [x for x in layers if x is not downs[0]]
        gates = [x for x in pair if "gate" in x.own]
        if not gates and [x.own for x in layers] in (["w1", "w2", "w3"], ["wi_0", "wi_1", "wo"], ["w1", "w3", "w2"]):
            gates = pair[:1]  # LLaMA's and T5's names
        if len(gates) != 1 and self.run is not None:
            which = multiplied(self.model, self.run, tuple(Stretch(x.name) for x in pair), downs[0].name)
            gates = [] if which is None else [pair[1 - which]]
        if len(gates) == 1:
            up = next(x for x in pair if x is not gates[0])
            self.say(gates[0], gates[0].tag("gate"), f"{up.ins} to {up.outs}, multiplies {up.own}")
            self.say(up, up.tag("up"), f"{up.ins} to {up.outs}, before {downs[0].own}")
        else:
            for x in pair:
                self.say(x, x.tag("?"), "gate or up, which its sibling of the same shape does not tell")
        self.say(downs[0], downs[0].tag("down"), f"{downs[0].ins} to {downs[0].outs}")
