"""Networks: against torch and Hugging Face, causal where they must be, random only through their seeds."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from adamantine.nets import decoder
from adamantine.nets import norm as normalization
from adamantine.nets.decoder import SIZES, Decoder, gpt2, sized
from adamantine.nets.dropout import dropout, uniform
from adamantine.nets.mlp import Mlp
from adamantine.nets.resnet import ResNet
from adamantine.nets.vit import Vit
from adamantine.point import stream

SMALL = {"vocab": 11, "context": 8, "width": 8, "depth": 2, "heads": 2}


def tokens(n=3, t=8):
    return torch.randint(11, (n, t), generator=stream(0, "tokens"))


def stirred(net):
    """Weights away from their symmetric start."""
    return {k: x + 0.3 * torch.randn(x.shape, generator=stream(1, k)) for k, x in net.init(stream(0, "init")).items()}


def test_gpt2_has_as_many_parameters_as_published():
    assert gpt2().parameters() == 124_439_808
    millions = [SIZES[s].parameters() / 1e6 for s in ("tiny", "small", "medium")]
    assert millions == pytest.approx([0.12, 0.84, 10.8], rel=0.05)
    assert sized("tiny", 300).vocab == 300
    net = sized("small")
    assert sum(x.numel() for x in net.init(stream(0, "init")).values()) == net.parameters()


@pytest.mark.parametrize("norm", ["none", "layer", "rms"])
@pytest.mark.parametrize("placement", ["pre", "post"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_decoder_is_causal_and_its_parameters_all_act(norm, placement, tied, bias):
    net = Decoder(**SMALL, norm=norm, placement=placement, tied=tied, bias=bias)
    w, x = stirred(net), tokens()
    logits = net(w, x)
    assert logits.shape == (3, 8, 11)
    assert logits.isfinite().all()
    changed = x.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 11
    other = net(w, changed)
    assert torch.allclose(logits[:, :5], other[:, :5], atol=1e-5)
    assert (logits[:, 5:] - other[:, 5:]).abs().max() > 1e-3
    live = {k: v.requires_grad_() for k, v in w.items()}
    net(live, x).square().sum().backward()
    # A key's bias moves all scores of a query alike, which softmax does not see.
    assert all(v.grad.abs().max() > 1e-6 for k, v in live.items() if not k.endswith("key.bias"))
    assert ("head" in w) != tied
    assert eval(repr(net)) == net


def test_a_decoder_is_hugging_faces_gpt2():
    transformers = pytest.importorskip("transformers")
    sizes = {"n_positions": 8, "n_embd": 8, "n_layer": 2, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=11, **sizes)).eval()
    with torch.no_grad():
        for name, x in theirs.named_parameters():  # biases and gains too leave 0 and 1
            x += 0.3 * torch.randn(x.shape, generator=stream(1, name))
    net = Decoder(**SMALL, bias=True)
    held = {k: x.detach() for k, x in theirs.state_dict().items()}
    w = {"embedding.token": held["transformer.wte.weight"], "embedding.position": held["transformer.wpe.weight"]}
    for i in range(2):
        own, block = f"transformer.h.{i}", f"block{i}"
        parts = ("query", "key", "value")
        fused = zip(
            parts, held[f"{own}.attn.c_attn.weight"].T.chunk(3), held[f"{own}.attn.c_attn.bias"].chunk(3), strict=True
        )
        for name, weight, bias in fused:
            w[f"{block}.{name}"], w[f"{block}.{name}.bias"] = weight, bias
        for name, there in (("output", "attn.c_proj"), ("up", "mlp.c_fc"), ("down", "mlp.c_proj")):
            w[f"{block}.{name}"] = held[f"{own}.{there}.weight"].T
            w[f"{block}.{name}.bias"] = held[f"{own}.{there}.bias"]
        for j in (1, 2):
            w[f"{block}.norm{j}"] = held[f"{own}.ln_{j}.weight"]
            w[f"{block}.norm{j}.bias"] = held[f"{own}.ln_{j}.bias"]
    w |= {"norm": held["transformer.ln_f.weight"], "norm.bias": held["transformer.ln_f.bias"]}
    assert set(w) == set(net.shapes())
    assert torch.allclose(net(w, tokens()), theirs(tokens()).logits, atol=1e-5)


def encoder(w, block, placement, bias):
    """Torch's own block with the weights of ours."""
    gelu = nn.GELU(approximate="tanh")
    theirs = nn.TransformerEncoderLayer(8, 2, 32, 0.0, gelu, batch_first=True, norm_first=placement == "pre", bias=bias)
    held = {"self_attn.in_proj_weight": torch.cat([w[f"{block}.{n}"] for n in ("query", "key", "value")])}
    names = {"self_attn.out_proj": "output", "linear1": "up", "linear2": "down", "norm1": "norm1", "norm2": "norm2"}
    held |= {f"{there}.weight": w[f"{block}.{here}"] for there, here in names.items()}
    if bias:
        held["self_attn.in_proj_bias"] = torch.cat([w[f"{block}.{n}.bias"] for n in ("query", "key", "value")])
        held |= {f"{there}.bias": w[f"{block}.{here}.bias"] for there, here in names.items()}
    theirs.load_state_dict(held)
    return theirs


@pytest.mark.parametrize("placement", ["pre", "post"])
@pytest.mark.parametrize(("tied", "bias"), [(True, True), (False, False)])
def test_a_decoder_is_made_of_torchs_blocks(placement, tied, bias):
    net = Decoder(**SMALL, placement=placement, tied=tied, bias=bias)
    w = stirred(net)
    x = w["embedding.token"][tokens()] + w["embedding.position"]
    for i in range(2):
        x = encoder(w, f"block{i}", placement, bias)(x, nn.Transformer.generate_square_subsequent_mask(8))
    if placement == "pre":
        x = F.layer_norm(x, (8,), w["norm"], w.get("norm.bias"))
    assert torch.allclose(net(w, tokens()), x @ w["embedding.token" if tied else "head"].T, atol=1e-5)


def test_dropout_is_a_function_of_the_examples_seed():
    x, seeds = torch.ones(64, 50, 40), torch.arange(64)
    a, b = dropout(x, 0.3, seeds, 0), dropout(x, 0.3, seeds, 0)
    assert torch.equal(a, b)
    assert not torch.equal(a, dropout(x, 0.3, seeds, 1)), "another site"
    assert torch.equal(dropout(x[5:6], 0.3, seeds[5:6], 0), a[5:6]), "each example by itself"
    masks = (a > 0).flatten(1)
    assert len({tuple(m.tolist()) for m in masks}) == 64
    kept, n = float(masks.double().mean()), masks.numel()
    assert abs(kept - 0.7) < 4 * math.sqrt(0.3 * 0.7 / n)
    assert float(a.mean()) == pytest.approx(1.0, abs=4 * math.sqrt(0.3 / 0.7 / n))
    assert dropout(x, 0.0, seeds, 0) is x
    assert not torch.equal(a, dropout(x, 0.3, seeds + 2**40, 0)), "all 64 bits of a seed count"
    shifted = torch.corrcoef(masks[:16].double())[0, 1:].abs().max()
    assert float(shifted) < 5 / math.sqrt(2000)
    mapped = torch.func.vmap(lambda v, s: dropout(v[None], 0.3, s[None], 0)[0])(x, seeds)
    assert torch.equal(mapped, a)


def test_uniform_numbers_are_uniform():
    u = uniform(torch.arange(50), 3, (2000,)).double()
    assert (u >= 0).all()
    assert (u < 1).all()
    assert float(u.mean()) == pytest.approx(0.5, abs=4 / math.sqrt(12 * u.numel()))
    counts = torch.histc(u.float(), 16, 0, 1).double()
    expected = u.numel() / 16
    assert float(((counts - expected) ** 2 / expected).sum()) < 45  # chi-square, 15 degrees of freedom, p = 1e-4


def test_a_decoder_drops_only_where_there_are_seeds():
    net = Decoder(**SMALL, dropout=0.5)
    w, x = stirred(net), tokens()
    assert torch.equal(net(w, x), Decoder(**SMALL)(w, x))
    a, b = net(w, x, torch.arange(3)), net(w, x, torch.arange(3))
    assert torch.equal(a, b)
    assert not torch.allclose(a, net(w, x, torch.arange(3) + 7))
    alone = net(w, x[1:2], torch.tensor([1]))
    assert torch.allclose(alone, a[1:2], atol=1e-5), "an example's masks are its own seed's only"


def test_a_decoder_drops_where_gpt2_does():
    """Written out with the masks of the same seeds: after the embedding, and on both outputs of each block."""
    net, seeds = Decoder(**SMALL, dropout=0.3), torch.arange(3)
    w, x = stirred(net), tokens()
    masks = iter([dropout(torch.ones(3, 8, 8), 0.3, seeds, site) for site in range(5)])
    h = (w["embedding.token"][x] + w["embedding.position"]) * next(masks)
    for i in range(2):
        h = h + net._attend(w, f"block{i}", F.layer_norm(h, (8,), w[f"block{i}.norm1"])) * next(masks)
        h = h + net._feed(w, f"block{i}", F.layer_norm(h, (8,), w[f"block{i}.norm2"])) * next(masks)
    logits = F.layer_norm(h, (8,), w["norm"]) @ w["embedding.token"].T
    assert torch.allclose(net(w, x, seeds), logits, atol=1e-5)


def test_initial_weights_have_the_deviations_they_name():
    w = Decoder(width=128, depth=8, bias=True).init(stream(0, "init"))
    for name, std in (("query", 0.02), ("up", 0.02), ("output", 0.02 / 4), ("down", 0.02 / 4)):
        assert float(w[f"block3.{name}"].std()) == pytest.approx(std, rel=0.03)
    assert all((x == 1).all() for k, x in w.items() if k.endswith(("norm", "norm1", "norm2")))
    assert not any(x.any() for k, x in w.items() if k.endswith(".bias"))
    w = Mlp(256, 10, 128, 2).init(stream(0, "init"))
    assert float(w["layer0.weight"].var()) == pytest.approx(2 / 256, rel=0.05)
    assert float(w["head.weight"].var()) == pytest.approx(1 / 128, rel=0.15)
    for norm, shrink in (("group", 1.0), ("none", 2.0)):
        w = ResNet(width=32, norm=norm).init(stream(0, "init"))
        assert float(w["stage0.block0.conv2"].var()) == pytest.approx(2 / (32 * 9) / shrink, rel=0.1)
    w = Vit(width=64, depth=2).init(stream(0, "init"))
    assert float(w["block0.query"].var()) == pytest.approx(1 / 64, rel=0.1)
    assert float(w["block0.down"].var()) == pytest.approx(1 / 256 / 4, rel=0.1)


@pytest.mark.parametrize("placement", ["pre", "post"])
def test_a_decoder_drops_once_after_the_embedding_and_twice_a_block(monkeypatch, placement):
    seen = []
    monkeypatch.setattr(decoder, "dropout", lambda x, rate, seeds, site: seen.append((rate, site)) or x)
    net = Decoder(**SMALL, dropout=0.25, placement=placement)
    net(net.init(stream(0, "init")), tokens(), torch.arange(3))
    assert seen == [(0.25, site) for site in range(5)]


def test_normalizations_are_torchs():
    x, gain, bias = (torch.randn(*s, generator=stream(0, str(s))) for s in ((4, 5, 8), (8,), (8, 1)))
    layer, rms = nn.LayerNorm(8), nn.RMSNorm(8, eps=1e-5)
    with torch.no_grad():
        layer.weight.copy_(gain)
        layer.bias.copy_(bias[:, 0])
        rms.weight.copy_(gain)
    assert torch.allclose(normalization.normalize("layer", x, gain, bias[:, 0]), layer(x))
    assert torch.allclose(normalization.normalize("rms", x, gain), rms(x))
    assert normalization.normalize("none", x) is x


def test_a_perceptron_written_out():
    net = Mlp(6, 3, 5, 1)
    w, x = net.init(stream(0, "init")), torch.randn(4, 1, 2, 3, generator=stream(0, "x"))
    h = F.gelu(x.flatten(1) @ w["layer0.weight"].T + w["layer0.bias"])
    assert torch.allclose(net(w, x), h @ w["head.weight"].T + w["head.bias"], atol=1e-6)
    assert net.sizes == (6, 5, 3)


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_a_residual_network(norm):
    net = ResNet(2, 5, 8, norm=norm)
    w, x = stirred(net), torch.randn(6, 2, 8, 8, generator=stream(0, "x"))
    assert net(w, x).shape == (6, 5)
    alone = net(w, x[:1])
    assert torch.allclose(alone, net(w, x)[:1], atol=1e-4) == (norm != "batch"), "batch normalization couples examples"


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_a_residual_network_written_out(norm):
    net = ResNet(2, 5, 8, stages=2, norm=norm, groups=4)
    w, x = stirred(net), torch.randn(6, 2, 8, 8, generator=stream(0, "x"))

    def normed(name, x):
        if norm == "none":
            return x
        module = nn.GroupNorm(4, x.shape[1]) if norm == "group" else nn.BatchNorm2d(x.shape[1])
        module.load_state_dict({"weight": w[f"{name}.gain"], "bias": w[f"{name}.bias"]}, strict=False)
        return module(x)

    h = F.conv2d(x, w["stem"], padding=1)
    for name, stride in (("stage0.block0", 1), ("stage1.block0", 2)):
        inner = F.relu(normed(f"{name}.norm1", h))
        beside = h if stride == 1 else F.conv2d(inner, w[f"{name}.shortcut"], stride=2)
        inner = F.conv2d(inner, w[f"{name}.conv1"], stride=stride, padding=1)
        h = beside + F.conv2d(F.relu(normed(f"{name}.norm2", inner)), w[f"{name}.conv2"], padding=1)
    assert h.shape == (6, 16, 4, 4)
    logits = F.linear(F.relu(normed("norm", h)).mean((2, 3)), w["head.weight"], w["head.bias"])
    assert torch.allclose(net(w, x), logits, atol=1e-4)


def test_batch_normalization_is_torchs():
    """With blocks whose convolutions are zero only the last normalization is left, before the mean over pixels."""
    net = ResNet(1, 3, 4, stages=1, norm="batch")
    w = {k: torch.zeros_like(x) if "conv" in k else x for k, x in stirred(net).items()}
    x = torch.randn(16, 1, 6, 6, generator=stream(0, "x"))
    module = nn.BatchNorm2d(4, momentum=1.0)
    with torch.no_grad():
        module.weight.copy_(w["norm.gain"])
        module.bias.copy_(w["norm.bias"])
    h = F.conv2d(x, w["stem"], padding=1)

    def rest(normed):
        return F.linear(F.relu(normed).mean((2, 3)), w["head.weight"], w["head.bias"])

    assert torch.allclose(net(w, x), rest(module(h)), atol=1e-5)
    seen = net.statistics(w, x)
    assert torch.allclose(seen["norm"][0], module.running_mean, atol=1e-6)
    assert torch.allclose(seen["norm"][1], module.running_var, atol=1e-6)
    few = net(w, x[:2], seen)
    assert torch.allclose(few, rest(module.eval()(h[:2])), atol=1e-5), "evaluation uses the statistics given"


def test_every_batch_normalization_uses_the_statistics_given():
    net = ResNet(2, 5, 8, norm="batch")
    w, x = stirred(net), torch.randn(6, 2, 8, 8, generator=stream(0, "x"))
    seen = net.statistics(w, x)
    assert set(seen) == {k.removesuffix(".gain") for k in w if k.endswith(".gain")}
    assert torch.allclose(net(w, x[:1], seen), net(w, x, seen)[:1], atol=1e-4), "each image by itself"
    count = {name: 6 * (64 if name.startswith("stage0") or name == "stage1.block0.norm1" else 16) for name in seen}
    biased = {name: (mean, var * (1 - 1 / count[name])) for name, (mean, var) in seen.items()}
    assert torch.allclose(net(w, x, biased), net(w, x), atol=1e-4), "training divides by the count"


@pytest.mark.parametrize("norm", ["none", "layer", "rms"])
def test_a_vision_transformer_sees_every_patch_and_its_place(norm):
    net = Vit(1, 8, 5, patch=4, width=8, depth=2, heads=2, norm=norm)
    w, x = stirred(net), torch.randn(3, 1, 8, 8, generator=stream(0, "x"))
    logits = net(w, x)
    assert logits.shape == (3, 5)
    assert torch.allclose(net(w, x[:1]), logits[:1], atol=1e-5)
    for i in range(4):
        changed = x.clone()
        changed[:, :, 4 * (i // 2), 4 * (i % 2)] += 1
        assert (net(w, changed) - logits).abs().max() > 1e-4
    swapped = torch.cat([x[..., 4:], x[..., :4]], -1)
    assert (net(w, swapped) - logits).abs().max() > 1e-3


def test_a_vision_transformer_is_made_of_torchs_blocks():
    net = Vit(2, 8, 5, patch=4, width=8, depth=2, heads=2)
    w, x = stirred(net), torch.randn(3, 2, 8, 8, generator=stream(0, "x"))
    h = F.conv2d(x, w["embedding.patch"].view(8, 2, 4, 4), stride=4).flatten(2).mT + w["embedding.position"]
    for i in range(2):
        h = encoder(w, f"block{i}", "pre", False)(h)
    logits = F.linear(F.layer_norm(h, (8,), w["norm"]).mean(1), w["head.weight"], w["head.bias"])
    assert torch.allclose(net(w, x), logits, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Decoder(width=10, heads=3), "does not divide into 3 heads"),
        (lambda: Decoder(norm="batch"), "norm 'batch'"),
        (lambda: Decoder(placement="mid"), "placement"),
        (lambda: Decoder(depth=1.5), "whole number"),
        (lambda: Decoder(vocab=0), "vocab is 0"),
        (lambda: Decoder(heads=True), "heads is True"),
        (lambda: Decoder(dropout=1.0), "dropout"),
        (lambda: sized("huge"), "not one of tiny"),
        (lambda: Decoder(**SMALL)(Decoder(**SMALL).init(stream(0, "i")), tokens(1, 9)), "longer than the context"),
        (lambda: Mlp(width=0), "at least 1"),
        (lambda: Mlp(64, 10).check((1, 16, 16), 34), r"give Mlp\(inputs=256, classes=34"),
        (lambda: ResNet(stages=0), "at least 1"),
        (lambda: ResNet(norm="layer"), "norm 'layer'"),
        (lambda: ResNet(width=6), "groups"),
        (lambda: ResNet(3).check((1, 8, 8), 10), "ResNet"),
        (lambda: Vit(side=10), "patches of 4"),
        (lambda: Vit(heads=5), "5 heads"),
        (lambda: Vit(norm="batch"), "norm 'batch'"),
        (lambda: Vit().check((3, 16, 16), 10), "inputs=3"),
        (lambda: dropout(torch.ones(1, 1), 1.5, torch.zeros(1, dtype=torch.int64), 0), "rate"),
        (lambda: normalization.normalize("layer", torch.ones(1, 2)), "needs a gain"),
    ],
)
def test_what_cannot_be_built_is_refused_in_a_sentence(make, says):
    with pytest.raises((ValueError, TypeError), match=says):
        make()
