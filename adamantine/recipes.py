"""Every named composition with the facts that tell it from the others: parts, state, symmetry, source."""

from dataclasses import dataclass

from adamantine import composition, listing
from adamantine.part import Part

LR = 0.0123  # any rate: compositions are shown in units of it


@dataclass(frozen=True)
class Recipe:
    """One named composition; `bytes` of state a parameter on GPT-2, `gradients` computed a step beyond the first;
    `symmetry_of_hidden` is that of what hidden matrices get.
    """

    name: str
    module: str
    what: str
    composition: str
    bytes: float
    symmetry: str
    symmetry_of_hidden: str
    gradients: float
    source: str
    part: Part


def recipes() -> list[Recipe]:
    """All of them, by name."""
    made = {name: function(lr=LR) for name, function in listing.recipes().items()}
    return [
        Recipe(
            e.name,
            e.module,
            e.what,
            composition.text(made[e.name], LR),
            composition.bytes_per_parameter(made[e.name]),
            made[e.name].symmetry,
            composition.hidden(made[e.name]).symmetry,
            made[e.name].gradients,
            e.source,
            made[e.name],
        )
        for e in listing.entries("recipes")
    ]
