"""Generated pages: one for each method, continual method, diagnostic, problem, agent and recipe, and for the presets of
each problem.

They have the sources of the command line: names and first lines from the registry, settings from signatures and
docstrings, presets as configuration files.
"""

import ast
import importlib.util
import pathlib
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import yaml

from pliant.core import registry
from pliant.experiment.configuration.settings import settings_of

_FACES = ("networks", "report", "reproduction")  # packages whose names are re-exported by their `__init__.py`

RESULTS = pathlib.Path(__file__).parents[1] / "results"

_INTRODUCTIONS = {
    "methods": """# Methods

A method keeps a network able to learn. Each is an optax transformation, a `Surgery` that edits weights after the
optimizer's step, or a `Topology` that decides which weights exist. `pliant.plastic(optimizer, *methods)` joins any
number of them; `pliant run PROBLEM --method NAME` adds one to a run. Each page has the equation, the arguments with
their published values, and the differences from the authors' code.
""",
    "continual": """# Continual methods

A continual method decides what a network keeps of earlier tasks. `pliant run PROBLEM --continual NAME` chooses the one
of a run, beside any number of plasticity methods. [Learning tasks in turn](../guides/continual.md) compares them.
""",
    "diagnostics": """# Diagnostics

A diagnostic is one number about a network, measured while it learns. `pliant run PROBLEM --diagnostics a,b,c` chooses
the diagnostics of a run; the default is `dormant_fraction,weight_magnitude,replacements`. A run measures them on the
next 1,000 examples before it learns them, or, in reinforcement learning, on the last 1,000 steps of a round.
[Metrics](../guides/metrics.md) lists every column that a run can have.
""",
    "problems": """# Problems

A problem is a stream of examples, an environment on the device, or an environment outside of JAX. Each page has the
task, its settings as flags, the agents that learn it, and its published configurations.
""",
    "agents": """# Agents

An agent learns a problem. It names no method, and every method works with every agent.
""",
    "recipes": """# Recipes

A recipe is a published figure: the runs behind it, its panels, and the paper's numbers. `pliant reproduce NAME` runs it
at a reduced scale, `--full` at the published one. The [results book](../results/index.md) has what came out.
""",
    "presets": """# Presets

A preset is a published configuration under its published name. `pliant run PROBLEM/PRESET` runs it, and any flag
changes it.
""",
}


def generated() -> Iterator[tuple[str, str]]:
    """All generated pages: `(path below docs/, Markdown)`, each family's `index.md` first."""
    yield from _family("methods", _function)
    yield from _family("continual", _function)
    yield from _family("diagnostics", _function)
    yield from _family("problems", _problem)
    yield from _family("agents", _agent)
    yield from _family("recipes", _recipe)
    yield from _presets()
    for package in _FACES:
        yield f"reference/{package}.md", _face(package)


def _family(kind: registry.Kind, page: Callable[[registry.Kind, str], str]) -> Iterator[tuple[str, str]]:
    rows = ([f"[`{name}`]({name}.md)", line] for name, line in registry.summaries(kind).items())
    yield f"{kind}/index.md", f"{_INTRODUCTIONS[kind]}\n{_table(['name', 'what it is'], rows)}"
    for name in registry.names(kind):
        yield f"{kind}/{name}.md", page(kind, name)


def _function(kind: registry.Kind, name: str) -> str:
    """The page of a method, a continual method or a diagnostic: its docstring."""
    flag = {"methods": "--method", "continual": "--continual", "diagnostics": "--diagnostics"}[kind]
    used = [f"[`{preset}`](../presets/{preset.partition('/')[0]}.md)" for preset in _presets_with(kind, name)]
    many = len(used) > 8
    presets = f"**Presets with it:** {', '.join(used[:8])}{' and more' if many else ''}.\n" if used else ""
    face = f"pliant.{name}" if kind == "methods" else f"pliant.{kind}.{name}"
    command = f"## From the command line\n\n```sh\npliant run PROBLEM {flag} {name}\n```\n"
    return f"{_documentation(face, heading=1)}\n{command}\n{presets}"


def _problem(kind: registry.Kind, name: str) -> str:
    module = registry.find(kind, name)
    agents = ", ".join(f"[`{agent}`](../agents/{agent}.md)" for agent in module.AGENTS)
    presets = registry.presets(name)
    links = f"**Agents:** {agents}."
    if presets:
        links += f" **Presets:** [{len(presets)} published configurations](../presets/{name}.md)."
    return "\n".join(
        [
            f"# {name}\n\n{_prose(module)}\n\n```sh\npliant run {name}\n```\n\n{links}\n",
            f"## The problem\n\n{_documentation(f'{module.__name__}.make')}",
            f"## Settings\n\nEach is a flag of `pliant run {name}` and a field of `problem` in a configuration file.\n",
            _settings(module.Config),
        ]
    )


def _agent(kind: registry.Kind, name: str) -> str:
    module = registry.find(kind, name)
    problems = [p for p in registry.names("problems") if name in registry.find("problems", p).AGENTS]
    links = ", ".join(f"[`{problem}`](../problems/{problem}.md)" for problem in problems)
    return "\n".join(
        [
            f"# {name}\n\n{_prose(module)}\n\n```sh\npliant run PROBLEM --agent {name}\n```\n",
            f"**Problems:** {links}.\n",
            f"## The update\n\n{_documentation(f'{module.__name__}.make')}",
            "## Settings\n\nEach is a flag of `pliant run` and a field of `agent` in a configuration file.\n",
            _settings(module.Config),
        ]
    )


def _recipe(kind: registry.Kind, name: str) -> str:
    module = f"pliant.{kind}.{name}"  # not imported: it draws figures
    return "\n".join(
        [
            f"# {name}\n\n{_documentation(module, members=False)}",
            f"```sh\npliant reproduce {name}\npliant reproduce {name} --full\n```\n",
            _documentation(f"{module}.make"),
            f"**Results:** {_results(name)}.\n",
        ]
    )


def _results(recipe: str) -> str:
    """The recipe's pages in the results book, or the book where it has none yet."""
    pages = [*RESULTS.glob(f"{recipe}.md"), *sorted(RESULTS.glob(f"{recipe}_*.md"))]
    links = [f"[`{page.stem}`](../results/{page.name})" for page in pages]
    return ", ".join(links or ["none yet; see the [results book](../results/index.md)"])


def _presets() -> Iterator[tuple[str, str]]:
    published = {problem: registry.presets(problem) for problem in registry.names("problems")}
    published = {problem: presets for problem, presets in published.items() if presets}
    rows = (
        [f"[`{problem}`]({problem}.md)", str(len(presets)), ", ".join(f"`{name}`" for name in list(presets)[:8])]
        for problem, presets in published.items()
    )
    yield "presets/index.md", f"{_INTRODUCTIONS['presets']}\n{_table(['problem', 'presets', 'first of them'], rows)}"
    for problem, presets in published.items():
        sections = [
            f'??? note "{" · ".join([name, *map(_name, preset.get("methods", []))])}"\n\n{_indented(_yaml(preset))}'
            for name, preset in presets.items()
        ]
        command = f"```sh\npliant run {problem}/{next(iter(presets))}\n```\n"
        prose = (
            f"Published configurations of [`{problem}`](../problems/{problem}.md), each as its configuration file.\n"
        )
        yield f"presets/{problem}.md", "\n".join([f"# {problem}\n\n{prose}\n{command}", *sections])


def _face(package: str) -> str:
    """What a package re-exports. It is read and not imported: these packages draw figures."""
    spec = importlib.util.find_spec(f"pliant.{package}")
    tree = ast.parse(pathlib.Path(spec.origin).read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    names = [f"{node.module}.{name.name}" for node in imports for name in node.names if name.asname]
    title = f"# {package.capitalize()}\n\n{ast.get_docstring(tree)}\n"
    return "\n".join([title, *[_documentation(f"pliant.{package}.{name}", heading=2) for name in names]])


def _presets_with(kind: registry.Kind, name: str) -> list[str]:
    """The presets that set a method, a continual method or a diagnostic."""
    return [
        f"{problem}/{preset}"
        for problem in registry.names("problems")
        for preset, configuration in registry.presets(problem).items()
        if name in map(_name, _listed(configuration.get(kind, [])))
    ]


def _listed(components: Any) -> list[Any]:
    """The components of a field; a run has one continual method, which stands alone."""
    return [components] if isinstance(components, str | Mapping) else components


def _name(component: str | Mapping[str, Any]) -> str:
    """The name of a component without its label and preset; one without settings may be a bare name."""
    return (component if isinstance(component, str) else component["name"]).partition("@")[0].partition("/")[0]


def _prose(module: Any) -> str:
    """A module's docstring, with pseudo-code (lines that open an indented block, and the block) as a block of code."""
    pieces = []
    for paragraph in (module.__doc__ or "").strip().split("\n\n"):
        has_block = any(line.startswith("    ") for line in paragraph.splitlines())
        pieces.append(f"```text\n{paragraph}\n```" if has_block else paragraph)
    return "\n\n".join(pieces)


def _documentation(path: str, *, heading: int = 0, members: bool = True) -> str:
    """The documentation of an object, under a heading of that level with its signature; 0: its docstring alone."""
    options = f"heading_level: {heading}" if heading else "show_root_heading: false, show_root_toc_entry: false"
    only = "" if members else ", members: false"
    return f"::: {path}\n    options: {{{options}{only}}}\n"


def _settings(config: Any) -> str:
    rows = (
        [f"`--{name.replace('_', '-')}`", setting.kind.replace("|", "\\|"), setting.help]
        for name, setting in settings_of(config).items()
    )
    return _table(["flag", "type, range, default", "meaning"], rows)


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _yaml(preset: Mapping[str, Any]) -> str:
    return f"```yaml\n{yaml.safe_dump(_plain(preset), sort_keys=False, width=100)}```\n"


def _plain(value: Any) -> Any:
    """Tuples as lists, and shared pieces as copies: YAML then has neither tags nor anchors."""
    match value:
        case Mapping():
            return {key: _plain(item) for key, item in typing.cast(Mapping[str, Any], value).items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    return value


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" if line else "\n" for line in text.splitlines())
