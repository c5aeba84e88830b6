"""What is said of a plan as a whole: its groups, its largest actions, its cost."""

from __future__ import annotations

import msgspec

from sterna.model.actions import Action


class Group(msgspec.Struct):
    """Actions that have something in common, and the bytes that they move or delete."""

    actions: int = 0
    bytes: int = 0


class PlanSummary(msgspec.Struct, kw_only=True):
    """A plan in a page. In each table the largest stand first; what did not fit into one is its ``other``.

    ``folders`` is by the first part of the key, with its slash, or empty for keys that have only one. ``sizes`` is by
    size classes: each key is the least number of bytes of its class. The three lists name single actions.
    """

    verbs: dict[str, Group]
    reasons: dict[str, Group]
    other_reasons: Group
    folders: dict[str, Group]
    other_folders: Group
    sizes: dict[int, Group]
    largest: list[Action]
    largest_deletions: list[Action]
    first_deletions: list[Action]

    @property
    def actions(self) -> int:
        return sum(group.actions for group in self.verbs.values())


class Money(msgspec.Struct, frozen=True):
    """One item of an estimate, in the currency of the prices."""

    what: str
    amount: float


class Estimate(msgspec.Struct, kw_only=True):
    """What a plan would take, estimated: every figure but the bytes may turn out otherwise.

    ``requests`` is by operation; ``items`` are paid once, ``monthly`` is by how much each further month changes.
    ``unpriced`` are the storage classes for which there was no price. ``looks`` are keys of which only the run will find
    out whether they are to be moved: they count as a HEAD each, and their bytes are ``looked_bytes``. Where ``prices_of``
    is empty there were no prices, and nothing is said of cost. ``seconds`` is at the speeds of the last two members.
    """

    requests: dict[str, int]
    sent_bytes: int
    received_bytes: int
    copied_bytes: int
    looks: int
    looked_bytes: int
    items: list[Money]
    monthly: float
    unpriced: list[str]
    currency: str
    prices_of: str
    prices_date: str
    seconds: float | None = None
    bytes_per_s: float = 0.0
    requests_per_s: float = 0.0

    @property
    def cost(self) -> float:
        """The sum of the items."""
        return sum(item.amount for item in self.items)


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to say of a plan before it is carried out."""

    source: str
    destination: str
    created_s: int
    settings: dict[str, str]
    summary: PlanSummary
    estimate: Estimate
    kept: int
    kept_bytes: int
