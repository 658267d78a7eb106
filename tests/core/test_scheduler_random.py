"""Random arrivals, forks, aborts, failed steps and tiny pools; the harness checks every step."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from redline.core.sequence import Status
from redline.errors import CapacityError
from tests.core.harness import ORDERS, FakeTier, Harness

REPEATABLE = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}

policies = {
    "prompt_share": st.sampled_from([1.0, 1.0, 0.5, 0.1]),
    "prefill_first": st.sampled_from([False, False, True]),
    "batching": st.sampled_from(["continuous", "continuous", "closed"]),
    "order": st.sampled_from([*ORDERS, "longest_prefix"]),
    "step_s": st.sampled_from([None, None, 0.5]),
    "guess": st.just(lambda seq: [])
    | st.builds(
        lambda random, most: lambda seq: random.choices([0, 1, 2], k=random.randint(0, most)),
        st.randoms(use_true_random=True),
        st.sampled_from([1, 3, 9]),
    ),
    "num_branches": st.sampled_from([1, 2, 4]),
}
windows = st.sampled_from(
    [((0, 0),), ((0, 0),), ((0, 0), (7, 0)), ((0, 2), (9, 4), (1, 0)), ((6, 0),), ((12, 0), (3, 2))]
)
tiers = st.none() | st.builds(
    lambda random, rate: FakeTier(lambda: random.random() < rate),
    st.randoms(use_true_random=True),
    st.sampled_from([0.0, 0.0, 0.2]),
)
configs = st.fixed_dictionaries(
    {
        "num_blocks": st.integers(3, 24),
        "block_size": st.integers(1, 5),
        "max_batch": st.integers(1, 9),
        "token_budget": st.none() | st.integers(1, 20),
        "max_context": st.integers(10, 60),
        "prefix_cache": st.booleans(),
        "windows": windows,
        "tier": tiers,
        **policies,
    }
)
busy_configs = st.fixed_dictionaries(
    {
        "num_blocks": st.integers(16, 40),
        "block_size": st.integers(2, 5),
        "max_batch": st.integers(2, 12),
        "token_budget": st.none() | st.integers(4, 40),
        "max_context": st.integers(40, 80),
        "prefix_cache": st.booleans(),
        "windows": windows,
        "tier": tiers,
        **policies,
    }
)
token_ids = st.lists(st.integers(0, 1), min_size=1, max_size=16)
salts = st.sampled_from(["", "", "", "tenant"])


class SchedulerMachine(RuleBasedStateMachine):
    @initialize(config=configs)
    def start(self, config):
        self.harness = Harness(**config)

    @rule(
        prompt=token_ids,
        max_tokens=st.none() | st.integers(1, 20),
        seed=st.integers(0, 1),
        salt=salts,
        priority=st.sampled_from([0, 0, 1]),
        stop_after=st.none() | st.integers(1, 9),
        tenant=st.sampled_from(["", "", "other"]),
        deadline_s=st.none() | st.floats(0, 9),
        later_s=st.sampled_from([0.0, 1.0]),
    )
    def add(self, prompt, max_tokens, later_s, **options):
        self.harness.now_s += later_s
        try:
            self.harness.add(prompt, max_tokens, **options)
        except CapacityError:
            config = self.harness.scheduler.config
            smallest = min(pool.num_blocks * pool.block_size for pool in self.harness.pools)
            assert len(prompt) + (max_tokens or 1) > min(config.max_context, smallest)

    @rule(data=st.data(), num_added=st.integers(1, 12))
    def add_a_longer_version(self, data, num_added):
        if self.harness.seqs:
            seq = data.draw(st.sampled_from(self.harness.seqs))
            self.add(seq.token_ids + [0] * num_added, max_tokens=4, later_s=1.0, salt=seq.salt)

    @rule(num_steps=st.integers(1, 6))
    def step(self, num_steps):
        for _ in range(num_steps):
            self.harness.step()

    @rule(data=st.data())
    def step_interrupted(self, data):
        actions = st.lists(st.sampled_from([self.abort, self.fork, self.fork]), min_size=1, max_size=4)
        self.harness.step(lambda: [action(data) for action in data.draw(actions)])

    @rule()
    def step_that_fails(self):
        self.harness.step(fails=True)

    @rule(data=st.data())
    def abort(self, data):
        if self.harness.live:
            self.harness.abort(data.draw(st.sampled_from(list(self.harness.live.values()))))

    @rule(data=st.data())
    def fork(self, data):
        if self.harness.live:
            running = [seq for seq in self.harness.live.values() if seq.status is Status.RUNNING]
            parent = data.draw(st.sampled_from(running or list(self.harness.live.values())))
            num_outputs = data.draw(st.sampled_from([None, None, 0, len(parent.output_token_ids) // 2]))
            self.harness.fork(parent, num_outputs=num_outputs, seed=data.draw(st.integers(0, 3)))

    @rule(num_blocks=st.integers(1, 8), group=st.integers(0, 2))
    def evict(self, num_blocks, group):
        self.harness.prefix.evict(num_blocks, group % len(self.harness.pools))

    @rule(num_steps=st.integers(1, 8))
    def persist(self, num_steps):
        self.harness.prefix.persist(num_steps)

    @precondition(lambda self: hasattr(self, "harness"))
    @invariant()
    def integrity(self):
        self.harness.check()

    def teardown(self):
        if hasattr(self, "harness"):
            self.harness.run()
            assert all(seq.status is Status.FINISHED for seq in self.harness.seqs)
            self.harness.check_outputs()
            self.harness.check_idle()


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(max_examples=200, stateful_step_count=50, **REPEATABLE)


@settings(max_examples=100, **REPEATABLE)
@given(config=busy_configs, random=st.randoms(use_true_random=True))
def test_long_random_traffic(config, random):
    harness = Harness(**config)
    for _ in range(60):
        for _ in range(random.choice([0, 0, 1, 3])):
            _arrive(harness, random)
        _disturb(harness, random)
        harness.step(lambda: _disturb(harness, random), fails=random.random() < 0.02)
    harness.run()
    harness.check_outputs()
    harness.check_idle()


def _arrive(harness, random):
    harness.now_s += random.choice([0.0, 1.0])
    start = random.choice(harness.seqs).token_ids[: random.randrange(16)] if harness.seqs else []
    prompt = start + random.choices([0, 1], k=random.randrange(1, 12))
    try:
        options = {
            "salt": random.choice("aab"),
            "priority": random.choice([0, 0, 0, 1]),
            "tenant": random.choice("xxy"),
        }
        harness.add(prompt, random.randrange(1, 24), seed=random.randrange(2), **options)
    except CapacityError:
        return


def _disturb(harness, random):
    for seq in list(harness.live.values()):
        dice = random.random()
        if dice < 0.02:
            harness.abort(seq)
        elif dice < 0.1 and seq.status is Status.RUNNING:
            harness.fork(seq, seed=random.randrange(4))
