"""An argument parser whose errors are one line, and flags that grow out of settings."""

import argparse
import difflib
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from pliant.experiment.config import ConfigError, Setting


class Parser(argparse.ArgumentParser):
    """`argparse` with errors as exceptions of one line, unknown flags with the nearest known ones, and plain help."""

    def __init__(self, prog: str, description: str | None, epilog: str | None = None):
        super().__init__(
            prog=prog,
            description=(description or "").strip(),
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=_Help,
        )

    def error(self, message: str) -> NoReturn:
        """Raises what `main` shows in one line."""
        raise ConfigError(f"{message} (see {self.prog} --help)")

    def parse_args(self, arguments: Sequence[str], namespace: argparse.Namespace | None = None) -> argparse.Namespace:
        """Parses, and refuses unknown flags with the nearest known."""
        parsed, unknown = self.parse_known_args(arguments, namespace or argparse.Namespace())
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings if flag.startswith("--")]
            given = unknown[0].split("=")[0]
            near = difflib.get_close_matches(given, flags, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else "it is no flag of this command"
            raise ConfigError(f"unknown argument {given}; {hint} (see {self.prog} --help)")
        return parsed

    def add_setting(self, group: Any, flag: str, dest: str, setting: Setting) -> None:
        """Adds the flag of a setting, in both spellings (`--step-size`, `--step_size`)."""
        names = dict.fromkeys((f"--{flag.replace('_', '-')}", f"--{flag}"))
        group.add_argument(
            *names,
            dest=dest,
            default=argparse.SUPPRESS,
            type=reader(setting, f"--{flag.replace('_', '-')}"),
            metavar=setting.name.rpartition("_")[2].upper(),
            help=f"{setting.help} [{setting.kind}]".replace("%", "%%"),
        )


class _Help(argparse.RawDescriptionHelpFormatter):
    """Shows each flag once, in the spelling with dashes."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=40, width=120)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        shown = [flag for flag in action.option_strings if "_" not in flag] or action.option_strings[:1]
        argument = f" {self._format_args(action, self._get_default_metavar_for_optional(action))}" if action.nargs != 0 else ""
        return ", ".join(shown) + argument

    def _format_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any) -> str:
        positionals = " ".join(a.metavar or a.dest for a in actions if not a.option_strings)
        return f"usage: {self._prog} {positionals} [flags]\n\n"


def reader(setting: Setting, flag: str) -> Callable[[str], Any]:
    """What argparse calls with the text after a flag."""

    def read(text: str) -> Any:
        try:
            return setting.read(text, flag)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read
