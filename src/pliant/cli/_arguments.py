"""An argument parser whose errors are one line, and flags made from settings."""

import argparse
import dataclasses
import difflib
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from pliant.experiment.errors import ConfigError

if TYPE_CHECKING:  # commands without settings start without these imports
    from pliant.experiment.configuration.config import ComponentSpec
    from pliant.experiment.configuration.settings import Setting


class Flag(NamedTuple):
    """A flag that sets a setting."""

    names: tuple[str, ...]  # accepted names, without dashes; the help shows the first
    dest: str  # the key of its value
    setting: "Setting"


Heading = tuple[str, list[Flag]]  # the words above flags in the help, and the flags


class Parser(argparse.ArgumentParser):
    """`argparse` with errors as exceptions of one line, unknown flags with the nearest known ones, and plain help."""

    def __init__(self, prog: str, description: str = "", add_help: bool = True):
        super().__init__(prog, description=description, add_help=add_help, allow_abbrev=False, formatter_class=_Help)

    def error(self, message: str) -> NoReturn:
        """Raises an error that `main` prints in one line."""
        raise ConfigError(f"{message} (see {self.prog} --help)")

    def parse_args(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parses, and refuses unknown flags with the nearest known."""
        parsed, unknown = self.parse_known_args(arguments)
        if unknown:
            given = unknown[0].split("=")[0]
            near = difflib.get_close_matches(given.replace("_", "-"), map(_shown, self._actions), n=3, cutoff=0.7)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            self.error(f"unknown argument {given}{hint}")
        return parsed

    @property
    def flags(self) -> list[str]:
        """All flags, each in the spelling of the help."""
        return [flag for flag in map(_shown, self._actions) if flag]

    def add_settings(self, heading: str, flags: Sequence[Flag]) -> None:
        """Adds flags, each with its type, range, default and help, under a heading of the help."""
        _add(self.add_argument_group(heading), flags)

    def explain(self, heading: str, flags: Sequence[Flag]) -> None:
        """Shows flags in the help only: several components may have flags of one name, which cannot be parsed."""
        group = argparse.ArgumentParser().add_argument_group(heading)
        _add(group, flags)
        self._action_groups.append(group)


def component_flags(component: "ComponentSpec", where: str) -> Heading:
    """The flags of a component: bare names for problem and agent, a prefix for methods and diagnostics.

    Args:
        component: whose settings, with their defaults.
        where: its name in a configuration, such as `problem` or `diagnostic.rank`.
    """
    prefixes = {"problem": [""], "agent": [""], "method": ["method.", f"method.{component.name}."]}.get(
        where, [f"{where}."]
    )
    now = {
        key: dataclasses.replace(setting, default=component.settings.get(key, setting.default))
        for key, setting in component.schema.items()
    }
    flags = [
        Flag(tuple(prefix + key for prefix in prefixes), f"{where}.{key}", setting) for key, setting in now.items()
    ]
    return f"{component.kind.removesuffix('s')} {component.name}", flags


def _add(group: Any, flags: Sequence[Flag]) -> None:
    for names, dest, setting in flags:
        spellings = [f"--{spelling}" for name in names for spelling in _spellings(name)]
        group.add_argument(
            *dict.fromkeys(spellings),
            action=_Read,
            setting=setting,
            dest=dest,
            default=argparse.SUPPRESS,
            metavar=setting.name.rpartition("_")[2].upper(),
            help=f"{setting.help} [{setting.kind}]".replace("%", "%%"),
        )


def _spellings(name: str) -> tuple[str, ...]:
    """The name with dashes, as it is, and with dashes in its last word alone: `method.layer_reset.on-new-task`."""
    component, dot, key = name.rpartition(".")
    return name.replace("_", "-"), name, component + dot + key.replace("_", "-")


class _Read(argparse.Action):
    """Reads the text after a flag with `Setting.read`."""

    def __init__(self, *args: Any, setting: "Setting", **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._setting = setting

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        setattr(namespace, self.dest, self._setting.read(values, option_string))


class _Help(argparse.RawDescriptionHelpFormatter):
    """Shows each flag in one spelling, and no list of all flags above the text."""

    def __init__(self, prog: str):
        width = min(max(shutil.get_terminal_size().columns - 2, 40), 120)
        super().__init__(prog, max_help_position=width // 3, width=width)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if action.nargs == 0 or not action.option_strings:
            return super()._format_action_invocation(action)
        return f"{_shown(action)} {action.metavar}"

    def _format_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any) -> str:
        positionals = " ".join(action.metavar for action in actions if not action.option_strings)
        return f"usage: {self._prog} {positionals} [flags]\n\n"


def _shown(action: argparse.Action) -> str:
    """The spelling of a flag in the help."""
    return next((flag for flag in action.option_strings if flag.startswith("--")), "")
