"""Which runs share a journal, and which do not."""

from __future__ import annotations

import os
from pathlib import Path

from sterna.journal.route import Route, named, route_between
from sterna.model.location import BucketPath, LocalPath

PHOTOS = BucketPath("archive", "photos")


def test_two_ways_to_a_folder_are_one_route(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    straight = route_between(LocalPath(tmp_path / "real"), PHOTOS)
    assert route_between(LocalPath(tmp_path / "link"), PHOTOS) == straight
    assert route_between(LocalPath(tmp_path / "real" / ".." / "real", says_folder=True), PHOTOS) == straight
    assert route_between(LocalPath(Path(os.path.relpath(tmp_path / "real"))), PHOTOS) == straight


def test_there_and_back_and_other_places_are_other_routes(tmp_path: Path) -> None:
    here = LocalPath(tmp_path)
    routes = [
        route_between(here, PHOTOS),
        route_between(PHOTOS, here),
        route_between(here, BucketPath("archive", "photos2")),
        route_between(here, BucketPath("archive")),
        route_between(here, PHOTOS, target_endpoints=["https://s3.example.org"]),
        route_between(here, PHOTOS, source_endpoints=["https://s3.example.org"]),
        route_between(here, PHOTOS, is_shared=True),
    ]
    assert len({route.name for route in routes}) == len(routes)


def test_a_route_is_known_by_the_name_of_its_files_also_where_machines_share_them(tmp_path: Path) -> None:
    for is_shared in (False, True):
        route = route_between(LocalPath(tmp_path), PHOTOS, is_shared=is_shared)
        assert named(Route(route.source, route.target), route.name) == route
    others = Route(str(tmp_path), str(PHOTOS), machine="another")
    assert named(Route(others.source, others.target), others.name) is None


def test_an_endpoint_is_its_scheme_host_and_port() -> None:
    def route(*urls: str) -> Route:
        return route_between(PHOTOS, PHOTOS, target_endpoints=urls)

    assert route("https://S3.example.org:443/") == route("https://s3.example.org") == route("s3.example.org.")
    assert route("http://a", "http://b") == route("http://b:80", "http://a", "http://a/")
    assert route("http://a") != route("https://a")
    assert route("http://[::1]:9000").target_endpoint == "http://[::1]:9000"


def test_no_secret_of_an_endpoint_is_kept() -> None:
    route = route_between(PHOTOS, PHOTOS, source_endpoints=["https://ann:secret@s3.example.org/?token=secret"])
    assert "secret" not in str(route)
    assert route.source_endpoint == "https://s3.example.org"


def test_what_is_said_of_a_route_names_both_ends() -> None:
    assert str(Route("/a", "s3://b", "", "http://c")) == "/a → s3://b at http://c"
