"""Galactic's card: what the paper is, its arms and claims, its configuration at every scale."""

from dataclasses import dataclass, replace
from typing import Literal

from vislab.cards import Arm, Claim, DataSet, Paper, Part, Reported, metric


@dataclass(frozen=True)
class Config:
    """Everything that a run of Galactic depends on."""

    task: Literal["pick", "rearrange_safe", "rearrange"] = "rearrange"
    """Pick the target up; also put it down at the goal, where a wrong drop cannot happen; or ends the episode, and so does a stop."""
    sensors: Literal["rgbd", "depth", "none", "boxes"] = "rgbd"
    """What the policy gets beside its state: a picture, nothing, or (not for robots) the furniture itself."""
    skills: Literal["one", "modular"] = "one"
    """One network for everything, or a network a skill (go, pick, carry, place), switched by a rule."""
    source: Literal["world", "replicacad"] = "replicacad"
    """Procedural rooms, or the released episode sets in ReplicaCAD's apartments."""
    held_out: tuple[str, ...] = ("Baked_sc3", "Baked_sc4")
    """ReplicaCAD: layouts whose names begin so are kept for evaluation."""
    arm: Literal["planar", "fetch"] = "fetch"
    """Three joints, or Fetch's seven."""
    rooms: int = 512
    """World: rooms of a split, shared by its episodes."""
    room_size: float = 16.0
    """Side of a room, or of the square that holds an apartment, metres."""
    furniture: int = 64
    """Pieces of furniture, or of the solid boxes that stand for an apartment."""
    objects: int = 33
    """Movable objects, the first is the target."""
    blocked: bool = True
    """World: start behind furniture, seen from the target, where the room has such a place."""
    collision: Literal["grid", "boxes"] = "grid"
    """Test the robot against column grids (approximate), or against every box (exact)."""
    cell: float = 0.1
    """Side of a cell of the column grids, metres."""
    image_size: int = 128
    """Height and width of the head camera's picture in pixels."""
    max_depth: float = 10.0
    """Depth is divided by this and cut at 1, metres."""
    episode_limit: int = 500
    """Steps after which an episode ends."""
    reward_progress: float = 1.0
    """Reward for every metre that the end effector comes nearer to the target, or the target to the goal."""
    reward_pick: float = 5.0
    """Reward for picking the target up, where more is to be done."""
    reward_success: float = 10.0
    """Reward for success, which ends the episode."""
    penalty_failure: float = 0.0
    """Price of a wrong pick, a wrong drop or a wrong stop, which end the episode."""
    penalty_collision: float = 0.0
    """Price of a step in which base or arm was held up."""
    penalty_action: float = 0.0
    """Price of the squared change of the action from one step to the next."""
    width: int = 512
    """Width of the LSTM and of what goes into it."""
    planes: int = 32
    """Channels of the picture's first stage, doubled in each further one."""
    depth: int = 4
    """Stages of the picture's network, one block each."""
    patch: int = 4
    """Side of the squares of pixels that the stem folds into channels."""
    squeeze: int = 16
    """Channels for one unit of the small network that scales channels."""
    visual: int = 1024
    """Numbers that the picture's network ends in."""
    first_std: float = 0.6
    """Standard deviation of every action before training."""
    rollout: int = 32
    """Steps of every environment between two updates."""
    epochs: int = 1
    """Passes over a rollout."""
    minibatches: int = 2
    """Parts of the environments, one optimisation step each."""
    discount: float = 0.99
    """Discount of a reward one step later."""
    smoothing: float = 0.95
    """Weight of longer returns in the advantages (lambda)."""
    clip: float = 0.2
    """How far a probability ratio counts."""
    weight_value: float = 0.5
    """Weight of the value loss."""
    weight_entropy: float = 0.0
    """Weight of the entropy bonus."""
    overlap: Literal["none", "halves"] = "halves"
    """Simulate and infer in turn, or one half of the environments simulates while the policy handles the other."""
    steps: int = 1220703
    """Updates (5 billion environment steps with 128 environments)."""
    step_factor: float = 1.0
    """Updates of this run over `steps`, for smaller budgets of experience."""
    batch_size: int = 128
    """Environments on a device."""
    learning_rate: float = 2.5e-4
    """Learning rate of Adam."""
    grad_clip: float = 1.0
    """Largest norm of the gradient."""
    train_items: int = 10000
    """Training episodes."""
    validation_items: int = 200
    """Validation episodes."""
    test_items: int = 1000
    """Test episodes."""
    curve_points: int = 12
    """Evaluations on validation episodes along the way, evenly spread over the logarithm of the steps."""


_TUTORIAL = Config(
    task="rearrange_safe", sensors="depth", source="world", arm="planar", rooms=64, room_size=4.0, furniture=5, objects=2,
    image_size=8, max_depth=4.0, episode_limit=150, width=64, planes=16, depth=1, squeeze=4, visual=64, minibatches=4,
    overlap="none", steps=160, batch_size=256, learning_rate=4e-3, test_items=400,
)  # fmt: skip

PROFILES = {
    "smoke": replace(
        _TUTORIAL, steps=3, rollout=8, batch_size=18, rooms=4, episode_limit=12, train_items=24, validation_items=8, test_items=8,
        curve_points=2, width=16, minibatches=2,
    ),
    "tutorial": _TUTORIAL,
    "gpu": replace(
        _TUTORIAL, task="rearrange", sensors="rgbd", rooms=512, objects=6, image_size=32, planes=32, depth=3, width=256, visual=512,
        episode_limit=200, batch_size=1024, overlap="halves", steps=3000, learning_rate=1e-3, test_items=1000,
    ),
    "paper": Config(),
}  # fmt: skip

BENCH = {"batch_size": 4}
"""An update of 128 environments takes a CPU minutes at the paper's picture size."""
BENCH_WORLD = {"room_size": 4.0, "furniture": 8, "rooms": 64}
"""The world's rooms are smaller than an apartment."""

METRICS = (
    metric("success"),
    metric("success_pick"),
    metric("experience_pick"),
    metric("seconds_pick", digits=1),
    metric("workers"),
    metric("speedup_simulation"),
    metric("speedup_training"),
    metric("speedup_pick"),
    metric("speedup_overlap"),
    metric("speedup_grid"),
    metric("speedup_blind"),
    metric("speedup_small"),
    metric("throughput_simulation_batched"),
    metric("throughput_simulation_workers"),
    metric("throughput_training_batched"),
    metric("throughput_training_workers"),
    *(metric(f"throughput_{what}_{n}") for what in ("simulation", "training") for n in (1, 4, 16, 64, 256, 1024)),
)

_DEAR = ("smoke", "gpu", "paper")
ARMS = (
    Arm("galactic", "one network for the whole rearrangement, trained with all steps: the paper's method", "method"),
    Arm("tenth", "the same with a tenth of the steps", "baseline", {"step_factor": 0.1}, tuned={"learning_rate": 2e-3}),
    Arm("hundredth", "the same with a hundredth of the steps", "baseline", {"step_factor": 0.01}, tuned={"learning_rate": 2e-3}),
    Arm("pick", "the same network trained to pick the target up, nothing more", "baseline", {"task": "pick", "step_factor": 0.6}),
    Arm("blind", "without any picture", "ablation", {"sensors": "none"}),
    Arm("furniture", "all furniture as numbers in place of a picture: a policy that knows too much", "ablation", {"sensors": "boxes"}),
    Arm("exact", "collisions with every box in place of column grids", "ablation", {"collision": "boxes"}),
    Arm("stop", "a wrong drop ends the episode, and the policy must say stop: the paper's hardest variant", "ablation",
        {"task": "rearrange"}),
    Arm("colour", "colour beside depth", "ablation", {"sensors": "rgbd"}),
    Arm("modular", "a network a skill, switched by a rule", "ablation", {"skills": "modular"},
        profiles=_DEAR, why="four networks cost four times the learning"),
)  # fmt: skip


def _over_80(seed) -> float:
    """Percentage points of picks above the paper's 80."""
    return seed["pick"]["success_pick"] - 80.0


CLAIMS = (
    Claim(
        "gal-1",
        "Simulation and rendering of all environments in one batch is many times faster than in worker processes.",
        "421,194 steps a second on 8 GPUs, 54 times Habitat 2.0; 54,966 on one (abstract, table 1)",
        (
            Part("ratio", "speedup_simulation", ("compare",), "steps a second without learning, batched over worker processes",
                smallest=54.0),
        ),
    ),
    Claim(
        "gal-2",
        "So is training.",
        "108,806 steps a second with learning on 8 GPUs, 80 to 88 times Habitat 2.0; 14,807 on one (abstract, table 1)",
        (
            Part("ratio", "speedup_training", ("compare",), "steps a second with learning, batched over worker processes", smallest=80.0),
        ),
    ),
    Claim(
        "gal-3",
        "Mobile picking is learnt to more than 80% in minutes in place of a day.",
        "under 16 minutes, 100 times faster (abstract)",
        (
            Part("difference", "success_pick", ("pick",), "picks in unseen rooms above 80%", reduce=_over_80),
            Part("ratio", "speedup_pick", ("compare",), "time to 80%, worker processes over batched: that of as many equal steps",
                smallest=100.0),
        ),
    ),
    Claim(
        "gal-4",
        "More experience, and nothing else, lifts rearrangement from failure to success.",
        "from 0% to 85% success with 5 billion steps (abstract)",
        (
            Part("difference", "success", ("galactic", "hundredth"), "success in unseen rooms against a hundredth of the steps"),
            Part("trend", "success", ("hundredth", "tenth", "galactic"), "per cent a tenfold of the steps", x=(-2.0, -1.0, 0.0)),
        ),
    ),
)  # fmt: skip

DATASETS = (
    DataSet(
        "ReplicaCAD rearrangement episodes",
        "replicacad",
        "replicacad/train/tidy_house_10k_1k_v1.episode_set.json\n"
        "replicacad/columngrids/Baked_sc0_staging_00.0.columngrid ... (one a static scene that the episodes name)",
        "https://github.com/facebookresearch/galactic",
        ("success", "success_pick"),
    ),
)

_JUDGED = ("galactic", "tenth", "hundredth", "pick")
TUNING = dict.fromkeys(_JUDGED, {"learning_rate": (2e-3, 4e-3, 8e-3)})
TUNING_METRIC = "success"

PAPER = Paper(
    slug="galactic",
    part="agents",
    title="Galactic: Scaling End-to-End Reinforcement Learning for Rearrangement at 100k Steps-Per-Second",
    first_author="Berges",
    year=2023,
    summary=(
        "All environments of a device are simulated and rendered in one batch with kinematic motion and approximate collisions; "
        "with that many steps one plain recurrent policy learns to go, pick, carry and place."
    ),
    links={"code": "https://github.com/facebookresearch/galactic"},
    reported=(
        Reported("success", 85.0, "rearrangement, 5 billion steps", "%"),
        Reported("success_pick", 80.0, "mobile pick in under 16 minutes, more than", "%"),
        Reported("throughput_simulation_batched", 54966, "simulation and rendering, one V100", "steps/s"),
        Reported("throughput_training_batched", 14807, "training, one V100", "steps/s"),
        Reported("throughput_simulation_batched", 421194, "simulation and rendering, eight V100", "steps/s"),
        Reported("throughput_training_batched", 108806, "training, eight V100", "steps/s"),
        Reported("throughput_simulation_workers", 7699, "Habitat 2.0, eight 2080 Ti", "steps/s"),
        Reported("throughput_training_workers", 1243, "Habitat 2.0, eight 2080 Ti", "steps/s"),
    ),
    metrics=METRICS,
    arms=ARMS,
    claims=CLAIMS,
    config=Config,
    profiles=PROFILES,
    datasets=DATASETS,
    compares=True,
    descends="shortfall",
)
