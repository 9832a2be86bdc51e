"""Roles of tensors: the package's own tasks, and any module, told from its structure or not at all."""

import io
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from test_contract_tasks import tasks
from test_module import fit, regression, squared
from torch import nn

from adamantine.optim.sgd import sgd
from adamantine.point import stream
from adamantine.role import Cut, Is, Tag, Tags, asks, bind
from adamantine.route import Route
from adamantine.run import Row, Run
from adamantine.tag_table import print_table, questions, rows
from adamantine.tagger import tag
from adamantine.tasks.module import ModuleTask
from adamantine.tasks.quadratic import Quadratic


@pytest.mark.parametrize("task", tasks(), ids=lambda t: f"{type(t).__name__}-{t!r}"[:70])
def test_tags_of_every_task_cover_its_parameters(task):
    tags, w = task.tags(), task.init(stream(0, "init"))
    assert [k for k, _ in tags.pairs] == list(w)
    assert not tags.unknown


def test_a_run_gives_the_optimizer_the_tables_of_its_task():
    optimizer = Route(Is("matrix"), sgd(0.1), sgd(0.0))
    task = Quadratic(eigenvalues=(1.0,) * 8, matrix=(2, 3))
    last = [e for e in Run(task, optimizer, steps=200).events() if isinstance(e, Row) and e.name == "held_out"][-1]
    start = task.init(stream("report/0", "init"))
    assert last.value == pytest.approx(0.5 * float(start["rest"].square().sum()), rel=1e-3)


def test_a_table_given_by_hand_is_kept():
    task = Quadratic(eigenvalues=(1.0,) * 6, matrix=(2, 3))
    optimizer = bind(Route(Is("matrix"), sgd(0.1), sgd(0.0)), Tags((("matrix", Tag("up")),)))
    assert not asks(optimizer)
    last = [e for e in Run(task, optimizer, steps=50).events() if isinstance(e, Row) and e.name == "held_out"][-1]
    assert last.value > 0.1


def test_roles_on_a_task_without_a_table_are_refused():
    @dataclass(frozen=True)
    class Bare:
        init = source = losses = score = None

    with pytest.raises(ValueError, match="Bare does not tell them; give it a method tags"):
        Run(Bare(), Route(Is("matrix"), sgd(0.1), sgd(0.0)))  # pyright: ignore
    Run(Bare(), sgd(0.1))  # pyright: ignore


# --- modules ----------------------------------------------------------------------------------------------------

SMALL = {"vocab_size": 11, "hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 4}
SHORT = {"max_position_embeddings": 16, "num_hidden_layers": 2}


def hf(model, config, **fields):
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    return getattr(transformers, model)(getattr(transformers, config)(**fields))


def table_of(model, **given):
    """`name: role heads`, repeated layers joined, biases left out."""
    out = {}
    for row in rows(tag(model, **given), model):
        if row.tag.role != "bias":
            role, heads, storage = row.cells[2:5]
            out[row.name] = " ".join(filter(None, (role, heads, storage)))
    return out


def test_gpt2():
    model = hf("GPT2LMHeadModel", "GPT2Config", vocab_size=11, n_positions=16, n_embd=8, n_layer=3, n_head=2)
    assert table_of(model) == {
        "transformer.wte.weight": "embedding, head",
        "transformer.wpe.weight": "position",
        "transformer.h.0-2.ln_1.weight": "norm",
        "transformer.h.0-2.attn.c_attn.weight": "query+key+value 2 query 8 + key 8 + value 8, [in, out]",
        "transformer.h.0-2.attn.c_proj.weight": "output 2 [in, out]",
        "transformer.h.0-2.ln_2.weight": "norm",
        "transformer.h.0-2.mlp.c_fc.weight": "up [in, out]",
        "transformer.h.0-2.mlp.c_proj.weight": "down [in, out]",
        "transformer.ln_f.weight": "norm",
    }
    cuts = tuple(Cut(role, 8, 2) for role in ("query", "key", "value"))
    assert tag(model)["transformer.h.1.attn.c_attn.weight"] == Tag("query+key+value", cuts, transposed=True)


BLOCK = {
    "self_attn.q_proj.weight": "query 4",
    "self_attn.k_proj.weight": "key 2",
    "self_attn.v_proj.weight": "value 2",
    "self_attn.o_proj.weight": "output 4",
}


def test_llama_has_fewer_heads_of_keys_and_values():
    model = hf("LlamaForCausalLM", "LlamaConfig", **SMALL, **SHORT, num_key_value_heads=2)
    assert table_of(model) == {
        "model.embed_tokens.weight": "embedding",
        **{f"model.layers.0-1.{k}": role for k, role in BLOCK.items()},
        "model.layers.0-1.mlp.gate_proj.weight": "gate",
        "model.layers.0-1.mlp.up_proj.weight": "up",
        "model.layers.0-1.mlp.down_proj.weight": "down",
        "model.layers.0-1.input_layernorm.weight": "norm",
        "model.layers.0-1.post_attention_layernorm.weight": "norm",
        "model.norm.weight": "norm",
        "lm_head.weight": "head",
    }


def test_bert():
    at = "bert.encoder.layer.0-1"
    assert table_of(hf("BertForMaskedLM", "BertConfig", **SMALL, **SHORT)) == {
        "bert.embeddings.word_embeddings.weight": "embedding, head",
        "bert.embeddings.position_embeddings.weight": "position",
        "bert.embeddings.token_type_embeddings.weight": "embedding",
        "bert.embeddings.LayerNorm.weight": "norm",
        f"{at}.attention.self.query.weight": "query 4",
        f"{at}.attention.self.key.weight": "key 4",
        f"{at}.attention.self.value.weight": "value 4",
        f"{at}.attention.output.dense.weight": "output 4",
        f"{at}.attention.output.LayerNorm.weight": "norm",
        f"{at}.intermediate.dense.weight": "up",
        f"{at}.output.dense.weight": "down",
        f"{at}.output.LayerNorm.weight": "norm",
        "cls.predictions.transform.dense.weight": "matrix",
        "cls.predictions.transform.LayerNorm.weight": "norm",
    }
    assert table_of(hf("BertModel", "BertConfig", **SMALL, **SHORT))["pooler.dense.weight"] == "matrix"


def test_vit():
    fields = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
    found = table_of(hf("ViTForImageClassification", "ViTConfig", **fields, image_size=8, patch_size=4, num_labels=3))
    assert sorted(found.values()) == sorted(
        ["token", "position", "patch", "query 2", "key 2", "value 2", "output 2", "up", "down", *["norm"] * 3, "head"]
    )
    assert found["classifier.weight"] == "head"
    assert found["vit.embeddings.patch_embeddings.projection.weight"] == "patch"


def test_resnets_from_transformers_and_by_hand():
    fields = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic", "num_labels": 3}
    found = table_of(hf("ResNetForImageClassification", "ResNetConfig", **fields))
    assert set(found.values()) == {"convolution", "norm", "head"}
    assert [k for k, role in found.items() if role == "head"] == ["classifier.1.weight"]
    assert table_of(Residual()) == {
        "conv1.weight": "convolution",
        "bn1.weight": "norm",
        "conv2.weight": "convolution",
        "fc.weight": "head",
    }


def test_stacked_experts_their_router_and_fused_gates():
    fields = {**SMALL, **SHORT, "num_key_value_heads": 2}
    found = table_of(hf("MixtralForCausalLM", "MixtralConfig", **fields, num_local_experts=3))
    assert found["model.layers.0-1.mlp.gate.weight"] == "matrix"
    assert found["model.layers.0-1.mlp.experts.gate_up_proj"] == "gate+up gate 12 + up 12, 3 experts"
    assert found["model.layers.0-1.mlp.experts.down_proj"] == "down 3 experts"
    found = table_of(hf("Phi3ForCausalLM", "Phi3Config", **fields, pad_token_id=0))
    assert found["model.layers.0-1.self_attn.qkv_proj.weight"] == "query+key+value 4/2 query 8 + key 4 + value 4"
    assert found["model.layers.0-1.mlp.gate_up_proj.weight"] == "gate+up gate 12 + up 12"


@pytest.mark.parametrize("name", ["GPTNeoX", "Bloom"])
def test_interleaved_heads_are_not_guessed(name):
    fields = (
        {**SMALL, **SHORT} if name == "GPTNeoX" else {"vocab_size": 11, "hidden_size": 8, "n_layer": 2, "n_head": 2}
    )
    model = hf(f"{name}ForCausalLM", f"{name}Config", **fields)
    unknown = tag(model).unknown
    assert len(unknown) == 2
    assert all(k.endswith("query_key_value.weight") for k in unknown)
    (sentence,) = questions(tag(model), model)
    assert "not seen to come one after another" in sentence
    assert 'query_key_value.weight": "query+key+value"}' in sentence
    settled = tag(model, roles={"*.query_key_value.weight": "matrix"})
    assert not settled.unknown


def test_gated_and_cross_attention_of_t5():
    fields = {"vocab_size": 11, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 1, "num_heads": 2}
    found = table_of(hf("T5ForConditionalGeneration", "T5Config", **fields, feed_forward_proj="gated-gelu"))
    assert found["shared.weight"] == "embedding, head"
    assert "?" not in found.values()
    for attention in ("0.SelfAttention", "1.EncDecAttention"):
        at = f"decoder.block.0.layer.{attention}"
        assert [found[f"{at}.{k}.weight"] for k in "qkvo"] == ["query 2", "key 2", "value 2", "output 2"]
    at = "decoder.block.0.layer.2.DenseReluDense"
    assert [found[f"{at}.{k}.weight"] for k in ("wi_0", "wi_1", "wo")] == ["gate", "up", "down"]


@pytest.mark.parametrize("wrapped", [False, True])
def test_layers_of_torch(wrapped):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    at = "layers.0-1." if wrapped else ""
    assert table_of(nn.TransformerEncoder(layer, 2) if wrapped else layer) == {
        f"{at}self_attn.in_proj_weight": "query+key+value 2 query 8 + key 8 + value 8",
        f"{at}self_attn.out_proj.weight": "output 2",
        f"{at}linear1.weight": "up",
        f"{at}linear2.weight": "down",
        f"{at}norm1.weight": "norm",
        f"{at}norm2.weight": "norm",
    }


class Attention(nn.Module):
    """Fused, in one of two layouts that nothing but the forward pass tells apart."""

    def __init__(self, interleaved):
        super().__init__()
        self.num_heads, self.interleaved = 2, interleaved
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x):
        y = self.qkv(x)
        if self.interleaved:
            q, k, v = y.unflatten(-1, (2, 12)).transpose(1, 2).chunk(3, -1)
        else:
            q, k, v = (z.unflatten(-1, (2, 4)).transpose(1, 2) for z in y.chunk(3, -1))
        return self.proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class Gated(nn.Module):
    """Names that mislead: what is called output comes first, and the gate is not called so."""

    def __init__(self):
        super().__init__()
        self.output, self.mlp, self.head = nn.Linear(8, 12), nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x):
        return self.head(self.output(x) * F.silu(self.mlp(x)))


class Block(nn.Module):
    def __init__(self, interleaved):
        super().__init__()
        self.mixer, self.rest = Attention(interleaved), Gated()

    def forward(self, x):
        x = x + self.mixer(x)
        return x + self.rest(x)


class Language(nn.Module):
    def __init__(self, interleaved=False):
        super().__init__()
        self.mlp_output, self.wpe = nn.Linear(8, 11), nn.Embedding(6, 8)
        self.tokens, self.blocks = nn.Embedding(11, 8), nn.ModuleList([Block(interleaved), Block(interleaved)])

    def forward(self, i):
        x = self.tokens(i) + self.wpe.weight[: i.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.mlp_output(x)


class Residual(nn.Module):
    """As in torchvision, with a residual stream changed in place."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.conv2 = nn.Conv2d(3, 4, 7, 2, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, 1, 1)
        self.fc = nn.Linear(4, 10)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu_()
        x += self.conv2(x)
        return self.fc(x.mean((2, 3)))


def test_names_that_mislead_are_seen_through():
    assert table_of(Language()) == {
        "mlp_output.weight": "head",
        "wpe.weight": "position",
        "tokens.weight": "embedding",
        "blocks.0-1.mixer.qkv.weight": "query+key+value 2 query 8 + key 8 + value 8",
        "blocks.0-1.mixer.proj.weight": "output 2",
        "blocks.0-1.rest.output.weight": "up",
        "blocks.0-1.rest.mlp.weight": "gate",
        "blocks.0-1.rest.head.weight": "down",
    }
    assert table_of(Language(interleaved=True))["blocks.0-1.mixer.qkv.weight"] == "?"


def test_tagging_leaves_the_model_as_it_was():
    model = Residual()
    before = {k: x.clone() for k, x in model.state_dict().items()}
    random = torch.random.get_rng_state()
    tag(model)
    assert model.training
    assert model.bn1.training
    assert torch.equal(random, torch.random.get_rng_state())
    assert all(torch.equal(x, before[k]) for k, x in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


class Unet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_in, self.time = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Sequential(nn.Linear(1, 8), nn.SiLU(), nn.Linear(8, 8)),
        )
        self.down, self.up = nn.Conv2d(8, 16, 3, 2, 1), nn.ConvTranspose2d(16, 8, 2, 2)
        self.conv_out = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x, t):
        x = self.conv_in(x) + self.time(t[:, None])[:, :, None, None]
        return self.conv_out(torch.cat([x, self.up(self.down(x))], 1))


def test_feed_forward_layers_of_blocks_without_attention():
    fields = {"hidden_sizes": [4, 8, 8, 8], "depths": [1] * 4, "num_labels": 3, "image_size": 32}
    found = table_of(hf("ConvNextForImageClassification", "ConvNextConfig", **fields))
    assert {role for k, role in found.items() if "pwconv1" in k} == {"up"}
    assert {role for k, role in found.items() if "pwconv2" in k} == {"down"}
    assert found["classifier.weight"] == "head"


def test_a_model_without_storage_is_read_as_well():
    fields = {**SMALL, **SHORT, "num_key_value_heads": 2, "pad_token_id": 0}
    with torch.device("meta"):
        model = hf("Phi3ForCausalLM", "Phi3Config", **fields)
    assert not tag(model).unknown


@pytest.mark.parametrize("model", ["CodeGen", "GPTBigCode"])
def test_the_same_name_with_another_layout_is_seen_through(model):
    fields = {"vocab_size": 11, "n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 16}
    own = {"rotary_dim": 4} if model == "CodeGen" else {"multi_query": False}
    assert len(tag(hf(f"{model}ForCausalLM", f"{model}Config", **fields, **own)).unknown) == 1


def test_convolutions_and_perceptrons():
    x, t = torch.zeros(2, 3, 8, 8), torch.zeros(2)
    for given in ({}, {"inputs": (x, t)}, {"inputs": {"x": x, "t": t}}):
        assert table_of(Unet(), **given) == {
            "conv_in.weight": "convolution",
            "time.0.weight": "matrix",
            "time.2.weight": "matrix",
            "down.weight": "convolution",
            "up.weight": "convolution [in, out]",
            "conv_out.weight": "head",
        }
    perceptron = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4), nn.Softmax(-1))
    assert table_of(perceptron) == {"0.weight": "matrix", "2.weight": "head"}


class Closed(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.odd = nn.Linear(4, 4), nn.Linear(4, 3), nn.Parameter(torch.ones(3, 3))

    def forward(self, secret):
        return self.b(self.a(secret["x"])) @ self.odd


def test_what_cannot_be_told_is_asked_and_can_be_said():
    model = Closed()
    tags = tag(model)
    assert tags.unknown == ("odd", "a.weight", "b.weight")
    with pytest.raises(ValueError, match="could not be told"):
        tags["odd"]
    assert all("tag(model, roles={" in sentence for sentence in questions(tags, model))
    said = tag(model, roles={"?.weight": "matrix", "b.weight": "head", "odd": "gain"})
    assert [x.role for _, x in said.pairs] == ["gain", "matrix", "bias", "head", "bias"]
    assert rows(said, model)[0].reason == "as given"
    assert tag(model, inputs=({"x": torch.zeros(2, 4)},)).unknown == ("odd", "b.weight")


def test_said_roles_keep_storage_and_heads():
    said = tag(Language(interleaved=True), roles={"*.qkv.weight": "query+key+value"})
    assert said["blocks.0.mixer.qkv.weight"].cuts == tuple(Cut(role, 8, 2) for role in ("query", "key", "value"))
    own = Tag("query", heads=4)
    assert tag(Closed(), roles={"a.weight": own})["a.weight"] == own


def test_misspelt_patterns_and_roles_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"no parameter is called 'a\.wieght'; the nearest are a\.weight"):
        tag(Closed(), roles={"a.wieght": "up"})
    with pytest.raises(ValueError, match=r"role 'hed' for 'b\.weight' is unknown; the nearest are head"):
        tag(Closed(), roles={"b.weight": "hed"})
    with pytest.raises(ValueError, match="has 3 outputs, not 2 equal parts"):
        tag(Closed(), roles={"b.weight": "query+key"})


def test_the_table_is_printed_with_its_questions():
    console = Console(width=160, file=io.StringIO())
    print_table(Language(interleaved=True), console=console)
    text = console.file.getvalue()
    assert "blocks.0-1.mixer.proj.weight" in text
    assert 'roles={"blocks.*.mixer.qkv.weight"' in text.replace("\n", "")
    with pytest.raises(ValueError, match="give the tags of this model"):
        print_table(Closed(), tag(Language()), console)


def test_an_optimizer_gets_the_roles_of_a_users_module():
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    task = ModuleTask(model, squared, regression, fit)
    assert {k: x.role for k, x in task.tags().pairs} == {
        "0.weight": "matrix",
        "0.bias": "bias",
        "2.weight": "head",
        "2.bias": "bias",
    }
    events = list(Run(task, Route(Is("head"), sgd(0.1), sgd(0.0)), steps=3).events())
    assert torch.equal(events[-1].w["0.weight"], model[0].weight)
    assert not torch.equal(events[-1].w["2.weight"], model[2].weight)
