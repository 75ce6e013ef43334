"""A small cluster for the planner: pods that become ready when a test says so, routers that follow when it
says so.

It decides nothing; it carries out what a plan says in the order that the controller uses (what grows, status,
what shrinks; the status first where somebody loses weight), and checks after each of these writes what must
always be true.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from noria_operator.api.modeldeployment_status import ModelDeploymentStatus
from noria_operator.api.names import record_name
from noria_operator.domain.analysis import Counted
from noria_operator.domain.disagreement import Paired
from noria_operator.domain.latency import Timings
from noria_operator.domain.queries import Asked
from noria_operator.domain.rollout import plan
from noria_operator.domain.rollout_arms import seats
from noria_operator.domain.rollout_conditions import Report, conditions
from noria_operator.domain.rollout_first import as_told
from noria_operator.domain.rollout_observed import InForce, Observed, Seen, Version
from noria_operator.domain.rollout_plan import Child, Plan
from noria_operator.domain.rollout_policy import Policy, PolicyStep
from noria_operator.domain.rollout_state import ANY, Revision, Share, State
from noria_operator.domain.rollout_telling import put_off
from noria_operator.domain.rollout_traffic import DRAIN, OUTGOING, left, need, sharing
from noria_operator.domain.rollout_wire import state_of, status_fields
from noria_operator.domain.rollout_words import Happened
from noria_operator.domain.verdict import Counts

START = datetime(2026, 1, 1, tzinfo=UTC)
SERVER_UNREAD = "spec.server.newer"
"""Why a spec is not read whole, where nobody knows by it in which configuration a version would be."""
CANARY = (PolicyStep(10, min_requests=100), PolicyStep(50, timedelta(minutes=1)))


def revision(number: int, config: str = "aaaaaa") -> Revision:
    return Revision(f"m-{number}", config, f"d-{number}-{config}")


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


class World:
    """One ModelDeployment, its pods and its routers."""

    def __init__(self, policy: Policy | None = None, *, routers: int = 2) -> None:
        self.policy = policy or Policy(replicas=2, steps=CANARY)
        self.now = START
        self.state = State()
        self.versions: dict[str, Version] = {}
        self.pods: dict[str, int] = {}
        self.ready: dict[str, int] = {}
        self.ending: dict[str, int] = {}
        """Pods that were taken away and still take room, for as long as `slow` says."""
        self.enough: dict[str, int] = {}
        """Pods that carried the weight of each challenger when it got it, or fewer that do since."""
        self.behind: dict[str, datetime] = {}
        """Since when each challenger's pods are too few for what it gets beside the champion's ready ones."""
        self.slow = False
        self.active: dict[str, int] | None = None
        """Requests that are not answered yet; None where nobody counts them."""
        self.under_way: dict[str, int] = {}
        """The same of those that get more."""
        self.records: set[str] = set()
        """Names of the records of pods."""
        self.routers: list[dict[str, int]] = [{} for _ in range(routers)]
        self.copies: list[dict[str, int]] = [{} for _ in range(routers)]
        """Percent of requests whose copies each router sends to whom."""
        self.told = [0] * routers
        """The version of the traffic that each router acts on."""
        self.counts: list[dict[str, Counts]] = [{} for _ in range(routers)]
        self.timings: Timings | None = None
        """Answers by their time, as the routers counted them."""
        self.queries: dict[str, Asked] = {}
        self.counted: dict[str, Counted] = {}
        """What model servers counted for each challenger, by its name."""
        self.paired: Paired | None = None
        """Answers of both to the same requests."""
        self.commands: dict[str, str] = {}
        self.problems: dict[str, str] = {}
        self.obstacle = ""
        self.readable = True
        self.events: list[Happened] = []
        self.plan: Plan | None = None
        self.untold = False
        """Whether the last pass crashed before its status."""
        self.patient = False
        """Whether the first status is put off for as long as it may be, and routers go by pods meanwhile."""
        self._planned: tuple[tuple[Policy, State, Observed, datetime], Plan] | None = None
        """What was asked of the planner last, and its answer."""

    def fork(self) -> World:
        """The same a second time."""
        own = copy(self)
        for name, value in vars(self).items():
            setattr(own, name, _copied(value))
        return own

    # -- what happens to it

    def approve(self, number: int, phase: str = "Approved", config: str = "aaaaaa") -> Revision:
        target = revision(number, config)
        self.versions[target.version] = Version(target, number, phase)
        return target

    def pass_time(self, span: timedelta) -> None:
        self.now += span

    def become_ready(self, name: str | None = None) -> None:
        for child, count in self.pods.items():
            if name in (None, child):
                self.ready[child] = count

    def lose_record(self, target: Revision) -> None:
        self.records.discard(self.record(target))

    def lose_pods(self, name: str, left: int = 0) -> None:
        self.ready[name] = min(left, self.ready.get(name, 0))

    def routers_follow(self) -> None:
        for index in range(len(self.routers)):
            self.router_follows(index)

    def router_follows(self, index: int) -> None:
        state = self.known()
        self.routers[index] = {one.target.name: one.weight for one in state.traffic}
        self.copies[index] = {one.target.name: one.mirror for one in state.traffic if one.mirror}
        self.told[index] = state.traffic_version

    def known(self) -> State:
        """What routers go by: the state in status, or before there is one what the pods show."""
        if not self.patient or self.policy.by_pods or self.state != State() or len(self.pods) != 1:
            return self.state
        (name,) = self.pods
        if not 0 < self.policy.replicas <= self.ready.get(name, 0):
            return self.state
        number, config = name.split("-")[1:]
        return as_told(self.policy, revision(int(number), config), self.now).state

    def send(
        self,
        requests: int,
        errors: Mapping[str, int] | None = None,
        refused: Mapping[str, float] | None = None,
    ) -> None:
        """Requests to every router, split by what each has in force; `errors` by revision name, at the
        first, and shares of the others that are `refused`.
        """
        for index, (weights, counts) in enumerate(zip(self.routers, self.counts, strict=True)):
            for name, weight in (weights | self.copies[index]).items():
                failed = (errors or {}).get(name, 0) if index == 0 else 0
                served = max(requests * weight // 100, failed)
                turned_away = round((refused or {}).get(name, 0) * (served - failed))
                counts[name] = counts.get(name, Counts()) + Counts(served, failed, turned_away)

    def answer(self, name: str, requests: int, errors: int) -> None:
        """Requests that reach a version beside its weight, at the first router."""
        counts = self.counts[0]
        counts[name] = counts.get(name, Counts()) + Counts(requests, errors)

    def edit(self, **changes: object) -> None:
        """The user changes the spec."""
        self.policy = replace(self.policy, **changes)  # type: ignore[arg-type]

    def record(self, target: Revision) -> str:
        return record_name(target.name, self.state.restarts.get(target.name, ""))

    # -- the controller

    def observed(self) -> Observed:
        return Observed(
            versions=self.seen(),
            ready=dict(self.ready),
            in_force=tuple(
                InForce(told, dict(one)) for told, one in zip(self.told, self.routers, strict=False)
            ),
            counts={f"router-{i}": dict(one) for i, one in enumerate(self.counts)} if self.readable else None,
            timings=self.timings,
            seen={
                name: Seen(self.counted.get(name), dict(self.queries), self.paired) for name in self.names()
            },
            commands=dict(self.commands),
            problems=dict(self.problems),
            active=self.active if self.active is None else dict(self.active),
            under_way=dict(self.under_way),
            present=Counter(self.pods) + Counter(self.ending),
            restorable=frozenset(
                one.name
                for one in self.state.champions
                if self.record(one) in self.records
                and one.version in self.versions
                and self.versions[one.version].phase == "Approved"
            ),
            obstacle=self.obstacle,
        )

    def seen(self) -> tuple[Version, ...]:
        """The versions; of a spec whose `server` is not read whole in a configuration that nobody knows."""
        found = self.versions.values()
        if self.policy.unread != SERVER_UNREAD:
            return tuple(found)
        return tuple(replace(one, target=Revision(one.target.version, ANY, "")) for one in found)

    def names(self) -> list[str]:
        """Names of the challengers, or an empty one."""
        return [one.target.name for one in self.state.challengers] or [""]

    def decide(self, *, read_back: bool = True) -> Plan:
        """`read_back` false: what routers had in force before the last write says nothing about that
        write.
        """
        observed = self.observed() if read_back else replace(self.observed(), in_force=None)
        asked = (self.policy, self.known(), observed, self.now)
        if self._planned is None or self._planned[0] != asked:  # the planner is pure: its answer holds
            self._planned = (asked, plan(*asked))
        return self._planned[1]

    def reconcile(self, *, crash: bool | int = False) -> Plan:
        """One pass; `crash` stops it after the status was written, or after so many writes."""
        found = [one.target.name for one in self.known().traffic] if self.state == State() else []
        before = self.known()
        made = self.decide()
        self._check_status(before, made.state)
        assert self._planned is not None
        self._check_ready(before, made, self._planned[0][2])
        self.plan, self.untold, there = made, False, self.taking_room()
        for count, write in enumerate(self._writes(before, made), 1):
            self._check_gone()
            if write.startswith(("shrink", "delete")):
                self._check_capacity(made, there)
            if (crash is True and write == "status") or (crash is not True and count == crash):
                self.untold = self.state != made.state
                return made
        self._check_capacity(made, there)
        assert self.pods.keys() >= {*found}, "pods that routers found by themselves were taken away"
        return made

    def settle(self, passes: int = 12) -> Plan:
        """Let pods and routers do what they are told until nothing changes."""
        made = self.reconcile()
        for _ in range(passes):
            before = self.state
            self.become_ready()
            self.routers_follow()
            made = self.reconcile()
            if self.state == before:
                break
        return made

    def run(
        self,
        minutes: float,
        *,
        requests: int = 100,
        errors: Mapping[str, int] | None = None,
        refused: Mapping[str, float] | None = None,
        every: int = 10,
    ) -> None:
        """Traffic for a while with pods and routers that follow at once, looked at `every` so many seconds;
        `requests` come between two looks.
        """
        for _ in range(int(minutes * 60 / every)):
            self.send(requests, errors, refused)
            self.pass_time(seconds(every))
            self.settle()

    def _put_off(self, before: State, made: Plan) -> bool:
        untold = self.patient and self.state == State()
        return untold and bool(
            put_off(before, made, self.observed(), asked=self.now, rush=False, now=self.now)
        )

    # -- what must always be true

    def _written(self, state: State) -> State:
        fields = status_fields(state)
        wire = ModelDeploymentStatus(**fields).to_json()
        again = state_of(ModelDeploymentStatus.model_validate(wire))
        assert again == state, "a state must survive being written"
        return again

    def _writes(self, before: State, made: Plan) -> Iterator[str]:
        """Carry the plan out, one write after the other: the status first where it takes weight from
        somebody, else after what grows; what shrinks comes last.
        """
        early = any(made.state.weight(one.target.name) < one.weight for one in before.traffic)
        if early:
            yield self._tell(made)
        for child in made.children:
            yield from self._grow(child)
        if not early and not self._put_off(before, made):
            yield self._tell(made)
        for child in made.children if made.state.verified else ():
            yield from self._shrink(child)
        wanted = {child.target.name for child in made.children}
        for name in [name for name in self.pods if name not in wanted]:
            if self.slow:
                self.ending[name] = self.pods[name]
            del self.pods[name]
            self.ready.pop(name, None)
            yield f"delete {name}"
        self.records &= made.records

    def _tell(self, made: Plan) -> str:
        self.state = self.state if made.state == self.state else self._written(made.state)
        names = [one.target.name for one in self.state.challengers]
        small = [name for name in names if self._small(self.state, name)]
        self.behind = {name: self.behind.get(name, self.now) for name in small}
        self.events += [note.reason for note in made.events]
        return "status"

    def _grow(self, child: Child) -> Iterator[str]:
        name = child.target.name
        if child.replicas is None:
            self.pods.setdefault(name, 0)  # of no pods, and superseded before it was made
            return
        self.records.add(child.record)
        if name not in self.pods or child.replicas > self.pods[name]:
            self.pods[name] = child.replicas
            yield f"grow {name}"

    def _shrink(self, child: Child) -> Iterator[str]:
        name = child.target.name
        less = self.pods.get(name, 0) - (child.replicas or 0)
        if child.replicas is None or less <= 0:
            return
        if self.slow:
            self.ending[name] = less
        self.pods[name] = child.replicas
        self.ready[name] = min(self.ready.get(name, 0), child.replicas)
        yield f"shrink {name}"

    def _check_status(self, before: State, after: State) -> None:
        weights = [share.weight for share in after.traffic]
        assert not weights or sum(weights) == 100
        assert all(isinstance(weight, int) and 0 <= weight <= 100 for weight in weights)
        assert len({share.target.name for share in after.traffic}) == len(weights) <= 24
        for candidate in after.challengers:
            name = candidate.target.name
            weight, ready = after.weight(name), self.ready.get(name, 0)
            assert after.stable is None or candidate.target != after.stable
            full = need(weight, self.policy.replicas)
            if weight > before.weight(name):
                assert ready >= full, "weight before pods"
                self.enough[name] = full
            elif weight and after.stable is not None:
                if ready >= full:
                    self.enough[name] = min(full, self.enough.get(name, full))
                follows = ready >= self.enough.get(name, full)
                assert follows or not self._small(after, name), "more weight than ready pods carry"
            waited = self.now - self.behind.get(name, self.now)
            late = self._small(after, name) and waited >= self.policy.progress_deadline
            assert not late, "a challenger did not follow its champion, and keeps what it has"
            mirror = after.reach_of(candidate.target).mirror
            more = mirror > before.reach_of(candidate.target).mirror
            assert not more or ready >= need(mirror, self.policy.replicas), "copies before pods"
            assert not mirror or not weight, "copies beside a weight"
        self._check_pause(before, after)
        self._check_champion(before, after)
        self._check_users(before, after)
        for share in before.traffic:
            if share.target.name not in {one.target.name for one in after.traffic}:
                in_force = [one.get(share.target.name, 0) for one in self.routers]
                assert not any(in_force), "a revision was forgotten while a router still sends to it"
                self._check_drained(share, after)
        if after.stable != before.stable and before.stable is not None and after.stable is not None:
            least, name = self.policy.replicas, after.stable.name
            # The old one carried all traffic, or none of it, with what it had ready.
            carried = max(1, self.ready.get(before.stable.name, 0))
            if after.stable in [one.target for one in before.challengers]:
                carried = max(self.enough.get(name, least), carried)
            least = min(least, carried)
            assert self.ready.get(name, 0) >= least, "a champion without pods"

    def _check_drained(self, share: Share, after: State) -> None:
        """Who is forgotten has answered everything, as far as that was read, or had its time for it."""
        began, most = share.draining_since, OUTGOING - len(after.leaving)
        over = began is not None and self.now - began >= DRAIN
        answered = self.active is None or self.active.get(share.target.name) == 0
        assert answered or over or len(left(after)) >= most, "pods went with requests under way"

    def _small(self, state: State, name: str) -> bool:
        """Whether a challenger's ready pods are too few for what it gets beside the champion's ready ones."""
        share = next((one for one in state.traffic if one.target.name == name), None)
        if share is None or state.stable is None:
            return False
        demand = min(self.policy.replicas, max(1, self.ready.get(state.stable.name, 0)))
        most = max(share.weight, share.mirror)
        return bool(most) and self.ready.get(name, 0) < need(most, demand)

    def _check_ready(self, before: State, made: Plan, observed: Observed) -> None:
        """Ready says that requests are answered, which takes a ready pod behind what each router acts on.

        Routers are read while something is under way, as the controller does.
        """
        if before.candidate is None and before.verified:
            observed = replace(observed, in_force=None)
        routers = len(self.routers)
        report = Report(
            made, self.policy, observed, before, self.now, routers=routers, pods=0, selector="", url=""
        )
        ready = next(one for one in conditions(report) if one.type == "Ready")
        for one in self.routers if ready.status else ():
            able = [name for name, weight in one.items() if weight and self.ready.get(name)]
            assert able, f"{ready.message}, but a router sends to {one} and ready are {self.ready}"

    def _check_pause(self, before: State, after: State) -> None:
        """Nobody gets more in it than they had at its beginning."""
        if before.step is None or after.step is None or not (before.step.paused and after.step.paused):
            return
        kept = {mine.candidate: mine.step.kept_weight for mine in seats(before) if mine.step}
        for one in after.challengers:
            assert after.weight(one.target.name) <= (kept.get(one) or 0), "a pause let weight rise"

    def _check_users(self, before: State, after: State) -> None:
        """Each has as many percent of users as its weight, and no challenger's go to another one, but for
        what nobody else has to give.
        """
        if after.traffic == before.traffic:
            return  # nobody moved, and who has whom was seen when it came to be
        now = {one.target.name for one in after.challengers}
        trial = {one.target.name for one in before.challengers} & now
        had, has = ({percent: owner for owner, percent in users(state)} for state in (before, after))
        if has:
            found = Counter(has.values())
            assert {name: found[name] for name in found} == {
                share.target.name: share.weight for share in after.traffic if share.weight
            }
            assert sorted(has) == list(range(100))
        crossed = [percent for percent in had if had[percent] != has.get(percent, had[percent])]
        crossed = [percent for percent in crossed if {had[percent], has[percent]} <= trial]
        taken = sum(max(0, after.weight(name) - before.weight(name)) for name in now)
        free = 100 - sum(before.weight(name) for name in now)
        assert len(crossed) <= max(0, taken - free), "a user moved from arm to arm"

    def _check_champion(self, before: State, after: State) -> None:
        """It gets no more than its ready pods carry of today's traffic, but for what was taken from a version
        that failed or lost its pods.
        """
        if after.stable is None or after.stable != before.stable:
            return
        name, lost = after.stable.name, 0
        for share in before.traffic:
            ready, weight = self.ready.get(share.target.name, 0), after.weight(share.target.name)
            if share.target != after.stable and weight < share.weight:
                small = ready < need(share.weight, min(self.policy.replicas, self.ready.get(name, 0) or 1))
                lost += share.weight - weight if small or after.failed(share.target) else 0
        # Versions give theirs one after the other, and whoever gave everything keeps no pod busy any more: of
        # those only the last one counts, and none where the last one to give kept some.
        sent = {share.target.name: share.weight for share in before.traffic if share.weight}
        busy = {one: self.ready.get(one, 0) for one in sent}
        gone = [busy.pop(one) for one in sent if one != name and not after.weight(one)]
        kept = any(after.weight(one) < sent[one] for one in busy if one != name)
        last = 0 if kept else min(gone, default=0)
        demand = min(self.policy.replicas, max(1, sum(busy.values()) + last))
        gain = after.weight(name) - before.weight(name)
        carries = self.ready.get(name, 0) >= need(after.weight(name), demand)
        assert gain <= lost or carries, "the champion has more weight than its ready pods carry"

    def _waits_for_room(self, there: Counter[str]) -> bool:
        """Whether the champion has no ready pod and somebody else's pods were there where one copy fits."""
        stable = self.state.stable
        stays = self.state.candidate or self.state.previous
        if stable is None or not self.policy.recreate or stays or self.ready.get(stable.name):
            return False
        return any(count for name, count in there.items() if name != stable.name)

    def taking_room(self) -> Counter[str]:
        """Pods by revision, those that end included."""
        return Counter(self.pods) + Counter(self.ending)

    def _check_gone(self) -> None:
        """Of no pods nobody answers, whoever requests are sent to."""
        for one in self.routers if self.state.stable is not None and self.policy.replicas else ():
            gone = [name for name, weight in one.items() if weight and name not in self.pods]
            assert not gone, "a router sends to a revision that is gone"

    def _check_capacity(self, made: Plan, there: Counter[str]) -> None:
        """`there` are the pods, by revision, that took room when the plan was made; what grows has grown."""
        for one in self.routers:
            for name, weight in one.items():
                first = self.state.stable is None
                least = min(need(weight, self.policy.replicas), sharing(self.policy, weight))
                small = self.pods.get(name, 0) < least
                first = first or self.policy.recreate
                asked = {child.target.name for child in made.children if child.replicas is not None}
                ends = name not in asked and not self.state.weight(name)
                assert not weight or first or ends or not small, (
                    "a router sends more than a revision may grow to"
                )
        if self.state.stable is not None:
            alone = self.policy.recreate and self.state.step is not None and self.state.step.recreate
            full = self.pods[self.state.stable.name] >= self.policy.replicas
            assert full or alone or self._waits_for_room(there), "the champion was scaled down"
            if alone and self.slow:
                taking = [*self.taking_room()]
                challenger = self.state.candidate.target.name if self.state.candidate else ""
                assert not self.pods.get(challenger) or taking == [challenger], "two where one copy fits"
        if self.state.previous is not None:
            assert self.pods[self.state.previous.target.name] >= self.policy.replicas


def users(state: State) -> list[tuple[str, int]]:
    """Who has each percent of users, where that is said."""
    return [
        (share.target.name, percent)
        for share in state.traffic
        for start, end in share.ranges
        for percent in range(start, end + 1)
    ]


def _copied(value: Any) -> Any:
    """What tests change in place a second time; the rest never changes."""
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_copied(one) for one in value]
    return set(value) if isinstance(value, set) else value


MADE: dict[str, World] = {}
"""Worlds that many tests begin with, by what was asked for."""


def once(make: Callable[..., World], policy: Policy | None, *options: Any) -> World:
    """A world of its own for each caller, of those that are made once."""
    asked = f"{make.__name__} {policy} {options}"  # policies have no hash: arguments of a query are a mapping
    if asked not in MADE:
        MADE[asked] = make(policy, *options)
    return MADE[asked].fork()


def serving(number: int = 1, policy: Policy | None = None) -> World:
    """A world in which version `number` has all traffic and all its pods."""
    return once(_served, policy, number)


def _served(policy: Policy | None, number: int) -> World:
    world = World(policy)
    world.approve(number)
    world.settle()
    assert world.state.stable == revision(number)
    assert world.state.verified
    return world


def canary(policy: Policy | None = None) -> World:
    """Version 1 serves, version 2 has the weight of the first step in force."""
    return once(_begun, policy)


def _begun(policy: Policy | None) -> World:
    world = serving(1, policy)
    world.approve(2)
    world.settle()
    return world


def report(world: World, **changes: Any) -> Report:
    """What a pass tells, beside what it decided."""
    before = world.state
    made = world.reconcile()
    found = Report(
        plan=made,
        policy=world.policy,
        observed=world.observed(),
        before=before,
        routers=len(world.routers),
        pods=2,
        selector="a=b",
        url="http://d",
        now=world.now,
    )
    return replace(found, **changes)
