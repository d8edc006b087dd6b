"""Soft actor-critic learns tasks of a robot in turn: forgetting, transfer and memory of continual methods (CSP, 2023).

The paper's numbers are those of the interactive pages that its authors publish with their program.
"""

import copy
from collections.abc import Container, Iterator, Mapping
from typing import Any, NamedTuple

from pliant.core import registry
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.configuration.seeds import read_seeds
from pliant.problems.scenarios import continual_world
from pliant.problems.scenarios._sequence import EPISODES
from pliant.problems.scenarios._tasks import SCENARIOS, TASK_STEPS, Scenario
from pliant.report.recipe import Line, Measure, PanelSpec, Recipe, Scale, SequenceSpec

_LABELS = {
    "fine_tuning": "fine tuning (FT-1)",
    "from_scratch": "from scratch (SAC-N)",
    "l2_anchor": "L2 anchor (FT-L2)",
    "ewc": "EWC",
    "progressive": "progressive (PNN)",
    "packnet": "PackNet",
    "subspace": "subspace (CSP)",
    "rewire": "Rewire",
    "mas": "MAS",
    "si": "SI",
    "a_gem": "A-GEM",
    "lwf": "LwF",
    "replay": "replay",
}
_COPIES = "copies (FT-N)"
_REFERENCE = "from_scratch"


_SEEDS = {False: "3", True: "10"}
_SCALE = 0.03
_WIDE = 256  # units of a layer, published
_SHORT, _NARROW, _BATCH = 0.3, 64, 64  # fraction of the published length; units per layer and batch of shorter tasks
_FEWEST_ENVS = 4  # of a member in short runs
_STARTS = 0.05  # of a task, before the first update
# With the published rates, delays and temperature, the returns of so short tasks are those of random actions.
_FAST = {
    "learning_rate": 1e-3,
    "critic_learning_rate": 1e-3,
    "policy_delay": 1,
    "target_delay": 1,
    "initial_temperature": 0.1,
}
_EPISODES = 8  # of an evaluation of one task
_FEWER_EPISODES_BELOW = 0.025  # of the published length: evaluations would take longer than training
_FINETUNE = 100_000  # updates of PackNet after a task, published
_COLUMN = 0.375  # units of a column of progressive networks, as a part of the network's, published
_TRIAL = {"rewire": {"episodes": 4}, "subspace": {"estimations": 64}}  # of short runs
_PUBLISHED_SETTINGS = {  # of which runs may differ; `continual_settings` has the others
    "packnet": {"finetune": _FINETUNE},
    "progressive": {"width": 96},
    "rewire": {"episodes": 1280},
    "subspace": {"estimations": 1024},
}
_BINS = 4  # of a task, at most

# Average performance after eight tasks, by scenario.
_PUBLISHED = {
    "halfcheetah/forgetting": (0.95, 1.07, 1.37, 1.35, 1.0, 1.69, 1.68),
    "halfcheetah/transfer": (0.42, 0.37, 0.52, 0.87, 1.0, 0.97, 0.89),
    "halfcheetah/robustness": (0.36, 0.61, 0.66, 0.97, 1.0, 1.27, 0.84),
    "halfcheetah/compositionality": (1.28, 1.19, 1.38, 1.04, 1.0, 1.42, 1.48),
}
_PUBLISHED_OF = (
    *(_LABELS[name] for name in ("fine_tuning", "l2_anchor", "ewc", "progressive", "from_scratch", "subspace")),
    _COPIES,
)

_SHOWS = (
    "Soft actor-critic learns {} tasks of {} in turn, and is evaluated on all of them before the first and after each. "
    "A network that is trained further forgets. Fresh networks forget nothing, and transfer nothing. Each other method "
    "keeps something of earlier tasks (Gaya et al., ICLR 2023; Sun and Mu, NeurIPS 2023)."
)
_NOTES = (
    "Training: mean return over the episodes that ended in a bin; the agent explores, and an episode that the end of a "
    "task cuts short counts as it is. Weights: of actor and critics. Lines stand where a task begins.",
)
_RETURNS = (
    "Returns of greedy actions, means of {} episodes of each seed. From scratch: a fresh policy for each task; the "
    "critics go on, as published."
)
_OF_COPIES = (
    f"{_COPIES}: the network of {_LABELS['fine_tuning']} at the end of each task, stored for that task. Stored copies "
    "do not change how the network learns, so its numbers are computed from the returns of "
    f"{_LABELS['fine_tuning']} at the ends of tasks, and there is no run of its own."
)
_OF_SCENARIOS = {  # settings that are published for each scenario
    "l2_anchor": "the strength of the L2 anchor",
    "ewc": "the strength of EWC",
    "subspace": "distribution and repeat of CSP",
    "rewire": "temperature, noise, cycle, divergence and strength of Rewire",
}
_OF_ALL = {  # settings that are published for all scenarios
    "packnet": "the prune of PackNet",
    "progressive": "the first column of progressive networks, and the width of a column as a part of the network's",
}
_DEFAULTS = ("mas", "si", "a_gem", "lwf", "replay")  # methods that the published program lacks
_TRIALS = (
    "Steps in trials: the authors of Rewire do not count them. Those of CSP count 8,000 for each task, and train for "
    "8,000 steps less. Here each method trains for the same number of steps, and those in trials stand beside them."
)
_AGGREGATES = (
    "Over the four scenarios of HalfCheetah, on the normalized scale, the paper has a performance, forward transfer "
    "and forgetting of 0.75, 0.20 and -0.45 (FT-1), 0.81, 0.09 and -0.28 (FT-L2), 0.98, 0.14 and -0.28 (EWC), 1.06, "
    "0.06 and 0 (PNN), 1.22, 0.22 and 0 (FT-N), and 1.32, 0.31 and 0 (CSP)."
)
_ANOTHER_PROGRAM = (
    "The paper's numbers come from an earlier program of its authors, with another observation of 23 numbers, other "
    "learning rates and fresh critics for each task of SAC-N. Its PNN has columns as wide as a policy. The number of "
    "seeds is not stated. They are for the order of methods. Numbers of Rewire are not among them."
)
_NUMBERS_OF = {
    "continual_world/cw20": "The authors of Continual World report successes of 0.055 (fine-tuning), 0.433 (L2), 0.603 "
    "(EWC), 0.511 (MAS), 0.803 (PackNet), 0.070 (A-GEM) and 0.121 (replay), and a forgetting of 0.734 (fine-tuning), "
    "0.017 (L2), 0.021 (EWC) and 0 (PackNet), by another soft actor-critic, and with the sign reversed.",
}
_NO_NUMBERS = "No numbers of the authors are known for this scenario."
_ENGINE = (
    "The physics is today's MuJoCo and not the published engine: robots, rewards and observations differ, and returns "
    "cannot be compared."
)
_VERSION = (
    "The tasks are of MetaWorld's version 3 and not of version 1: rewards and observations differ, and neither returns "
    "nor successes can be compared."
)


class _Domain(NamedTuple):
    """A robot, or an arm, with its sequences of tasks; the numbers are published.

    Attributes:
        title: in sentences.
        problem: its name.
        scenarios: the sequences.
        task_steps: length of a task.
        num_envs: environments of a member.
        episode: steps of an episode, at most.
        published: what follows the name of the preset with the published engine and evaluations.
        of_scenario: the settings of methods that are published for each scenario, in words.
        success: whether episodes have a success.
        engine: what differs where the engine is not the published one.
    """

    title: str
    problem: str
    scenarios: Mapping[str, Scenario]
    task_steps: int
    num_envs: int = 128
    episode: int = 1000
    published: str = "/published"
    of_scenario: Mapping[str, str] = _OF_SCENARIOS
    success: bool = False
    engine: str = _ENGINE


_DOMAINS = {
    "halfcheetah": _Domain("HalfCheetah", "crl_halfcheetah", SCENARIOS["halfcheetah"], TASK_STEPS["halfcheetah"]),
    "ant": _Domain("Ant", "crl_ant", SCENARIOS["ant"], TASK_STEPS["ant"]),
    "humanoid": _Domain("Humanoid", "crl_humanoid", SCENARIOS["humanoid"], TASK_STEPS["humanoid"]),
    "continual_world": _Domain(
        "an arm (MetaWorld)",
        "continual_world",
        continual_world.SCENARIOS,
        1_000_000,
        num_envs=1,
        episode=200,
        published="",
        of_scenario={},
        success=True,
        engine=_VERSION,
    ),
}
_NAMES = {
    f"{name}/{scenario}": (domain, scenario) for name, domain in _DOMAINS.items() for scenario in domain.scenarios
}
CHOICES = {"scenario": tuple(_NAMES), "methods": tuple(_LABELS)}
IN_TURN = ("scenario",)


def make(
    full: bool = False,
    seeds: str | None = None,
    scale: float | None = None,
    scenario: str | None = None,
    methods: str | None = None,
) -> Recipe:
    """Returns on all tasks after each of them, of all continual methods.

    Args:
        full: the published networks, engine, number of environments and of evaluated episodes, and 10 seeds.
        seeds: other seeds; 3 by default.
        scale: fraction of the published length of a task; 0.03 by default, or 1 with `full`. Without `full` there are
            as many environments as leave each its number of episodes; below 0.3 layers have 64 units, and the agent
            learns faster; below 0.025 evaluations have fewer episodes.
        scenario: sequence of tasks, such as halfcheetah/robustness or ant/transfer; halfcheetah/forgetting by default.
        methods: continual methods beside from_scratch, the reference, such as fine_tuning,packnet; all by default.

    Raises:
        UnknownNameError: if there is no such scenario or method, with the nearest names.
    """
    scenario = "halfcheetah/forgetting" if scenario is None else scenario
    registry.check("scenario", scenario, _NAMES)
    chosen = _chosen(methods)
    domain, name = _NAMES[scenario]
    presets = registry.presets(domain.problem)
    config = _scaled(presets[name + (domain.published if full else "")], domain, scale or _usual(full), full)
    config["seeds"] = seeds or _SEEDS[full]
    settings = {} if full else _of_methods(scale or _usual(full), config["agent"].get("hidden_units", _WIDE))
    lines = {
        method: Line(_LABELS[method], {**config, "continual": {"name": method, **settings.get(method, {})}})
        for method in chosen
    }
    tasks, task = domain.scenarios[name], config["problem"]["task_steps"]
    number, figure = len(tasks.tasks) * tasks.repeat, f"continual_rl_{scenario.replace('/', '_')}"
    return Recipe(
        title=f"Continual reinforcement learning: {scenario}"
        + f", {len(chosen)} of {len(_LABELS)} methods" * (len(chosen) < len(_LABELS)),
        shows=_SHOWS.format(number, domain.title),
        x_label="steps",
        panels={figure: _panels(config, domain, tuple(lines.values()))},
        scale=Scale(number * task, number * domain.task_steps, len(read_seeds(config["seeds"])), published_seeds=None),
        notes=_NOTES,
        falls_short=(
            *_differences(lines, presets[name + domain.published], domain),
            _ANOTHER_PROGRAM if scenario in _PUBLISHED else _NUMBERS_OF.get(scenario, _NO_NUMBERS),
        ),
        edge="right",
        sequences={figure: _sequence(lines, config["evaluate_tasks"], domain, scenario)},
    )


def _chosen(methods: str | None) -> list[str]:
    """The methods of the runs, in the order of the tables."""
    given = [*_LABELS] if methods is None else [name.strip() for name in methods.split(",")]
    for name in given:
        registry.check("method", name, _LABELS)
    return [name for name in _LABELS if name in (*given, _REFERENCE)]


def _of_methods(scale: float, units: int) -> dict[str, dict[str, Any]]:
    """Settings of methods that are scaled as the run is."""
    return {
        "packnet": {"finetune": max(1, round(_FINETUNE * scale))},
        "progressive": {"width": round(_COLUMN * units)},
        **_TRIAL,
    }


def _usual(full: bool) -> float:
    return 1.0 if full else _SCALE


def _scaled(preset: Mapping[str, Any], domain: _Domain, scale: float, full: bool) -> dict[str, Any]:
    """A preset with tasks of another length; unless `full`, with other environments and narrower networks."""
    config: dict[str, Any] = {"evaluate_tasks": EPISODES, **copy.deepcopy(dict(preset))}
    published = domain.task_steps
    fewer = max(_FEWEST_ENVS, round(domain.num_envs * scale / _FEWEST_ENVS) * _FEWEST_ENVS)
    num_envs = domain.num_envs if full else fewer
    whole = _BINS * num_envs  # steps; a task has whole bins
    task = published if scale == 1 else max(whole, round(published * scale / whole) * whole)
    config["problem"] |= {"task_steps": task, "num_envs": num_envs}
    config["record_every"] = max(num_envs, task // 10)
    if not full:
        config["evaluate_tasks"] = min(_EPISODES, max(2, round(_EPISODES * scale / _FEWER_EPISODES_BELOW)))
        starts, random = round(_STARTS * task), config["agent"]["random_steps"] // domain.num_envs  # of an environment
        config["agent"] |= {
            "learning_starts": starts,
            "random_steps": min(random * num_envs, starts),
            "buffer_size": min(task, config["agent"]["buffer_size"]),
        }
        if scale < _SHORT:
            config["agent"] |= {"hidden_units": _NARROW, "batch_size": _BATCH, **_FAST}
    return config


def _panels(config: Mapping[str, Any], domain: _Domain, lines: tuple[Line, ...]) -> tuple[PanelSpec, ...]:
    bin = _bin(config["problem"]["task_steps"], config["problem"]["num_envs"] * domain.episode)
    returns = Measure("return", "return of an episode", bin, decimals=0, episodes="ended")
    weights = Measure("weight_magnitude", "mean magnitude", bin, decimals=4)
    success = Measure("success", "success of an episode", bin, episodes="ended")
    of_success = (PanelSpec("Success in training", success, lines),) if domain.success else ()
    return PanelSpec("Training", returns, lines), *of_success, PanelSpec("Weights", weights, lines)


def _bin(task: int, episodes: int) -> int:
    """Width of bins: an equal part of a task, in which an episode of each environment (`episodes` steps) ends."""
    most = min(_BINS, max(1, task // episodes))
    return next(task // parts for parts in range(most, 0, -1) if task % parts == 0)


def _sequence(lines: Mapping[str, Line], episodes: int, domain: _Domain, scenario: str) -> SequenceSpec:
    published = dict(zip(_PUBLISHED_OF, _PUBLISHED.get(scenario, ())))
    notes = {  # and whether they apply
        _RETURNS.format(episodes): True,
        _OF_COPIES: "fine_tuning" in lines,
        _of_settings(lines, domain): True,
        _TRIALS: not lines.keys().isdisjoint(_TRIAL),
        _AGGREGATES: bool(published),
    }
    return SequenceSpec(
        lines=tuple(lines.values()),
        reference=lines[_REFERENCE],
        copies={_COPIES: lines["fine_tuning"]} if "fine_tuning" in lines else {},
        published=published,
        notes=tuple(note for note, applies in notes.items() if note and applies),
    )


def _of_settings(methods: Container[str], domain: _Domain) -> str:
    """Which settings of the methods are published, and which are defaults."""
    defaults = {*_DEFAULTS, *_OF_SCENARIOS} - domain.of_scenario.keys()
    found = {
        "Published for this scenario": [words for name, words in domain.of_scenario.items() if name in methods],
        "Published for all scenarios": [words for name, words in _OF_ALL.items() if name in methods],
        "With their defaults, since the published program lacks them": [
            label for name, label in _LABELS.items() if name in defaults and name in methods
        ],
    }
    return " ".join(f"{what}: {'; '.join(words)}." for what, words in found.items() if words)


def _differences(lines: Mapping[str, Line], preset: Mapping[str, Any], domain: _Domain) -> Iterator[str]:
    """The settings that differ from the published settings, in sentences."""
    config = lines[_REFERENCE].config
    usual = {
        "task_steps": domain.task_steps,
        "num_envs": domain.num_envs,
        "hidden_units": _WIDE,
        "batch_size": 256,
    }
    ours = {**config["problem"], **config["agent"], "evaluate_tasks": config["evaluate_tasks"]}
    theirs = {**usual, **preset["problem"], **preset["agent"]}
    theirs["evaluate_tasks"] = preset.get("evaluate_tasks", EPISODES)
    for method, published in _PUBLISHED_SETTINGS.items():
        if method in lines and (of_run := from_mapping(lines[method].config).continual) is not None:
            ours |= {f"{method}.{key}": of_run.settings[key] for key in published}
            theirs |= {f"{method}.{key}": value for key, value in published.items()}
    differ = [f"{key} {value:,} ({theirs[key]:,})" for key, value in ours.items() if value != theirs[key]]
    if differ:
        yield f"Settings that differ from the published settings, which stand in parentheses: {', '.join(differ)}."
    if "engine" not in ours:
        yield domain.engine
