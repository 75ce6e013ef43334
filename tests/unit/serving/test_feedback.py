import base64
import hmac
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_serving.counters.class_scores import added, size
from noria_serving.counters.state import FEEDBACK, State
from noria_serving.feedback.desk import MAX_AGE_SECONDS, Accepted, Desk
from noria_serving.feedback.keys import KeyRing, MountedKeys, parse
from noria_serving.feedback.token import (
    MAX_TEXT,
    Refusal,
    Refused,
    Token,
    binding,
    key_id,
    order,
    sign,
    verify,
)
from noria_serving.feedback.window import Window
from noria_serving.model.loaded import Loaded

RING = KeyRing("k1", {"k1": b"1" * 32, "k2": b"2" * 32})
BOUND = binding("shop", "late")
NOW = 1_800_000_000.0
TOKEN = Token("late-4", 1_800_000_000_000, b"proc01" + bytes((0, 0, 0, 7)), b"\x00\xc7", b"\x00\x01")


def test_a_signature_is_hmac_sha256_truncated() -> None:
    signed = sign(TOKEN, RING, BOUND)
    data = base64.urlsafe_b64decode(signed + "=" * (-len(signed) % 4))
    assert data[-16:] == hmac.digest(b"1" * 32, data[:-16], "sha256")[:16]


def desk(
    loaded: Loaded,
    keys: Path | None = None,
    *,
    version: str = "late-4",
    classes: object = (0, 1),
    task: str = "binary",
    clock: object = time.time,
    log: object = None,
    by_class: bool = False,
) -> Desk:
    mounted = MountedKeys(str(keys) if keys else None, clock)
    if keys is None:
        mounted.ring = RING
    return Desk(
        State(loaded.reference),
        mounted,
        namespace="shop",
        deployment="late",
        version=version,
        task=task,
        classes=classes,
        by_class=by_class,
        log=log,
    )


@dataclass
class Clock:
    now: float

    def __call__(self) -> float:
        return self.now


def issue(desk: Desk, scores: np.ndarray, predicted: np.ndarray | None, now: float) -> str | None:
    return desk.issue(desk.nonce(), scores, predicted, now)


def outcome(desk: Desk, token: object, labels: object, now: float = NOW) -> str:
    try:
        desk.accept(token, labels, now)
    except Refused as refused:
        return str(refused.refusal)
    return "matched"


def counted(desk: Desk, outcome: str) -> int:
    return int(desk._state.vector[desk._state.feedback + FEEDBACK.index(outcome)])


tokens = st.builds(
    lambda version, when, nonce, content: Token(version, when, nonce, **content),
    st.from_regex(r"[a-z0-9.-]{1,63}", fullmatch=True),
    st.integers(0, 2**48 - 1),
    st.binary(min_size=10, max_size=10),
    st.one_of(
        st.integers(0, 64)
        .flatmap(lambda rows: st.binary(min_size=2 * rows, max_size=2 * rows))
        .map(lambda rows: {"bins": bytes(score % 200 for score in rows[::2]), "groups": rows[1::2]}),
        st.integers(1, 64)
        .flatmap(lambda rows: st.binary(min_size=rows, max_size=rows))
        .map(lambda rows: {"bins": bytes(len(rows)), "groups": rows, "marks": rows[::-1]}),
        st.tuples(st.integers(1, 64), st.integers(3, 20))
        .flatmap(lambda size: st.binary(min_size=size[0], max_size=size[0]).map(lambda rows: (rows, size[1])))
        .map(
            lambda told: {
                "bins": bytes(len(told[0])),
                "groups": told[0],
                "marks": told[0][::-1],
                "by_class": bytes(value % 200 for value in told[0]) * told[1],
            }
        ),
        st.builds(
            lambda values, exponent: {"values": tuple(values), "exponent": exponent},
            st.lists(st.floats(allow_nan=False), min_size=1, max_size=64),
            st.integers(-1000, 900),
        ),
        st.integers(65, 2**32 - 1).map(lambda rows: {"batch": rows}),
    ),
)


@given(tokens)
def test_a_token_says_what_was_signed(token: Token) -> None:
    text = sign(token, RING, BOUND)
    assert verify(text, RING, BOUND) == token
    assert len(text) <= MAX_TEXT


@given(st.data())
def test_a_token_changed_anywhere_is_refused(data: st.DataObject) -> None:
    text = sign(TOKEN, RING, BOUND)
    position = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters(max_codepoint=127).filter(lambda c: c != text[position]))
    with pytest.raises(Refused):
        verify(text[:position] + letter + text[position + 1 :], RING, BOUND)


@given(
    st.text(max_size=300)
    | st.binary(max_size=200).map(lambda b: base64.urlsafe_b64encode(b"\1" + b).decode().rstrip("="))
)
def test_garbage_is_refused_never_raised(text: str) -> None:
    with pytest.raises(Refused):
        verify(text, RING, BOUND)


def test_both_active_keys_verify_and_a_retired_one_does_not() -> None:
    older = sign(TOKEN, KeyRing("k2", RING.keys), BOUND)
    assert verify(older, RING, BOUND) == TOKEN
    with pytest.raises(Refused) as caught:
        verify(older, KeyRing("k1", {"k1": RING.keys["k1"]}), BOUND)
    assert caught.value.refusal is Refusal.FORGED


@pytest.mark.parametrize(
    ("classes", "taken", "refused"),
    [
        ((1, 2), [1, 2], 0),
        ((-1, 1), [-1, 1], 0),
        (("no", "yes"), ["no", "yes"], "maybe"),
        (("no", "yes"), [0, 1], 2),
        ((), [0, 1], 2),
    ],
)
def test_two_classes_are_0_and_1_where_neither_is_called_so(
    classes: object, taken: list[object], refused: object, loaded: Loaded
) -> None:
    here = desk(loaded, classes=classes)
    issued = issue(here, np.array([0.1, 0.9]), None, NOW)
    assert outcome(here, issued, [refused, taken[1]]) == "invalid"
    assert outcome(here, issued, taken) == "matched"
    scores = here._state.as_json(here._state.vector)["scores"]["late-4"]
    assert scores["negatives"].index(1) < 100 < scores["positives"].index(1)


@pytest.mark.parametrize(
    ("before", "now", "label", "positive"),
    [
        (("no", "yes"), ("yes", "no"), "yes", True),
        (("no", "yes"), ("yes", "no"), "no", False),
        (("no", "yes"), ("yes", "no"), 1, True),  # the second one of the version that predicted
        ((0, 1), (1, 0), 1, True),
        ((0, 1), ("1", "0"), False, False),
        (("no", "yes"), ("no", "yes"), "yes", True),
        ((0, 1), ("no", "yes"), "yes", True),
        ((0, 1), ("yes", "no"), "no", True),
        ((), ("yes", "no"), "no", True),
        (("no", "yes"), (), 1, True),
    ],
)
def test_labels_of_two_classes_are_counted_in_the_order_of_the_version_that_predicted(
    before: object, now: object, label: object, positive: bool, loaded: Loaded
) -> None:
    older = desk(loaded, version="late-3", classes=before)
    newer = desk(loaded, version="late-4", classes=now)
    assert outcome(newer, issue(older, np.array([0.95]), None, NOW), label) == "matched"
    scores = newer._state.as_json(newer._state.vector)["scores"]["late-3"]
    assert (sum(scores["positives"]), sum(scores["negatives"])) == (positive, not positive)


def test_a_token_of_two_classes_from_an_earlier_release_is_counted_by_places(loaded: Loaded) -> None:
    newer = desk(loaded, version="late-5", classes=("yes", "no"))
    token = sign(TOKEN._replace(groups=bytes(2)), RING, BOUND)
    assert outcome(newer, token, ["no", "yes"]) == "matched"
    scores = newer._state.as_json(newer._state.vector)["scores"]["late-4"]
    assert (scores["positives"][0], scores["negatives"][199]) == (1, 1)


@given(st.lists(st.text(max_size=20), min_size=2, max_size=2, unique=True))
def test_the_order_of_two_classes_is_told_from_the_other_and_from_none(names: list[str]) -> None:
    assert order(*names) ^ 1 == order(*names[::-1])
    assert 1 < order(*names) < 256


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize(("label", "kind"), [([1], "a list"), ({"a": 1}, "an object")])
def test_a_label_is_one_value_and_no_other_is_spelled_out(
    task: str, label: object, kind: str, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of a million numbers would hold up all predictions meanwhile."""
    here = desk(loaded, task=task)
    issued = issue(here, np.array([0.1]), np.array([0]), NOW)
    monkeypatch.setattr("noria_serving.feedback.desk.spelling", lambda _: pytest.fail("spelled out"))
    with pytest.raises(Refused, match=f"one value, not {kind}"):
        here.accept(issued, [label], NOW)


def test_without_keys_it_is_said_that_there_are_none(loaded: Loaded, tmp_path: Path) -> None:
    here = desk(loaded, tmp_path / "none.json")
    with pytest.raises(Refused, match="no keys") as caught:
        here.accept(sign(TOKEN, RING, BOUND), [0, 1], NOW)
    assert caught.value.refusal is Refusal.INVALID


def test_each_refusal_has_its_reason_and_counts_nothing_else(loaded: Loaded) -> None:
    here = desk(loaded)
    issued = issue(here, np.array([0.1, 0.9]), None, NOW)
    assert outcome(here, sign(TOKEN, RING, binding("shop", "other")), [0, 1]) == "foreign"
    assert outcome(here, sign(TOKEN, KeyRing("k1", {"k1": b"3" * 32}), BOUND), [0, 1]) == "forged"
    assert outcome(here, issued, [0, 1], NOW + MAX_AGE_SECONDS + 1) == "expired"
    assert outcome(here, issued, [0, 1], NOW - 3600) == "expired"
    for labels in ([0], [0, 1, 1], [0, 2], [0, "x"], None, {}, [0, [1]]):
        assert outcome(here, issued, labels) == "invalid"
    for token in (None, 3, "", "x" * 100, "ü" * 100):
        assert outcome(here, token, [0, 1]) == "invalid"
    assert here._state.versions == []
    assert outcome(here, issued, [0, 1]) == "matched"
    assert outcome(here, issued, [0, 1]) == "duplicate"
    assert {name: counted(here, name) for name in FEEDBACK[:6]} == {
        "matched": 1, "late": 0, "duplicate": 1, "expired": 2, "forged": 1, "foreign": 1,
    }  # fmt: skip


def test_labels_are_counted_by_score_bin_under_the_version_that_predicted(loaded: Loaded) -> None:
    older, newer = desk(loaded, version="late-4"), desk(loaded, version="late-5")
    token = issue(older, np.array([0.0, 0.5, 1.0]), None, NOW)
    assert newer.accept(token, [0, True, "1"], NOW + 60) == Accepted("matched", 3)
    counts = newer._state.as_json(newer._state.vector)
    scores = counts["scores"]["late-4"]
    assert list(counts["scores"]) == ["late-4"]
    assert (scores["negatives"][0], scores["positives"][100], scores["positives"][199]) == (1, 1, 1)
    assert sum(scores["negatives"]) + sum(scores["positives"]) == 3
    assert counts["label_delay"] == {"sum": 60, "count": 1, "buckets": [0, 1] + 10 * [0]}


def test_a_server_counts_its_own_version_however_many_others_it_met_before(loaded: Loaded) -> None:
    here = desk(loaded, version="late-99")
    for number in range(33):
        other = desk(loaded, version=f"late-{number}")
        accepted = here.accept(issue(other, np.array([0.5]), None, NOW), [1], NOW)
        assert accepted == Accepted("matched", 1 if number < 32 else 0)
    assert here.accept(issue(here, np.array([0.5]), None, NOW), [1], NOW) == Accepted("matched", 1)
    scores = here._state.as_json(here._state.vector)["scores"]
    assert sum(scores["late-99"]["positives"]) == 1


def test_a_label_not_known_yet_is_left_out(loaded: Loaded) -> None:
    here = desk(loaded)
    assert here.accept(issue(here, np.array([0.2, 0.3]), None, NOW), [None, 1], NOW) == Accepted("matched", 1)


def test_a_token_without_any_label_is_refused_and_can_be_sent_again(loaded: Loaded) -> None:
    here = desk(loaded)
    one, two = issue(here, np.array([0.2]), None, NOW), issue(here, np.array([0.2, 0.3]), None, NOW)
    for token, labels in ((one, None), (one, [None]), (two, [None, None])):
        assert outcome(here, token, labels) == "invalid"
    for token, labels in ((one, 1), (two, [None, 0])):
        assert outcome(here, token, labels) == "matched"


def test_with_several_classes_the_question_is_whether_the_predicted_one_was_right(loaded: Loaded) -> None:
    here = desk(loaded, classes=("cat", "dog", "owl"), task="multiclass")
    token = issue(here, np.array([0.7, 0.4]), np.array([2, 0]), NOW)
    here.accept(token, ["owl", "dog"], NOW)
    scores = here._state.as_json(here._state.vector)["scores"]["late-4"]
    assert (scores["positives"][140], scores["negatives"][80]) == (1, 1)


def test_large_batches_that_are_not_logged_get_no_token(loaded: Loaded) -> None:
    assert issue(desk(loaded), np.zeros(65), None, NOW) is None
    assert issue(desk(loaded), np.zeros(64), None, NOW) is not None


@dataclass
class Notes:
    """A payload log of so small a share that no prediction of this pod is in it."""

    room: bool = True
    written: list[object] = field(default_factory=list)

    def samples(self, _: bytes) -> bool:
        return False

    def fits(self, _: object) -> bool:
        return self.room

    def labels(self, token: Token, labels: object, _: float) -> None:
        self.written.append((token.version, labels))


LARGE = Token("late-3", 1_800_000_000_000, b"proc01" + bytes((0, 0, 0, 9)), batch=100)


def test_labels_of_a_large_batch_are_written_by_a_pod_that_would_not_have_logged_it(loaded: Loaded) -> None:
    """The version that predicted logged all, this one few: the token says that the rows are there."""
    notes = Notes()
    here = desk(loaded, log=notes)
    assert here.accept(sign(LARGE, RING, BOUND), [1] * 100, NOW) == Accepted("logged", 100)
    assert notes.written == [("late-3", [1] * 100)]
    assert outcome(here, sign(TOKEN, RING, BOUND), [0, 1]) == "matched"  # of few rows this pod knows itself
    assert len(notes.written) == 1


def test_labels_of_a_large_batch_without_room_are_refused_and_can_be_sent_again(loaded: Loaded) -> None:
    notes = Notes(room=False)
    here, token = desk(loaded, log=notes), sign(LARGE, RING, BOUND)
    assert [outcome(here, token, [1] * 100) for _ in range(2)] == ["full", "full"]
    assert (counted(here, "full"), counted(here, "logged"), notes.written) == (2, 0, [])
    notes.room = True
    assert here.accept(token, [1] * 100, NOW) == Accepted("logged", 100)
    assert (outcome(here, token, [1] * 100), len(notes.written)) == ("duplicate", 1)


def test_errors_of_a_regression_add_up_to_rmse_mae_and_bias(loaded: Loaded) -> None:
    older = desk(loaded, task="regression", version="late-4")
    newer = desk(loaded, task="regression", version="late-5")
    random = np.random.default_rng(3)
    predicted, labels = random.uniform(0, 1, 640), random.uniform(0, 1, 640)
    for start in range(0, 640, 64):
        token = issue(older, predicted[start : start + 64], None, NOW)
        newer.accept(token, labels[start : start + 64].tolist(), NOW)
    errors = newer._state.as_json(newer._state.vector)["errors"]["late-4"]
    unit, true = newer._state.units["late-4"], predicted - labels
    assert errors["count"] == 640
    assert errors["clipped"] == 0
    assert np.sqrt(errors["squared"] * unit**2 / 640) == pytest.approx(np.sqrt((true**2).mean()), rel=1e-4)
    assert (errors["over"] + errors["under"]) * unit / 640 == pytest.approx(np.abs(true).mean(), rel=1e-4)
    assert (errors["over"] - errors["under"]) * unit / 640 == pytest.approx(true.mean(), abs=2 * unit)


def test_errors_of_one_version_are_counted_in_one_unit_whatever_its_tokens_say(loaded: Loaded) -> None:
    """Servers of an earlier release may have taken another one."""
    here = desk(loaded, task="regression")
    tokens = [
        Token("late-4", TOKEN.milliseconds, bytes([9] * 9 + [n]), values=(1.0,), exponent=-n) for n in (3, 6)
    ]
    for token in tokens:
        assert outcome(here, sign(token, RING, BOUND), [0.0]) == "matched"
    errors = here._state.as_json(here._state.vector)["errors"]["late-4"]
    assert (here._state.units["late-4"], errors["over"]) == (2.0**-3, 16)


def test_a_label_of_a_regression_is_a_finite_number(loaded: Loaded) -> None:
    here = desk(loaded, task="regression")
    for label in ("1", True, float("nan"), float("inf"), [1]):
        assert outcome(here, issue(here, np.zeros(1), None, NOW), [label]) == "invalid"
    assert outcome(here, issue(here, np.zeros(1), None, NOW), [1e300]) == "matched"
    assert here._state.as_json(here._state.vector)["errors"]["late-4"]["clipped"] == 1
    assert issue(here, np.array([np.nan]), None, NOW) is None


@pytest.mark.parametrize(
    ("delay", "bucket"), [(0, 0), (1, 0), (2, 1), (60, 1), (86_400, 5), (8 * 86_400, 8), (89 * 86_400, 10)]
)
def test_late_labels_are_counted_by_their_delay(loaded: Loaded, delay: int, bucket: int) -> None:
    here = desk(loaded)
    here.accept(issue(here, np.zeros(1), None, NOW), [0], NOW + delay)
    buckets = here._state.as_json(here._state.vector)["label_delay"]["buckets"]
    assert [index for index, count in enumerate(buckets) if count] == [bucket]
    assert counted(here, "late") == (delay > 7 * 86_400)


def keys_file(path: Path, active: str, *, begins: float = 0, name: str = "keys", **keys: bytes) -> None:
    encoded = {kid: base64.b64encode(key).decode() for kid, key in keys.items()}
    (path / "next").write_text(json.dumps({"active": active, "keys": encoded, "from": begins}))
    os.replace(path / "next", path / f"{name}.json")


def test_keys_are_read_again_when_the_file_changes(loaded: Loaded, tmp_path: Path) -> None:
    keys_file(tmp_path, "a", a=b"a" * 32)
    one, two = desk(loaded, tmp_path), desk(loaded, tmp_path)
    keys_file(tmp_path, "b", a=b"a" * 32, b=b"b" * 32)
    two.keys.refresh()
    assert outcome(one, issue(two, np.zeros(1), None, NOW), [0]) == "matched"
    (tmp_path / "keys.json").write_text("{")
    one.keys.refresh()
    assert outcome(one, issue(two, np.zeros(1), None, NOW), [0]) == "matched"


def test_keys_rotate_under_running_servers(loaded: Loaded, tmp_path: Path) -> None:
    """A key signs from its time on, is known everywhere before that, and verifies for one period more."""
    clock = Clock(NOW)
    keys_file(tmp_path, "a", name="230", begins=NOW - 10, a=b"a" * 32)
    one, two = desk(loaded, tmp_path, clock=clock), desk(loaded, tmp_path, clock=clock)
    first = [issue(one, np.zeros(1), None, NOW) for _ in range(3)]
    keys_file(tmp_path, "b", name="231", begins=NOW + 100, b=b"b" * 32)
    one.keys.refresh()
    assert [key_id(token) for token in (*first, issue(one, np.zeros(1), None, NOW))] == ["a"] * 4
    clock.now = NOW + 101
    one.keys.refresh()
    second = issue(one, np.zeros(1), None, clock.now)
    assert key_id(second) == "b"
    # two has not looked since: it finds the key when it meets a token signed with it, and takes the old one's
    assert outcome(two, second, [0], clock.now) == "matched"
    assert outcome(two, first[0], [0], clock.now) == "matched"
    keys_file(tmp_path, "c", name="232", begins=NOW + 200, c=b"c" * 32)
    clock.now = NOW + 201
    one.keys.refresh()
    assert outcome(one, issue(one, np.zeros(1), None, clock.now), [0], clock.now) == "matched"
    assert outcome(one, issue(two, np.zeros(1), None, clock.now), [0], clock.now) == "matched"
    assert outcome(one, first[1], [0], clock.now) == "forged"


def test_whatever_tokens_come_the_files_are_looked_at_once_a_second(loaded: Loaded, tmp_path: Path) -> None:
    """A look takes longer than all else that is done about a token, and any client may name any key."""
    clock = Clock(NOW)
    keys_file(tmp_path, "a", name="230", a=b"a" * 32)
    here = desk(loaded, tmp_path, clock=clock)
    assert outcome(here, sign(TOKEN, RING, BOUND), [0, 1]) == "forged"
    keys_file(tmp_path, "b", name="231", begins=1, b=b"b" * 32)
    token = issue(desk(loaded, tmp_path, clock=clock), np.zeros(1), None, NOW)
    assert outcome(here, token, [0]) == "forged"
    clock.now += 1
    assert outcome(here, token, [0]) == "matched"


def test_a_key_whose_time_is_still_to_come_verifies(loaded: Loaded, tmp_path: Path) -> None:
    ahead, behind = Clock(NOW + 1), Clock(NOW - 1)
    keys_file(tmp_path, "a", name="230", begins=NOW - 10, a=b"a" * 32)
    keys_file(tmp_path, "b", name="231", begins=NOW, b=b"b" * 32)
    token = issue(desk(loaded, tmp_path, clock=ahead), np.zeros(1), None, NOW)
    assert key_id(token) == "b"
    assert outcome(desk(loaded, tmp_path, clock=behind), token, [0]) == "matched"


def test_without_keys_there_are_no_tokens_until_the_first_comes(loaded: Loaded, tmp_path: Path) -> None:
    here = desk(loaded, tmp_path)
    assert issue(here, np.zeros(1), None, NOW) is None
    assert outcome(here, sign(TOKEN, RING, BOUND), [0, 1]) == "invalid"
    keys_file(tmp_path, "a", name="230", begins=2 * NOW, a=b"a" * 32)
    here.keys.refresh()
    assert key_id(issue(here, np.zeros(1), None, NOW)) == "a"


@pytest.mark.parametrize(
    "data", ["", "[]", "{}", '{"active":"a","keys":{"a":"AAAA"}}', '{"active":"b","keys":{}}']
)
def test_a_malformed_keys_file_is_an_error(data: str) -> None:
    with pytest.raises(ValueError):
        parse(data.encode())


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.integers(0, 50_000)), max_size=60))
def test_the_window_is_a_set(pairs: list[tuple[bytes, int]]) -> None:
    window, seen = Window(), set()
    for pair in pairs:
        assert window.add(*pair) == (pair not in seen)
        seen.add(pair)


def test_the_window_forgets_the_oldest_process_first_and_stays_bounded() -> None:
    window = Window(limit=4 * 1024)
    for process in (b"a", b"b", b"c", b"d", b"e"):
        assert window.add(process, 1)
    assert not window.add(b"e", 1)
    assert window.add(b"a", 1)
    for sequence in range(0, 100 * 8192, 8192):
        window.add(b"z", sequence)
    assert window._size <= 4 * 1024


def test_several_classes_are_counted_by_true_and_predicted_one(loaded: Loaded) -> None:
    here = desk(loaded, classes=("a", "b", "c"), task="multiclass")
    for actual, predicted in (("a", 0), ("b", 0), ("c", 2), ("c", 2)):
        token = issue(here, np.array([0.5]), np.array([predicted]), NOW)
        assert outcome(here, token, actual) == "matched"
    counts = here._state.as_json(here._state.vector)
    assert counts["confusion"] == {"late-4": [1, 0, 0, 1, 0, 0, 0, 0, 2]}
    assert sum(counts["scores"]["late-4"]["positives"]) == 3


@pytest.mark.parametrize(("classes", "cells"), [("abc", 9), ("abcdefghijklmnopqrst", 400)])
def test_labels_by_true_and_predicted_class_are_told_before_one_of_a_known_class_comes(
    classes: str, cells: int, loaded: Loaded
) -> None:
    """A version without such counts would be one of too many classes."""
    here = desk(loaded, classes=tuple(classes), task="multiclass")
    for labels in ([], ["new"]):
        for label in labels:
            assert outcome(here, issue(here, np.array([0.5]), np.array([0]), NOW), label) == "matched"
        counts = here._state.as_json(here._state.vector)
        assert counts["confusion"] == {"late-4": [0] * cells}
        assert bool(counts["scores"]) is bool(labels)


@pytest.mark.parametrize("slices", [b"", bytes([1, 2])])
@pytest.mark.parametrize(("predicted", "right"), [(0, 0), (1, 1)])
def test_a_version_that_knows_more_classes_counts_those_of_another_by_their_names(
    predicted: int, right: int, slices: bytes, loaded: Loaded
) -> None:
    older = desk(loaded, version="late-3", classes=("a", "c"), task="multiclass")
    newer = desk(loaded, version="late-4", classes=("a", "b", "c"), task="multiclass")
    token = older.issue(older.nonce(), np.array([0.5]), np.array([predicted]), NOW, slices)
    assert outcome(newer, token, "c") == "matched"
    counts = newer._state.as_json(newer._state.vector)["scores"]["late-3"]
    assert (sum(counts["positives"]), sum(counts["negatives"])) == (right, 1 - right)


KNOWN = {3: ("a", "b", "d"), 4: ("a", "b", "c", "d")}


@pytest.mark.parametrize("label", KNOWN[4])
@pytest.mark.parametrize("told", KNOWN)
@pytest.mark.parametrize(("asked", "predicted"), [(3, 0), (3, 1), (3, 2), (4, 0), (4, 1), (4, 2), (4, 3)])
def test_a_label_is_right_or_wrong_whether_or_not_the_version_that_gets_it_knows_its_class(
    asked: int, predicted: int, told: int, label: str, loaded: Loaded
) -> None:
    """Refused where they are not known, labels of a new class would make whoever learnt it look worse."""
    one, other = (
        desk(loaded, version=f"late-{number}", classes=KNOWN[number], task="multiclass")
        for number in (asked, told)
    )
    token = issue(one, np.array([0.5]), np.array([predicted]), NOW)
    accepted = other.accept(token, label, NOW)
    counts = other._state.as_json(other._state.vector)
    scores, right = counts["scores"][f"late-{asked}"], label == KNOWN[asked][predicted]
    assert (sum(scores["positives"]), sum(scores["negatives"])) == (right, not right)
    assert sum(map(sum, counts["confusion"].values())) == (asked == told and label in KNOWN[told])
    warning = "late-3 knows no class called 'c'; unless that was predicted, it counts as wrong"
    assert accepted == Accepted("matched", 1, "" if label in KNOWN[told] else warning)


@pytest.mark.parametrize(
    ("classes", "none"),
    [(("cat", "dog", "owl"), [3, 0.5, True, "7", "", " ", "nan"]), ((0, 1, 2), ["cat", "1.x", "", "nan"])],
)
def test_what_is_no_class_at_all_is_refused(classes: object, none: list[object], loaded: Loaded) -> None:
    here = desk(loaded, classes=classes, task="multiclass")
    token = issue(here, np.array([0.5]), np.array([1]), NOW)
    assert [outcome(here, token, label) for label in (*none, float("nan"))] == ["invalid"] * (len(none) + 1)
    assert outcome(here, token, "cow" if "cat" in classes else 3) == "matched"


def test_a_class_that_is_not_known_has_a_name_of_at_most_1024_characters(loaded: Loaded) -> None:
    """What waits for the payload log would be as much as clients send."""
    here = desk(loaded, classes=("a", "b", "c" * 2000), task="multiclass")
    tokens = [issue(here, np.array([0.5]), np.array([1]), NOW) for _ in range(2)]
    with pytest.raises(Refused, match=r"'x{60}'… has 1025 characters, of which a class has 1024 at most"):
        here.accept(tokens[0], "x" * 1025, NOW)
    assert [outcome(here, tokens[0], "x" * 1024), outcome(here, tokens[1], "c" * 2000)] == ["matched"] * 2


def test_labels_of_a_large_batch_may_be_of_a_class_that_is_not_known(loaded: Loaded) -> None:
    notes = Notes()
    here = desk(loaded, classes=("a", "b", "c"), task="multiclass", log=notes)
    accepted = here.accept(sign(LARGE, RING, BOUND), ["a"] * 99 + ["d"], NOW)
    assert accepted == Accepted("logged", 100, "late-4 knows no class called 'd'")
    assert notes.written == [("late-3", ["a"] * 99 + ["d"])]


@pytest.mark.parametrize(
    ("before", "now"), [("binary", "multiclass"), ("multiclass", "binary"), ("binary", "regression")]
)
def test_labels_for_a_version_that_predicts_something_else_are_refused_and_stay_good(
    before: str, now: str, loaded: Loaded
) -> None:
    """Counted, each right answer of a model of two classes would be a wrong one of several."""
    classes = {"binary": (0, 1), "multiclass": (0, 1, 2), "regression": ()}
    older = desk(loaded, version="late-3", classes=classes[before], task=before)
    newer = desk(loaded, version="late-4", classes=classes[now], task=now)
    token = issue(older, np.array([0.9]), np.array([1]) if before == "multiclass" else None, NOW)
    with pytest.raises(Refused, match="of late-3, which predicts something else") as refused:
        newer.accept(token, [1], NOW)
    assert refused.value.refusal is Refusal.INVALID
    assert newer._state.versions == []
    assert outcome(older, token, [1]) == "matched"


def test_a_token_of_several_classes_from_an_earlier_release_is_good_at_its_own_version_alone(
    loaded: Loaded,
) -> None:
    """It has no names of classes, and their places say nothing to another version."""
    own = desk(loaded, classes=("a", "b", "c"), task="multiclass")
    other = desk(loaded, version="late-5", classes=("a", "b", "c"), task="multiclass")
    token = sign(TOKEN, RING, BOUND)
    with pytest.raises(Refused, match=r"or was issued by an earlier release: pods of late-4") as refused:
        other.accept(token, ["a", "b"], NOW)
    assert refused.value.refusal is Refusal.INVALID
    assert outcome(own, token, ["a", "b"]) == "matched"


def test_classes_of_another_version_and_too_many_are_right_or_wrong_only(loaded: Loaded) -> None:
    many = tuple("abcdefghijklmnopqrstu")
    other = desk(loaded, version="late-3", classes=("a", "b", "c"), task="multiclass")
    here = desk(loaded, classes=("a", "b", "c"), task="multiclass")
    assert outcome(here, issue(other, np.array([0.5]), np.array([1]), NOW), "b") == "matched"
    wide = desk(loaded, classes=many, task="multiclass")
    assert outcome(wide, issue(wide, np.array([0.5]), np.array([20]), NOW), "u") == "matched"
    for one, version, table in ((here, "late-3", [0] * 9), (wide, "late-4", [])):
        counts = one._state.as_json(one._state.vector)
        assert counts["confusion"] == {"late-4": table}
        assert sum(counts["scores"][version]["positives"]) == 1


@pytest.mark.parametrize("slices", [b"", bytes([1, 2])])
def test_scores_of_all_classes_are_counted_with_their_label(slices: bytes, loaded: Loaded) -> None:
    scores = np.array([[0.2, 0.5, 0.3], [0.7, 0.1, 0.2]])
    bins = [bytes([40, 100, 60]), bytes([140, 20, 40])]
    here = desk(loaded, classes=("a", "b", "c"), task="multiclass", by_class=True)
    told = [0] * size(3)
    assert here._state.as_json(here._state.vector)["class_scores"] == {"late-4": told}
    for labels, places in ((["c", "a"], (2, 0)), (["new", None], (None,))):
        token = here.issue(
            here.nonce(), scores.max(axis=1), scores.argmax(axis=1), NOW, slices * 2, by_class=scores
        )
        assert outcome(here, token, labels) == "matched"
        for row, place in zip(bins, places, strict=False):
            for at, amount in added(row, place):
                told[at] += amount
    assert here._state.as_json(here._state.vector)["class_scores"] == {"late-4": told}


def test_scores_of_all_classes_of_another_version_stay_its_own(loaded: Loaded) -> None:
    """Which of its classes is which is not known here; right or wrong is."""
    other = desk(loaded, version="late-3", classes=("b", "a", "c"), task="multiclass", by_class=True)
    here = desk(loaded, classes=("a", "b", "c"), task="multiclass", by_class=True)
    scores = np.array([[0.2, 0.5, 0.3]])
    token = other.issue(other.nonce(), np.array([0.5]), np.array([1]), NOW, by_class=scores)
    assert outcome(here, token, "a") == "matched"
    counts = here._state.as_json(here._state.vector)
    assert counts["class_scores"] == {"late-4": [0] * size(3)}
    assert sum(counts["scores"]["late-3"]["positives"]) == 1


@pytest.mark.parametrize("rows", [1, 64])
def test_scores_on_the_edge_and_beyond_have_a_bin(rows: int, loaded: Loaded) -> None:
    here = desk(loaded, classes=("a", "b", "c"), task="multiclass", by_class=True)
    scores = np.tile(np.array([[1.0000001, -0.1, 0.0]], dtype=np.float32), (rows, 1))
    token = here.issue(here.nonce(), scores[:, 0], np.zeros(rows, int), NOW, by_class=scores)
    assert token is not None
    assert verify(token, RING, BOUND).by_class == bytes([199, 0, 0]) * rows


def test_a_token_of_the_same_version_without_all_scores_counts_none(loaded: Loaded) -> None:
    """A server of an earlier release issued it."""
    here = desk(loaded, classes=("a", "b", "c"), task="multiclass", by_class=True)
    assert outcome(here, issue(here, np.array([0.5]), np.array([1]), NOW), "b") == "matched"
    assert here._state.as_json(here._state.vector)["class_scores"] == {"late-4": [0] * size(3)}


def test_of_hundreds_of_classes_the_right_one_is_right(loaded: Loaded) -> None:
    here = desk(loaded, classes=tuple(range(400)), task="multiclass")
    for actual, predicted in ((399, 399), (398, 399), (143, 143)):
        token = issue(here, np.array([0.5]), np.array([predicted]), NOW)
        assert outcome(here, token, actual) == "matched"
    counts = here._state.as_json(here._state.vector)["scores"]["late-4"]
    assert (sum(counts["positives"]), sum(counts["negatives"])) == (2, 1)
