"""`pliant visualize`: episodes of a run's agent to watch, as a film or in the terminal."""

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.text import Text

from pliant.core.settings import AtLeast
from pliant.experiment.configuration.settings import Setting
from pliant.experiment.errors import ConfigError
from pliant.experiment.evaluation.render import Frame, render
from pliant.experiment.evaluation.restore import Trained
from pliant.experiment.evaluation.transfer import transfer
from pliant.experiment.evaluation.video import captioned, write_gif, write_mp4
from pliant.experiment.loops.device import DeviceLoop
from pliant.experiment.loops.host.loop import HostLoop

from ._acting import SEED, add_arguments, check_file, members, modes
from ._arguments import Flag, Parser

_DESCRIPTION = """\
Shows how an agent of a run acts, without learning: the first episodes of the
first seed's first environment (another seed's: --seeds 3-3), one frame before
each action. They are played in the terminal, or written as a film with --gif
or --mp4. Environments outside of the device (MuJoCo) need one of these two.

The agent takes the most probable actions, or with --sample random actions as
in training; on some problems random actions, unless --greedy is given. On the
device the episodes are those of pliant evaluate with the same --seed. The run
is only read, and may continue meanwhile.

  pliant visualize runs/minigrid_doorkey-ppo-1a2b3c4d --env 16x16
  pliant visualize runs/ant-ppo-1a2b3c4d --seeds 3-3 --gif ant.gif"""

_SETTINGS = {
    "episodes": Setting("episodes", int, 1, "The most episodes to show.", AtLeast(1)),
    "steps": Setting("steps", int, 300, "The most steps to show.", AtLeast(1)),
    "seed": SEED,
}
_PAUSE = Setting("pause", float, DeviceLoop.frame_seconds, "", AtLeast(0.01))
_OF_EACH = ("return", "length", "terminated", "truncated")  # facts of all episodes, before those of the environment


def command(arguments: list[str]) -> None:
    """Plays episodes, and shows them in the terminal or writes a film."""
    given = parser().parse_args(arguments)
    values = {name: getattr(given, name, setting.default) for name, setting in _SETTINGS.items()}
    for flag, file in (("--gif", given.gif), ("--mp4", given.mp4)):
        if file is not None and file.suffix.lower() != f".{flag[2:]}":
            raise ConfigError(f"{flag} {file}: write a name that ends in .{flag[2:]}")
        check_file(flag, file)
    if given.greedy and given.sample:
        raise ConfigError("--greedy and --sample: an agent is shown in one mode; write one of the two")
    pause = None if given.pause is None else _PAUSE.read(given.pause, "--pause")

    everyone, _ = members(given)
    one = transfer(everyone.only(np.arange(1)), given.env, given.backend, given.task)
    mode, *_ = modes(given, one)
    file = given.gif or given.mp4
    frames = render(one, "picture" if file else "text", mode=mode, **values)
    if pause is None:
        pause = one.plan.loop.frame_seconds
    console = Console(highlight=False)
    who = ", ".join([*_who(one), mode])
    frames = _reporting(frames, console)
    if file is None:
        console.print(f"{given.run.resolve().name} at step {one.step:,} ({who})", soft_wrap=True, markup=False)
        _play(frames, console, pause)
    else:
        write = write_gif if given.gif else write_mp4
        seed = int(one.members.seeds[0])
        count = write(file, (captioned(frame.shown, _caption(frame, seed)) for frame in frames), pause)
        console.print(f"film: {file} ({who}, {count} frames)", soft_wrap=True, markup=False)


def parser() -> Parser:
    """The arguments."""
    parser = Parser("pliant visualize", _DESCRIPTION)
    add_arguments(parser, "NAME")
    files = parser.add_mutually_exclusive_group()
    files.add_argument("--gif", metavar="FILE", type=Path, help="a film in this file instead of the terminal")
    files.add_argument("--mp4", metavar="FILE", type=Path, help="the same, with the package imageio-ffmpeg")
    parser.add_argument(
        "--pause",
        metavar="SECONDS",
        help=f"for which a frame is shown [default {DeviceLoop.frame_seconds}; outside of the device "
        f"{HostLoop.frame_seconds}]",
    )
    parser.add_settings("how much", [Flag((name,), name, setting) for name, setting in _SETTINGS.items()])
    return parser


def _caption(frame: Frame, seed: int) -> str:
    return f"step {frame.step}   return {frame.total:.4g}   seed {seed}"


def _who(one: Trained) -> Iterator[str]:
    """Words for the member and its environment."""
    for name, value in {"seed": one.members.seeds, **one.members.swept}.items():
        yield f"{name} {value[0]}"
    env = one.config.problem.settings.get("env")
    if env:
        yield f"env {env}"


def _reporting(frames: Iterable[Frame], console: Console) -> Iterator[Frame]:
    """The same frames; prints a line with the results of each episode after its last frame."""
    frame = None
    for frame in frames:
        yield frame
        if frame.facts is not None:
            console.print(f"episode {frame.episode}: {_in_words(frame.facts)}", soft_wrap=True, markup=False)
    if frame is not None and frame.facts is None:
        console.print(
            f"episode {frame.episode}: continues after the steps that were shown; write a larger --steps",
            soft_wrap=True,
        )


def _in_words(facts: Mapping[str, float]) -> str:
    """The results of an episode, and how it ended."""
    names = ["return", "length", *(name for name in facts if name not in _OF_EACH)]
    ends = "cut short" if facts["truncated"] else "terminated"
    return ", ".join([*(f"{name} {facts[name]:.4g}" for name in names), ends])


def _play(frames: Iterable[Frame], console: Console, pause: float) -> None:
    """Shows each frame in place of the one before it; outside of a terminal, below it."""
    if not console.is_terminal:
        for frame in frames:
            console.print(frame.shown)
        return
    with Live(console=console, auto_refresh=False) as live:
        for frame in frames:
            live.update(Text.from_markup(frame.shown), refresh=True)
            time.sleep(pause)
