"""ext_pillar `voip`: the checkout's pillar directory, validated and compiled for each minion.

Master configuration::

    ext_pillar:
      - voip: {checkout: /path/of/the/checkout, state_dir: /path/of/the/state/directory}

A refused pillar raises: Salt then answers every state run with the problems, and no host changes.
"""

import json
import logging
from pathlib import Path

log = logging.getLogger(__name__)


def ext_pillar(minion_id, pillar, checkout, state_dir):
    """Return {"voip", "beacons", "schedule"} for `minion_id`, {} for a host not in the topology."""
    from voip_stack.pillar import compile_for, current, trial
    from voip_stack.pillar.beacons import compile_beacons
    from voip_stack.pillar.schedule import compile_schedule

    model = trial.lay_over(current(Path(checkout) / "pillar"), trial.read(Path(state_dir)))
    if minion_id not in model.minions():
        log.warning("Minion %s is not in pillar/topology.yaml: it gets no pillar", minion_id)
        return {}
    compiled = compile_for(model, minion_id, _facts(Path(state_dir)))
    # Salt's minion reads these from the pillar's top.
    components = compiled["self"]["components"]
    own = {
        "beacons": compile_beacons(model, minion_id, components),
        "schedule": compile_schedule(model, minion_id, components),
    }
    return {"voip": compiled} | {name: value for name, value in own.items() if value}


def _facts(state_dir):
    """What the control host found out: provider, package choices, the root CA."""
    facts = {}
    recorded = state_dir / "deployment.json"
    if recorded.exists():
        facts = json.loads(recorded.read_text())
    authority = state_dir / "ca.crt"
    if authority.exists():
        facts["ca_pem"] = authority.read_text()
    return facts
