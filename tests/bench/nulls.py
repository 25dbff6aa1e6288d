"""How often what is shown says that there is something where there is nothing: rates with 95 % intervals.

Ours is the rate; "promised" stands beside it, and the ratio is promised / ours: above 1 the promise is kept. A line of
comment gives alarms, trials and the interval of Clopper and Pearson.
"""

from __future__ import annotations

from typing import Any

from scipy.stats import beta

from tests.nulls import NULLS


def cases(scale: float) -> list[dict[str, Any]]:
    rows = []
    for name, null in NULLS.items():
        alarms, trials = null.measure(max(1, round(null.many * scale)))
        low = beta.ppf(0.025, alarms, trials - alarms + 1) if alarms else 0.0
        high = beta.ppf(0.975, alarms + 1, trials - alarms) if alarms < trials else 1.0
        print(f"# {name}: {alarms} of {trials}, {low:.2%} to {high:.2%}; promised {null.promised:.0%}", flush=True)
        rate = alarms / trials
        ratio = {"promised": null.promised / rate if rate else None}
        rows.append(
            {
                "case": name,
                "measure": "alarms",
                "unit": "",
                "ours": rate,
                "theirs": {"promised": null.promised},
                "ratio": ratio,
            }
        )
    return rows
