"""What the options of movers show of themselves."""

from __future__ import annotations

from sterna.moving.settings import Customer


def test_the_key_of_an_object_is_in_no_text_that_anybody_could_print() -> None:
    customer = Customer(b"0123456789abcdef0123456789abcdef")
    for shown in (repr(customer), str(customer), f"{customer}", repr([customer])):
        assert "0123" not in shown
