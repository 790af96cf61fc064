"""Comparisons out of nothing: rows of a given skill, answered sample by sample."""

from __future__ import annotations

import numpy as np

from sublabel.evaluation import Comparison, Outcomes, RunKey, RunMetrics

NONE = "none (scratch)"


def compared(
    skills,
    seeds=5,
    samples=2000,
    *,
    data=("",),
    random_seed=0,
    validation=None,
    facts=None,
    known=True,
    **fields,
):
    """A comparison whose rows are right on a share of the samples.

    Args:
        skills: Row → share, where None is the row without pre-training.
        seeds: Of each data set.
        samples: Of each test set, the same in all.
        data: Names of the data sets.
        random_seed: Of all that is drawn.
        validation: Row → top-1 on target_val.
        facts: Row → further fields of its runs.
        known: Whether the single answers are.
        **fields: Of the comparison.
    """
    generator = np.random.default_rng(random_seed)
    ease = generator.uniform(0, 1, samples)
    ids, correct, runs = [f"s{number}" for number in range(samples)], {}, []
    for row, skill in skills.items():
        name = NONE if row is None else row
        for of_data in data:
            for seed in range(seeds):
                # Most samples are easy or hard for every model, as they are.
                right = ease + generator.normal(0, 0.05, samples) < skill
                correct[RunKey(of_data, name, seed)] = right
                runs.append(
                    RunMetrics(
                        strategy=row,
                        seed=seed,
                        data=of_data,
                        metrics={"top1": float(right.mean())},
                        validation={"top1": validation[name]} if validation else None,
                        **(facts or {}).get(name, {}),
                    )
                )
    outcomes = Outcomes(dict.fromkeys(data, ids), correct) if known else None
    return Comparison(
        runs=tuple(runs), baseline="weak-only", test_samples=samples, outcomes=outcomes, **fields
    )
