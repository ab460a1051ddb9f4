"""Names and facts of metrics, models and data sets, without torch; plug-ins add theirs.

Also claim files by name. May import `errors` and `files`.
"""

from repro.registry.facts import (
    ACTIVATIONS,
    CHAINS,
    DATASETS,
    LOGGERS,
    METRICS,
    MODELS,
    OPTIMISERS,
    OWN_METRICS,
    OWN_MODELS,
    QUANTITIES,
    DatasetFacts,
    MetricFacts,
    ModelFacts,
    OptimiserFacts,
    folder_and_size,
    metric_facts,
)

__all__ = [
    "ACTIVATIONS",
    "CHAINS",
    "DATASETS",
    "LOGGERS",
    "METRICS",
    "MODELS",
    "OPTIMISERS",
    "OWN_METRICS",
    "OWN_MODELS",
    "QUANTITIES",
    "DatasetFacts",
    "MetricFacts",
    "ModelFacts",
    "OptimiserFacts",
    "folder_and_size",
    "metric_facts",
]
