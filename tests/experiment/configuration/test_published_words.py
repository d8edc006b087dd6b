"""The words of the published suite of continual reinforcement learning become ours."""

import re

import pytest

from pliant.core.registry import UnknownNameError
from pliant.experiment.configuration.published_words import translated
from pliant.experiment.errors import ConfigError


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        ("-cn=ft_l2 scenario=ant/transfer", "crl_ant/transfer --continual ft_l2"),
        ("-cn=ewc", "crl_halfcheetah/forgetting --continual ewc"),
        ("scenario=humanoid/hard --config-name sac_n seed=3", "crl_humanoid/hard --continual sac_n --seed 3"),
        ("scenario=continual_world/cw10 -cn=ft_1", "continual_world/cw10 --continual ft_1"),
        ("scenario=continual_world/t8 --one-hot true", "continual_world/t8 --one-hot true"),
        ("continual_world/t1 --continual ewc", "continual_world/t1 --continual ewc"),  # ours stay
    ],
)
def test_words(words, ours):
    assert translated(words.split()) == ours.split()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("scenario=continual_world/t9", "unknown scenario of continual_world 't9'; there are: cw10, cw20, t1, t2"),
        ("scenario=continual_word/t1", "unknown domain of a scenario 'continual_word'; did you mean continual_world?"),
        (
            "scenario=continual_world",
            "scenario=continual_world: write scenario=continual_world/NAME with one of cw10, ",
        ),
        ("scenario=ant/transfer -cn=pakcnet", "unknown continual method 'pakcnet'"),
    ],
)
def test_what_is_refused(words, message):
    with pytest.raises((ConfigError, UnknownNameError), match=re.escape(message)):
        translated(words.split())
