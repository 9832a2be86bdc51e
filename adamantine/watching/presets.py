"""Probes that go well together."""

from adamantine.probes.density import GradientDensity
from adamantine.probes.directional import DirectionalSharpness
from adamantine.probes.sharpness import Sharpness

NORMS = (GradientDensity(),)
DEFAULT = (GradientDensity(), Sharpness(), DirectionalSharpness())
FULL = DEFAULT
