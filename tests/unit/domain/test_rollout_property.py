"""Whatever happens, in whatever order: what must always be true of a rollout holds after every write.

`World` checks capacity, weights and the champion at each write; the machine adds idempotence, obedience and
that every story ends well once the world is quiet.
"""

from __future__ import annotations

from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.domain.rollout_world import SERVER_UNREAD, World, seconds, serving

from noria_operator.api.names import version_number
from noria_operator.domain.disagreement import DisagreementPolicy, Paired, Pairs
from noria_operator.domain.rollout_commands import COMMANDS
from noria_operator.domain.rollout_policy import Arm, Experiment, Policy, PolicyStep
from noria_operator.domain.rollout_state import Reach, Revision, State
from noria_operator.domain.rollout_target import choose
from noria_operator.domain.rollout_words import Happened

MINUTE = timedelta(minutes=1)
PAIRS = st.sampled_from([Pairs(), Pairs(20, 0, 0.5), Pairs(200, 3), Pairs(100, 60, 6.0)])
STEPS = st.sampled_from(
    [
        (),
        (PolicyStep(10, min_requests=50), PolicyStep(50, MINUTE)),
        (PolicyStep(1), PolicyStep(99, seconds(20))),
        (
            PolicyStep(pause=True),
            PolicyStep(30, seconds(5)),
            PolicyStep(pause=True, duration=seconds(30)),
            PolicyStep(60),
        ),
        (PolicyStep(mirror=50, min_requests=20), PolicyStep(40, match=(("a", "b"),), gate=True)),
        (PolicyStep(replicas="100%", pause=True),),
        (PolicyStep(60, ramp_from=5, replicas="60%"), PolicyStep(80)),
    ]
)


def _arms(numbers: list[int]) -> st.SearchStrategy[tuple[Arm, ...]]:
    """One arm for each version, with weights that leave the champion some."""
    arms = st.tuples(
        *(
            st.builds(
                Arm,
                version=st.just(f"m-{number}"),
                weight=st.sampled_from([1, 5, 10, 24, 70]),
                match=st.sampled_from([(), (("a", "b"),)]),
                replicas=st.sampled_from([None, None, "100%"]),
            )
            for number in numbers
        )
    )
    return arms.filter(lambda arms: sum(arm.weight for arm in arms) < 100)


EXPERIMENTS = st.none() | st.builds(
    Experiment,
    arms=st.lists(st.integers(1, 5), min_size=2, max_size=4, unique=True).flatmap(_arms),
    duration=st.sampled_from([seconds(5), MINUTE]),
    min_requests=st.sampled_from([0, 50]),
    promote=st.sampled_from(["Sure", "Best", "Never"]),
)


class Rollouts(RuleBasedStateMachine):
    """Users, pods, routers and the operator, each doing what it likes."""

    @initialize(
        steps=STEPS,
        replicas=st.integers(0, 5),
        keep=st.sampled_from([0, 5]),
        by_pods=st.booleans(),
        patient=st.booleans(),
    )
    def begin(
        self, steps: tuple[PolicyStep, ...], replicas: int, keep: int, by_pods: bool, patient: bool
    ) -> None:
        self.world = World(
            Policy(
                replicas=replicas,
                steps=steps,
                keep_previous=keep * MINUTE,
                retry_limit=2,
                retry_delay=5 * MINUTE,
                by_pods=by_pods,
            )
        )
        self.world.patient = patient
        self.last = 0
        self.ids = 0

    @rule(crash=st.booleans() | st.integers(1, 6))
    def reconcile(self, crash: bool | int) -> None:
        """A crash comes after the status, or after any other write."""
        before = self.world.state
        self.world.reconcile(crash=crash)
        if self.world.policy.unread:
            self.nobody_goes_further(before)
        if self.world.untold:
            return  # the next one sees other pods than this one did
        again = self.world.decide(read_back=False)
        assert again.state == self.world.plan.state, "planning twice must change nothing"
        assert again.events == () or self.world.state == State(), "what is put off is told once"

    def nobody_goes_further(self, before: State) -> None:
        """By itself, but to where a person went back."""
        state = self.world.state
        back = {state.undo.target} if state.undo else set()
        assert {one.target for one in state.challengers} - {one.target for one in before.challengers} <= back
        for one in state.challengers:
            if one.target not in back and state.step and not state.step.released:
                assert state.weight(one.target.name) <= before.weight(one.target.name)

    @rule(unread=st.sampled_from(["", "spec.newer", SERVER_UNREAD]))
    def another_release_leads(self, unread: str) -> None:
        """One that cannot read the spec whole, or one that can."""
        self.world.edit(unread=unread)

    @rule()
    def approve_a_new_version(self) -> None:
        self.last += 1
        self.world.approve(self.last)

    @precondition(lambda self: self.last)
    @rule(
        data=st.data(),
        phase=st.sampled_from(["Approved", "Rejected"]),
        config=st.sampled_from(["aaaaaa", "bbbbbb"]),
    )
    def change_a_version(self, data: st.DataObject, phase: str, config: str) -> None:
        self.world.approve(data.draw(st.integers(1, self.last)), phase, config)

    @rule(data=st.data())
    def pin_or_follow(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, self.last))
        self.world.edit(pinned=f"m-{number}" if number else None, experiment=None)

    @rule(replicas=st.integers(0, 6))
    def scale(self, replicas: int) -> None:
        self.world.edit(replicas=replicas)

    @rule(recreate=st.booleans())
    def edit_type(self, recreate: bool) -> None:
        self.world.edit(recreate=recreate, **({"steps": (), "experiment": None} if recreate else {}))

    @rule(experiment=EXPERIMENTS)
    def edit_experiment(self, experiment: Experiment | None) -> None:
        """It goes with no pin, no Recreate, and no division by pods."""
        policy = self.world.policy
        if not (policy.by_pods or policy.recreate or policy.pinned):
            self.world.edit(experiment=experiment)

    @rule(steps=STEPS)
    def edit_steps(self, steps: tuple[PolicyStep, ...]) -> None:
        self.world.edit(steps=steps)

    @rule(command=st.sampled_from(sorted(COMMANDS)))
    def command(self, command: str) -> None:
        self.ids += 1
        champion, losers = self.world.state.stable, self.world.state.challengers
        self.world.commands[command] = str(self.ids)
        made = self.world.reconcile()
        assert self.world.state.commands[command] == str(self.ids)
        for loser in losers if command == "abort" and champion is not None else ():
            assert loser not in self.world.state.challengers
            assert self.world.state.is_rejected(loser.target)
            assert self.world.state.weight(loser.target.name) == 0
        if Happened.UNDONE in [note.reason for note in made.events]:
            self.is_undone()
        if command == "restart" and champion is not None and champion == self.world.state.stable:
            assert self.world.state.restarts[champion.name] == str(self.ids)

    @precondition(lambda self: self.last)
    @rule(data=st.data())
    def undo_to(self, data: st.DataObject) -> None:
        self.ids += 1
        self.world.commands["undo"] = f"m-{data.draw(st.integers(1, self.last))}@{self.ids}"
        if Happened.UNDONE in [note.reason for note in self.world.reconcile().events]:
            self.is_undone()

    def is_undone(self) -> None:
        """Nobody but the champion and what was gone back to has, or gets, any traffic."""
        state = self.world.state
        if state.undo is None:  # an experiment is over, and what was gone back to is what the spec asks for
            weighted = [one.target for one in state.traffic if one.weight]
            assert not state.others
            assert all(state.lost(one) or state.is_rejected(one) for one in weighted if one != state.stable)
            return
        assert not state.is_rejected(state.undo.target)
        target, left = choose(self.world.policy, state, self.world.seen()), state.undo.left
        # What an experiment kept waiting is followed after it, as ever what is newer than what was left.
        follows = self.world.policy.experiment and target.revision in self.newer(left)
        assert follows or target.revision == state.undo.target
        assert {one.target for one in state.traffic if one.weight} <= {state.stable, state.undo.target}

    def newer(self, left: Revision) -> set[Revision]:
        number = version_number(left.version)
        return {one.target for one in self.world.versions.values() if one.number > number}

    @precondition(lambda self: self.world.state.others)
    @rule(data=st.data())
    def choose_an_arm(self, data: st.DataObject) -> None:
        self.ids += 1
        arms = [one.target.version for one in self.world.state.challengers]
        self.world.commands["promote"] = f"{data.draw(st.sampled_from(arms))}@{self.ids}"
        self.world.reconcile()

    @rule()
    def pods_become_ready(self) -> None:
        self.world.become_ready()

    @precondition(lambda self: self.world.pods)
    @rule(data=st.data(), left=st.integers(0, 2))
    def pods_are_lost(self, data: st.DataObject, left: int) -> None:
        self.world.lose_pods(data.draw(st.sampled_from(sorted(self.world.pods))), left)
        self.world.reconcile()

    @rule()
    def the_first_status_is_put_off_no_more(self) -> None:
        """A second has passed, or routers ask an operator of before."""
        self.world.patient = False

    @rule(index=st.integers(0, 1))
    def a_router_follows(self, index: int) -> None:
        self.world.router_follows(index)

    @rule(active=st.sampled_from([None, 0, 1]))
    def requests_are_under_way(self, active: int | None) -> None:
        self.world.active = None if active is None else dict.fromkeys(self.world.pods, active)

    @rule(readable=st.booleans())
    def counts(self, readable: bool) -> None:
        self.world.readable = readable

    @rule(requests=st.sampled_from([0, 10, 1000]), share=st.sampled_from([0.0, 0.5]))
    def traffic(self, requests: int, share: float) -> None:
        for one in self.world.state.challengers[:1]:
            name = one.target.name
            weight = self.world.routers[0].get(name, 0)
            self.world.send(requests, {name: int(share * requests * weight / 100)} if weight else None)

    @rule(span=st.sampled_from([1, 10, 60, 700, 4000]))
    def time_passes(self, span: int) -> None:
        self.world.pass_time(seconds(span))

    @invariant()
    def a_rejected_revision_is_never_the_challenger(self) -> None:
        state = self.world.state
        assert not any(state.is_rejected(one.target) for one in state.challengers)

    def teardown(self) -> None:
        """Once pods, routers and counts do what they should, no request is left under way and no more answers
        are compared, every rollout comes to rest at a served version.
        """
        if not hasattr(self, "world"):
            return
        world = self.world
        world.readable, world.active, world.paired = True, None, None
        world.edit(unread="")
        world.settle()
        world.edit(experiment=None)
        world.settle()
        world.commands["promote-full"] = "last"
        world.settle(40)
        state = world.state
        assert state.candidate is None
        assert state.verified
        if state.stable is not None:
            assert state.weight(state.stable.name) == 100


class Unattended(Rollouts):
    """The same, and then good traffic alone: nobody promotes, only pauses are ended."""

    def teardown(self) -> None:
        """Every rollout comes to rest at the version that is wanted."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.readable = True
        world.commands.clear()
        # Of no pods nobody is judged.
        world.edit(experiment=None, replicas=max(1, world.policy.replicas), unread="")
        for count in range(10):
            world.commands["resume"] = f"last-{count}"
            world.run(3, requests=1000)
        target = choose(world.policy, world.state, tuple(world.versions.values()))
        assert (world.state.candidate, world.state.stable) == (None, target.revision)
        assert world.state.verified


class Arms(Rollouts):
    """The same, beginning where four versions may be compared with the one that serves."""

    @initialize(experiment=EXPERIMENTS, replicas=st.integers(1, 5))
    def begin(self, experiment: Experiment | None, replicas: int) -> None:
        steps = (PolicyStep(10, min_requests=50), PolicyStep(50, MINUTE))
        self.world = serving(1, Policy(replicas=replicas, steps=steps, keep_previous=MINUTE))
        self.ids, self.last = 0, 5
        for number in (2, 3, 4, 5):
            self.world.approve(number)
        self.world.edit(experiment=experiment)
        self.world.settle()

    def teardown(self) -> None:
        """Before it all comes to rest, the arms that are left have what the spec asks for."""
        if hasattr(self, "world"):
            self.world.readable = True
            self.world.commands.clear()
            self.world.edit(unread="")
            self.experiment_is_under_way()
        super().teardown()

    def experiment_is_under_way(self) -> None:
        """All arms that are left have exactly what the spec asks for."""
        world = self.world
        world.settle(40)  # a hold that is over pauses it here at the latest
        world.commands["resume"] = "experiment"
        world.settle(40)
        state, target = world.state, choose(world.policy, world.state, tuple(world.versions.values()))
        if not target.arms or not world.policy.replicas or state.step is None or state.step.released:
            return
        assert {one.target for one in state.challengers} == set(target.arms)
        asked = {arm.version: arm for arm in world.policy.experiment.arms} if world.policy.experiment else {}
        for one in target.arms:
            arm = asked[one.version]
            assert state.reach_of(one) == Reach(arm.weight, match=arm.match)


class Shadowed(Rollouts):
    """The same, where the challenger gets copies first and its answers are compared."""

    @initialize(replicas=st.integers(0, 5), copies=st.sampled_from([30, 100]))
    def begin(self, replicas: int, copies: int) -> None:
        steps = (PolicyStep(mirror=copies, duration=seconds(20)), PolicyStep(40, MINUTE))
        self.world = World(Policy(replicas=replicas, steps=steps, disagreement=DisagreementPolicy()))
        self.last = self.ids = 0

    @rule(paired=st.none() | st.builds(Paired, st.sampled_from("ab"), PAIRS, st.booleans()))
    def answers_are_compared(self, paired: Paired | None) -> None:
        self.world.paired = paired


Rollouts.TestCase.settings = settings(stateful_step_count=40)
Unattended.TestCase.settings = settings(stateful_step_count=30)
Shadowed.TestCase.settings = settings(stateful_step_count=30)
Arms.TestCase.settings = settings(stateful_step_count=30)
test_everything_that_must_always_hold_holds_after_every_write = Rollouts.TestCase
test_the_same_holds_for_several_challengers_at_once = Arms.TestCase
test_good_traffic_alone_brings_every_rollout_to_its_end = Unattended.TestCase
test_the_same_holds_where_answers_to_copies_are_compared = Shadowed.TestCase
