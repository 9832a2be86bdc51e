"""The roles that `adamantine.tagger` reads off networks of Hugging Face transformers, as the page docs/roles.md.

    python benchmarks/role_tables.py [--write]

Prints the page, or writes it. The networks are built from small configurations, without downloads. Needs transformers.
"""

import argparse
import sys
from pathlib import Path

import transformers
from torch import nn

from adamantine.tag_table import questions, rows
from adamantine.tagger import tag

PAGE = Path(__file__).parents[1] / "docs" / "roles.md"
WIDTH = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 4, "num_hidden_layers": 3}
TEXT = {"vocab_size": 1000, "max_position_embeddings": 128}
NETWORKS = {
    "GPT-2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"vocab_size": 1000, "n_positions": 128, "n_embd": 64, "n_layer": 3, "n_head": 4},
    ),
    "Llama": ("LlamaForCausalLM", "LlamaConfig", {**WIDTH, **TEXT, "num_key_value_heads": 2}),
    "BERT": ("BertForMaskedLM", "BertConfig", {**WIDTH, **TEXT}),
    "ViT": ("ViTForImageClassification", "ViTConfig", {**WIDTH, "image_size": 32, "patch_size": 8, "num_labels": 10}),
    "ResNet": (
        "ResNetForImageClassification",
        "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [2, 2], "layer_type": "basic", "num_labels": 10},
    ),
    "GPT-NeoX": ("GPTNeoXForCausalLM", "GPTNeoXConfig", {**WIDTH, **TEXT}),
}
COLUMNS = ("name", "shape", "role", "heads", "storage", "why")
HEAD = """# Roles of tensors

Optimizers that treat embeddings, heads and hidden matrices differently need to know which tensor is which. Here is what
`adamantine.tagger.tag` reads off networks of Hugging Face transformers, built from small configurations: types of
modules, shapes, siblings, and a forward pass on zeros. Names count only beside shapes that agree.

    python benchmarks/role_tables.py --write    # reads all of them again and writes this page

Layers that repeat share a row. *Storage* says what is fused in one tensor, with the sizes of its parts, and marks
matrices kept as `[in, out]`. For a network of your own: `adamantine.tag_table.print_table(model)`.
"""
ASKED = """What cannot be told has the role `?`, and a sentence says how to say it; nothing is guessed. An optimizer
that needs such a role refuses to start:

{}

That word says three equal blocks, query, key and value, one after another. GPT-NeoX has them interleaved instead, 16
rows of each for every head, so that here it would be wrong; its own order is said by a `Tag`, and `"matrix"` leaves the
tensor whole:

    cuts = tuple(Cut(role, 16, 1) for head in range(4) for role in ("query", "key", "value"))
    tag(model, roles={{"*.query_key_value.weight": Tag("+".join(c.role for c in cuts), cuts)}})
"""


def network(name: str) -> nn.Module:
    """One of `NETWORKS`, with random weights."""
    model, config, fields = NETWORKS[name]
    return getattr(transformers, model)(getattr(transformers, config)(**fields))


def section(name: str) -> str:
    """The table of one network, and what it asks."""
    model = network(name)
    tags = tag(model)
    lines = [f"## {name}", "", _line(COLUMNS), _line(("---",) * len(COLUMNS))]
    for row in rows(tags, model):
        first, *others = row.cells
        lines.append(_line((f"`{first}`", *others)))
    asked = questions(tags, model)
    if asked:
        lines += ["", ASKED.format("\n".join(f"    {x}" for x in asked)).rstrip()]
    return "\n".join([*lines, ""])


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *map(section, NETWORKS)])


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(x.replace('|', chr(92) + '|') for x in cells)} |"


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--write", action="store_true", help="write docs/roles.md instead of printing")
    transformers.logging.set_verbosity_error()
    if options.parse_args().write:
        PAGE.write_text(page())
        print(f"written: {PAGE}")
    else:
        sys.stdout.write(page())
