"""The settings in which runs differ, for legends and tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .load import Run

_OF_THE_NAME = ("method", "name", "source")  # the methods are in the label already


def labels_of(runs: Sequence[Run]) -> list[str]:
    """A label for each run: its methods, and where these do not tell runs apart, the settings that differ."""
    labels = [run.label for run in runs]
    different = differing([run.config for run in runs])
    for label in {label for label in labels if labels.count(label) > 1}:
        same = [index for index, other in enumerate(labels) if other == label]
        for index in same:
            labels[index] = f"{label} {in_words(different[index])}".strip()
    return [label if labels.count(label) == 1 else run.name for label, run in zip(labels, runs, strict=True)]


def differing(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each configuration the settings that have another value in one of the others, by dotted names."""
    flat = [dict(_flat(config)) for config in configs]
    names = dict.fromkeys(name for settings in flat for name in settings)
    varied = [name for name in names if len({str(settings[name]) for settings in flat if name in settings}) > 1]
    return [{name: settings[name] for name in varied if name in settings} for settings in flat]


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings as one text, `learning_rate=0.01, bound=0.5`."""
    return ", ".join(f"{name.rpartition('.')[2]}={value}" for name, value in settings.items())


def _flat(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if name in ("methods", "diagnostics"):
            for component in value or ():
                if name == "methods" and isinstance(component, Mapping):
                    yield from _of_component(f"method.{component.get('name')}", component)
        elif isinstance(value, Mapping) and name != "sweep":
            if name != "continual":  # it is in the label already, as the methods are
                yield f"{name}.name", value.get("name")
            yield from _of_component(name, value)
        elif name != "seeds":
            yield name, value


def _of_component(where: str, component: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in component.items():
        if key not in _OF_THE_NAME:
            yield f"{where}.{key}", value
