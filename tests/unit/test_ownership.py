"""Who is ours, as a table: a snapshot in, a classification out."""

from __future__ import annotations

import pytest

from sanic_reaper.platform.base import Row
from sanic_reaper.tree import ownership

INIT, MAIN, WORKER, WATCHDOG = 1, 100, 110, 105
ROOTS = {(MAIN, 50): "main", (WORKER, 60): "worker Sanic-Server-0-0", (WATCHDOG, 55): "watchdog"}
TREE = (
    Row(1, 0, 1, "S", name="init"),
    Row(90, 1, 40, "S", name="sh"),
    Row(MAIN, 90, 50, "S", name="python"),
    Row(WATCHDOG, MAIN, 55, "S", name="reaper-watchdog"),
    Row(WORKER, MAIN, 60, "S", name="python"),
)


def classify(
    *rows,
    roots=ROOTS,
    known=None,
    owners=None,
    exempt=(),
    detached=(),
    marked=(),
    says=None,
    adopter=None,
    proved=(),
):
    table = {row.pid: row for row in (*TREE, *rows)}
    earlier = ownership.Classification()
    earlier.evidence, earlier.owners, earlier.exempt = known or {}, owners or {}, set(exempt)
    questions = ownership.Questions(
        lambda row: row.pid in detached,
        lambda row: row.pid in marked,
        lambda row: (says or {}).get(row.pid),
        lambda row: row.pid in proved,
    )
    return ownership.classify(table, roots, earlier, questions, adopter)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([], {}, id="nobody but the registered"),
        pytest.param(
            [Row(200, WORKER, 70, "S")],
            {(200, 70): "descends from worker Sanic-Server-0-0 [110]"},
            id="child of a worker",
        ),
        pytest.param(
            [Row(200, WORKER, 70, "S"), Row(201, 200, 70, "S")],
            {
                (200, 70): "descends from worker Sanic-Server-0-0 [110]",
                (201, 70): "descends from worker Sanic-Server-0-0 [110]",
            },
            id="grandchild, created in the same tick",
        ),
        pytest.param(
            [Row(200, MAIN, 70, "S")],
            {(200, 70): "descends from main [100]"},
            id="adopted by main as subreaper",
        ),
        pytest.param([Row(200, 90, 70, "S")], {}, id="sibling of main in the same shell"),
        pytest.param([Row(200, 1, 70, "S")], {}, id="child of init"),
        pytest.param([Row(200, WORKER, 70, "Z")], {}, id="a zombie has ended"),
        pytest.param(
            [Row(200, WORKER, 70, "Z"), Row(201, 200, 75, "S")],
            {(201, 75): "descends from worker Sanic-Server-0-0 [110]"},
            id="child of one that has just ended",
        ),
        pytest.param(
            [Row(200, WORKER, 59, "S")], {}, id="older than its parent: the pid was given anew"
        ),
        pytest.param(
            [Row(200, 201, 80, "S"), Row(201, 200, 80, "S")],
            {},
            id="a circle, as only a torn snapshot shows it, ends",
        ),
    ],
)
def test_descent(rows, expected):
    assert classify(*rows).evidence == expected


def test_a_root_whose_pid_was_given_to_another_process_is_no_root():
    stranger = {(MAIN, 50): "main", (WORKER, 61): "worker Sanic-Server-0-0"}
    found = classify(Row(200, WORKER, 70, "S"), roots=stranger)
    # Main is the only root left, and it is an ancestor of both.
    assert found.evidence == {
        (WORKER, 60): "descends from main [100]",
        (WATCHDOG, 55): "descends from main [100]",
        (200, 70): "descends from main [100]",
    }


def test_a_root_that_is_gone_is_no_root():
    found = classify(Row(200, WORKER, 70, "S"), roots={**ROOTS, (111, 60): "worker"})
    assert set(found.evidence) == {(200, 70)}


def test_who_has_the_pid_of_a_root_that_is_gone_owns_nothing_of_ours():
    roots = {**ROOTS, (300, 60): "worker"}
    found = classify(Row(300, 1, 90, "S", name="sh"), Row(301, 300, 91, "S"), roots=roots)
    assert found.evidence == {}


class TestMemory:
    known = {(200, 70): "descends from worker Sanic-Server-0-0 [110]"}  # noqa: RUF012

    def test_holds_after_the_parent_has_died(self):
        found = classify(Row(200, 1, 70, "S"), known=self.known)
        assert found.evidence == self.known

    def test_covers_what_descends_from_it(self):
        found = classify(Row(200, 1, 70, "S", name="sh"), Row(201, 200, 90, "S"), known=self.known)
        assert found.evidence[201, 90] == "descends from sh [200]"

    def test_keeps_the_first_evidence_when_main_adopts(self):
        found = classify(Row(200, MAIN, 70, "S"), known=self.known)
        assert found.evidence == self.known

    def test_does_not_hold_for_the_next_process_of_that_pid(self):
        assert classify(Row(200, 1, 71, "S"), known=self.known).evidence == {}

    def test_forgets_the_dead(self):
        assert classify(known=self.known).evidence == {}

    def test_of_a_circle_ends(self):
        """As only a torn snapshot shows it."""
        known = {(200, 80): "x", (201, 80): "y"}
        found = classify(Row(200, 201, 80, "S"), Row(201, 200, 80, "S"), known=known)
        assert found.evidence == known


class TestMarker:
    def test_claims_what_no_tree_shows(self):
        found = classify(Row(200, 1, 70, "S"), marked={200})
        assert found.evidence == {(200, 70): "bears this run's marker"}

    def test_covers_what_descends_from_it(self):
        found = classify(Row(200, 1, 70, "S", name="d"), Row(201, 200, 70, "S"), marked={200})
        assert found.evidence[201, 70] == "descends from d [200]"

    def test_of_a_child_is_better_evidence_than_that_of_its_parent(self):
        found = classify(Row(201, 200, 71, "S"), Row(200, 1, 70, "S"), marked={200, 201})
        assert set(found.evidence.values()) == {"bears this run's marker"}

    def test_is_not_asked_of_the_registered_nor_of_the_dead(self):
        asked = []
        table = {row.pid: row for row in (*TREE, Row(200, 1, 70, "Z"), Row(201, WORKER, 70, "S"))}
        questions = ownership.Questions(
            lambda row: False, lambda row: asked.append(row.pid) or False
        )
        ownership.classify(table, ROOTS, ownership.Classification(), questions)
        assert asked == [1, 90]


class TestDetached:
    def test_is_exempt_with_all_that_descends_from_it(self):
        found = classify(Row(200, WORKER, 70, "S"), Row(201, 200, 71, "S"), detached={200})
        assert found.evidence == {}
        assert found.exempt == {(200, 70), (201, 71)}

    def test_stays_exempt_when_its_parent_is_gone_and_its_environment_clean(self):
        found = classify(Row(201, MAIN, 71, "S"), exempt={(201, 71)})
        assert found.evidence == {}
        assert found.exempt == {(201, 71)}

    def test_wins_over_memory_of_the_moment_before_it_was_executed(self):
        found = classify(Row(200, 1, 70, "S"), known={(200, 70): "x"}, detached={200})
        assert found.evidence == {}

    @pytest.mark.timeout(60)
    def test_of_a_circle_ends(self):
        """As only a torn snapshot shows it."""
        rows = Row(200, 201, 80, "S"), Row(201, 200, 80, "S")
        found = classify(*rows, known={(200, 80): "x"}, detached={200})
        assert found.exempt == {(200, 80), (201, 80)}

    def test_exempts_nobody_else(self):
        found = classify(Row(200, WORKER, 70, "S"), Row(202, WORKER, 70, "S"), detached={200})
        assert set(found.evidence) == {(202, 70)}


class TestAdopted:
    """Main has children that are not the server's. It may have adopted one of theirs."""

    @pytest.mark.parametrize(
        ("rows", "more", "claimed"),
        [
            pytest.param([Row(200, MAIN, 70, "S")], {}, set(), id="an orphan of nobody knows whom"),
            pytest.param(
                [Row(200, MAIN, 70, "S"), Row(201, 200, 71, "S")], {}, set(), id="and its child"
            ),
            pytest.param(
                [Row(200, MAIN, 70, "S"), Row(201, MAIN, 71, "S")],
                {"known": {(201, 71): "descends from worker"}},
                {201},
                id="one that was seen below a worker",
            ),
            pytest.param(
                [Row(200, MAIN, 70, "S")], {"proved": {200}}, {200}, id="one that is proved"
            ),
            pytest.param(
                [Row(200, MAIN, 70, "S"), Row(201, 200, 71, "S")],
                {"proved": {200}},
                {200, 201},
                id="and its child, which needs no proof",
            ),
            pytest.param([Row(200, WORKER, 70, "S")], {}, {200}, id="child of a worker"),
            pytest.param([Row(200, MAIN, 70, "S")], {"marked": {200}}, {200}, id="marked"),
            pytest.param(
                [Row(200, MAIN, 70, "S"), Row(201, 200, 71, "S")],
                {"exempt": {(200, 70)}, "proved": {200, 201}},
                set(),
                id="what is exempt is exempt",
            ),
        ],
    )
    def test_needs_a_proof(self, rows, more, claimed):
        found = classify(*rows, adopter=(MAIN, 50), **more)
        assert {pid for pid, _ in found.evidence} == claimed

    def test_a_known_stranger_is_not_remembered_by_mistake(self):
        found = classify(Row(200, MAIN, 70, "S"), adopter=(MAIN, 50), known={(200, 69): "x"})
        assert found.evidence == {}


OTHER = (120, 61)
"""Another worker, that is gone."""


@pytest.mark.parametrize(
    ("rows", "more", "owner"),
    [
        pytest.param([Row(200, WORKER, 70, "S")], {}, (WORKER, 60), id="child of a worker"),
        pytest.param(
            [Row(199, WORKER, 70, "S"), Row(200, 199, 71, "S")], {}, (WORKER, 60), id="grandchild"
        ),
        pytest.param(
            [Row(200, MAIN, 70, "S")], {}, (MAIN, 50), id="adopted, nobody knows from whom"
        ),
        pytest.param(
            [Row(200, MAIN, 70, "S")],
            {"says": {200: OTHER}},
            OTHER,
            id="adopted, and marked",
        ),
        pytest.param(
            [Row(200, MAIN, 70, "S")],
            {"owners": {(200, 70): OTHER}},
            OTHER,
            id="remembered",
        ),
        pytest.param(
            [Row(200, 1, 70, "S")],
            {"owners": {(200, 70): OTHER}, "known": {(200, 70): "x"}},
            OTHER,
            id="reparented to init, remembered",
        ),
        pytest.param(
            [Row(199, 1, 70, "S"), Row(200, 199, 71, "S")],
            {"marked": {199}, "says": {199: OTHER}},
            OTHER,
            id="child of one that bears the mark",
        ),
        pytest.param([Row(200, 1, 70, "S")], {"marked": {200}}, None, id="marked by nobody"),
        pytest.param(
            [Row(200, WORKER, 70, "S")],
            {"owners": {(200, 69): OTHER}},
            (WORKER, 60),
            id="reused pid",
        ),
    ],
)
def test_whose_it_is(rows, more, owner):
    found = classify(*rows, **more)
    assert (200, rows[-1].start) in found.evidence
    assert found.owners.get((200, rows[-1].start)) == owner


class TestStartedBefore:
    def started_before(self, row, *rows, began=55, preexisting=()):
        table = {each.pid: each for each in (*TREE, row, *rows)}
        ours = {one.identity for one in (row, *rows) if one.pid != INIT}
        return ownership.started_before(row, began, set(preexisting), table, ours)

    def test_older_than_the_server(self):
        assert self.started_before(Row(95, MAIN, 52, "S"))

    def test_descends_from_one_that_is(self):
        assert self.started_before(Row(200, 95, 80, "S"), Row(95, MAIN, 52, "S"))

    def test_younger(self):
        assert not self.started_before(Row(200, MAIN, 55, "S"))

    def test_born_in_the_same_tick_of_the_clock_but_known_to_be_older(self):
        assert self.started_before(Row(200, MAIN, 55, "S"), preexisting={(200, 55)})
        assert not self.started_before(Row(200, MAIN, 56, "S"), preexisting={(200, 55)})

    def test_below_an_old_root_but_not_old_itself(self):
        assert not self.started_before(Row(200, MAIN, 80, "S"), began=80)

    def test_an_orphan_that_main_has_not_adopted(self):
        """Its parent is older than everybody, and is not ours."""
        assert not self.started_before(Row(200, INIT, 80, "S"), Row(INIT, 0, 1, "S"))
        assert self.started_before(Row(200, INIT, 52, "S"), Row(INIT, 0, 1, "S"))
