"""The states of a group of parameters, some of which may sit out a step: those that keep in step share one state."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from adamantine.named_state import joined, only
from adamantine.part import Part, State
from adamantine.tree import Params


@dataclass
class Cohorts:
    """Names, and the state that they share; several of them where the part is local, one otherwise.

    Tensors of a local part are stepped by themselves, so a parameter that sits out keeps its own count from then on.
    A part that is not local has one count for all, and what it keeps of an absent parameter is put aside.
    """

    kept: list[tuple[tuple[str, ...], State]] = field(default_factory=list)

    def turns(self, part: Part, w: Params) -> Iterator[tuple[Params, State, Callable[[State], None]]]:
        """For every state that takes a step now: its weights out of `w`, the state, and where to leave the new one."""
        known = {k for names, _ in self.kept for k in names}
        fresh = {k: x for k, x in w.items() if k not in known}
        if fresh and (part.local or not self.kept):
            self.kept.append((tuple(fresh), part.init(fresh)))
        elif fresh:
            names, s = self.kept[0]
            names = (*names, *fresh)
            self.kept[0] = names, joined(part.init(fresh), s, set(names))
        for j in range(len(self.kept)):
            names, s = self.kept[j]
            here = {k: w[k] for k in names if k in w}
            if not here:
                continue
            if len(here) == len(names):
                yield here, s, self._leave(j)
            elif part.local:
                away = tuple(k for k in names if k not in w)
                self.kept.append((away, only(s, set(away), set(names))))
                s = only(s, here.keys(), set(names))
                self.kept[j] = tuple(here), s
                yield here, s, self._leave(j)
            else:
                yield here, only(s, here.keys(), set(names)), self._merge(j)

    def _leave(self, j: int) -> Callable[[State], None]:
        def leave(s: State) -> None:
            self.kept[j] = self.kept[j][0], s

        return leave

    def _merge(self, j: int) -> Callable[[State], None]:
        def merge(after: State) -> None:
            names, s = self.kept[j]
            self.kept[j] = names, joined(s, after, set(names))

        return merge
