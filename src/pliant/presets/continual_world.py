"""The published scenarios of Continual World."""

from ._crl import AGENT

_AGENT = {
    **AGENT,
    "learning_starts": 1_000,
    "random_steps": 1_000,
    "buffer_size": 1_000_000,
    "batch_size": 128,
    "update_to_data": 1.0,
    "initial_temperature": 2.7,
    "learning_rate": 1e-3,
    "critic_learning_rate": 1e-3,
    "temperature_learning_rate": 1e-3,
    "reward_scale": 1.0,
    "policy_delay": 1,
    "target_delay": 1,
    "target_multiplier": 2.0,
}

PRESETS = {
    scenario: {
        "problem": {"name": "continual_world", "scenario": scenario},
        "agent": _AGENT,
        "diagnostics": ["dormant_fraction", "weight_magnitude"],
        "seeds": "1",
    }
    for scenario in ("cw10", "cw20", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8")
}
