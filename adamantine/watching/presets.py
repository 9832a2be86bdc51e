"""Probes that go well together, as {probe: n}: measured at every n-th of the times when anything is."""

from adamantine.probes.density import GradientDensity
from adamantine.probes.directional import DirectionalSharpness
from adamantine.probes.sharpness import Sharpness

NORMS = (GradientDensity(),)
DEFAULT = (GradientDensity(), Sharpness(), DirectionalSharpness())
FULL = DEFAULT
