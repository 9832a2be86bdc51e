"""Probes that go well together, as {probe: n}: measured at every n-th of the times when anything is."""

from adamantine.probes.adaptive_sharpness import AdaptiveSharpness
from adamantine.probes.density import GradientDensity
from adamantine.probes.directional import DirectionalSharpness
from adamantine.probes.loss_along_update import LossAlongUpdate
from adamantine.probes.preconditioned_sharpness import PreconditionedSharpness
from adamantine.probes.sharpness import Sharpness
from adamantine.probes.spectrum import Spectrum
from adamantine.probes.trace import Trace
from adamantine.probes.update_ratio import UpdateRatio

# A fiftieth of the time, every 16 steps: no gradient is taken.
NORMS = {UpdateRatio(): 2}
# An eighth of it: what looks at curvature shares a graph where it is due at the same steps.
DEFAULT = {**NORMS, GradientDensity(): 8, Sharpness(products=4): 8, DirectionalSharpness(): 8}
# All that needs no data of its own, whatever it takes: for a budget.
FULL = {
    **NORMS,
    GradientDensity(): 1,
    DirectionalSharpness(): 1,
    LossAlongUpdate(): 1,
    Sharpness(): 2,
    PreconditionedSharpness(): 2,
    AdaptiveSharpness(): 2,
    Trace(): 8,
    Spectrum(): 8,
}
