"""How the files that may be open at once are shared out."""

from __future__ import annotations

import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna.model import descriptors
from sterna.model.descriptors import directories_to_keep, requests_at_once, take_what_is_allowed


@given(most=st.integers(48, 1 << 20))
def test_H107_all_shares_together_are_no_more_than_there_is(most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(descriptors, "most_open", lambda: most)
        assert directories_to_keep() >= 4
        assert requests_at_once() >= 1
        # A folder keeps as many directories as unnamed drafts; a request has two of its connection and one of its file.
        assert 24 + 2 * directories_to_keep() + 3 * requests_at_once() <= most


def test_where_few_may_be_open_there_is_still_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "most_open", lambda: 20)
    assert requests_at_once() == 1


@pytest.mark.parametrize(
    ("soft", "hard", "then"),
    [
        (1024, 4096, 4096),
        (1024, 1 << 20, 8192),
        (1024, resource.RLIM_INFINITY, 8192),
        (64, 64, 64),
        (9000, 1 << 20, 9000),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_is_useful_and_never_lowered(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, then: int
) -> None:
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limits.append(wanted))
    take_what_is_allowed()
    assert limits[-1] == (then, hard)


def test_a_system_that_refuses_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int, wanted: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    take_what_is_allowed()
