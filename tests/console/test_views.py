from __future__ import annotations

import shlex
from datetime import UTC, datetime

import pytest

from hanlin.console.views.deployments import read_config, release_changes
from hanlin.console.views.ledger import read_filters
from hanlin.console.views.playground import curl, timings
from hanlin.console.views.sessions import local
from hanlin.console.views.tasks import fields_of, read_params
from hanlin.console.views.versions import group_curves, heat, read_tags
from hanlin.console.visit import Form
from hanlin.domain import CONFIG_ITEMS, DeploymentName, DeploymentSpec, InvalidInputError, ModelName, Release
from hanlin.wire.admin import ConfigItemReply, TaskKind

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
ITEMS = [ConfigItemReply.of(item) for item in CONFIG_ITEMS]


def form(**fields: str) -> Form:
    """Return a form with these fields."""
    return Form({name.replace("__", "."): value for name, value in fields.items()}, {}, {})


class TestLocal:
    @pytest.mark.parametrize("path", ["/", "/models/a?b=c#d", "/ledger?text=%2F%2F"])
    def test_keeps_paths_of_ours(self, path: str) -> None:
        """After signing in, the visitor comes to the page that was asked for."""
        assert local(path) == path

    @pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "https://evil.example", "", "/a\r\nb", "x"])
    def test_leads_nowhere_else(self, path: str) -> None:
        """A link to our sign-in page cannot send the visitor to another site."""
        assert local(path) == "/"


class TestConfiguration:
    def test_types_follow_the_schema(self) -> None:
        """Numbers are numbers; items that the form does not name stay as they are."""
        assert read_config(form(threads="2", device="cpu", note="x"), ITEMS) == {"threads": 2, "device": "cpu"}

    def test_names_what_is_no_number(self) -> None:
        """A wrong value is named with its item."""
        with pytest.raises(InvalidInputError, match="threads is 'two'"):
            read_config(form(threads="two"), ITEMS)

    def test_a_release_shows_what_it_changed(self) -> None:
        """Each release is compared with the one before it, as far as that is on the page."""

        def release(number: int, threads: int) -> Release:
            spec = DeploymentSpec(model=ModelName("m"), threads=threads)
            return Release(deployment=DeploymentName("d"), number=number, spec=spec, created_by="me", created_at=NOW)

        assert release_changes([release(3, 2), release(2, 2), release(1, 1)]) == {3: {}, 2: {"threads": (1, 2)}}


class TestTaskForm:
    KIND = TaskKind(
        kind="train",
        meaning="",
        parameters={
            "properties": {
                "model": {"type": "string"},
                "version": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
                "recipe": {"type": "object"},
            },
            "required": ["model"],
        },
    )

    def test_is_made_from_the_schema(self) -> None:
        """Names, types and what is required come from the API."""
        shown = [(field["name"], field["type"], field["is_required"]) for field in fields_of(self.KIND)]

        assert shown == [("model", "string", True), ("version", "integer", False), ("recipe", "object", False)]

    def test_is_read_by_the_schema(self) -> None:
        """Texts stay texts, the rest is JSON, and what is empty is left to its default."""
        given = form(param__model="12", param__version="3", param__recipe='{"seed": 1}')

        assert read_params(given, self.KIND) == {"model": "12", "version": 3, "recipe": {"seed": 1}}
        assert read_params(form(param__model="a"), self.KIND) == {"model": "a"}

    def test_names_what_is_no_json(self) -> None:
        """A wrong parameter is named."""
        with pytest.raises(InvalidInputError, match="not JSON"):
            read_params(form(param__recipe="{"), self.KIND)


class TestVersionPage:
    def test_losses_share_a_chart(self) -> None:
        """Curves of one kind are drawn together, losses first."""
        series = {"learning_rate": [(1, 0.1)], "validation_accuracy": [(1, 0.8)], "train_loss": [(1, 0.7)]}
        charts = group_curves({**series, "validation_loss": [(1, 0.6)]}, str.upper)

        assert list(charts) == ["loss", "quality", "learning_rate"]
        assert [line["name"] for line in charts["loss"]["lines"]] == ["TRAIN_LOSS", "VALIDATION_LOSS"]

    def test_errors_and_hits_have_colours_of_their_own(self) -> None:
        """A reader sees at a glance where the model errs."""
        rows = heat([[95, 5], [30, 70]])

        assert [[shade for _, _, shade in row] for row in rows] == [["heat-4", "heat-bad-1"], ["heat-bad-2", "heat-3"]]
        assert heat([[0, 0], [0, 0]])[0][0] == (0, 0.0, "heat-0")

    def test_tags_are_lines(self) -> None:
        """One name=value per line; anything else is named."""
        assert read_tags("a=1\n\n b = x=y ") == {"a": "1", "b": "x=y"}
        with pytest.raises(InvalidInputError, match="is not name=value"):
            read_tags("nonsense")


class TestLedgerPage:
    def test_filters_come_from_the_address(self) -> None:
        """Empty ones are left out, periods count back from now, instants without a zone are UTC."""
        asked = {"kind": " prediction ", "label": "", "period": "1h", "until": "2026-01-31T11:30", "other": "x"}
        filters = read_filters(asked, NOW)

        assert filters == {
            "kind": "prediction",
            "since": datetime(2026, 1, 31, 11, tzinfo=UTC),
            "until": datetime(2026, 1, 31, 11, 30, tzinfo=UTC),
        }

    def test_names_what_is_no_time(self) -> None:
        """A wrong instant is named."""
        with pytest.raises(InvalidInputError, match="since is 'yesterday'"):
            read_filters({"since": "yesterday"}, NOW)


class TestPlaygroundPage:
    def test_the_shell_line_survives_every_text(self) -> None:
        """Quotes and substitutions in a text stay part of the text."""
        body = {"model": "m", "input": 'it\'s $(rm -rf /) `x` "y"'}
        words = shlex.split(curl("http://127.0.0.1:1", body).replace("\\\n", " "))

        assert words[words.index("-d") + 1] == '{"model": "m", "input": "it\'s $(rm -rf /) `x` \\"y\\""}'

    def test_timings_come_from_the_header(self) -> None:
        """The gateway says where the time went."""
        headers = {"server-timing": "queue;dur=0.10, infer;dur=3.20, total;dur=5.00"}

        assert timings(headers) == {"queue": 0.1, "infer": 3.2, "total": 5.0}
        assert timings({}) == {}
