"""Probes that go well together, as {probe: n}: measured at every n-th of the times when anything is."""

from adamantine.probes.adaptive_sharpness import AdaptiveSharpness
from adamantine.probes.density import GradientDensity
from adamantine.probes.directional import DirectionalSharpness
from adamantine.probes.gradient_coherence import GradientCoherence
from adamantine.probes.loss_along_update import LossAlongUpdate
from adamantine.probes.moment_spread import MomentSpread
from adamantine.probes.momentum_cosine import MomentumCosine
from adamantine.probes.noise_scale import NoiseScale
from adamantine.probes.orthogonality import UpdateOrthogonality
from adamantine.probes.preconditioned_sharpness import PreconditionedSharpness
from adamantine.probes.sharpness import Sharpness
from adamantine.probes.signal_to_noise import SignalToNoise
from adamantine.probes.spectrum import Spectrum
from adamantine.probes.trace import Trace
from adamantine.probes.update_ratio import UpdateRatio

# A fiftieth of the time, every 16 steps: no gradient is taken.
NORMS = {UpdateRatio(): 2}
# An eighth of it: what looks at gradients shares one pass, and what looks at curvature a graph, where due at one step.
DEFAULT = {
    **NORMS,
    NoiseScale(): 4,
    SignalToNoise(): 4,
    MomentumCosine(): 4,
    GradientDensity(): 4,
    Sharpness(): 24,  # seldom and right: capped at four products it is off by a tenth where eigenvalues crowd
    DirectionalSharpness(): 12,
}
# All that needs no data of its own, whatever it takes: for a budget.
FULL = {
    **NORMS,
    NoiseScale(jackknife=True): 1,
    SignalToNoise(): 1,
    MomentumCosine(): 1,
    GradientDensity(): 1,
    GradientCoherence(): 1,
    MomentSpread(): 2,
    UpdateOrthogonality(): 8,
    DirectionalSharpness(): 1,
    LossAlongUpdate(): 1,
    Sharpness(): 2,
    PreconditionedSharpness(): 2,
    AdaptiveSharpness(): 2,
    Trace(): 8,
    Spectrum(): 8,
}
