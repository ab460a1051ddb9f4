"""Names and facts of metrics, models and data sets, without torch; plug-ins add theirs.

Also claim files by name. May import `errors` and `files`.
"""

from repro.registry.facts import (
    ACTIVATIONS,
    AUGMENTATIONS,
    CHAINS,
    DATASETS,
    LOGGERS,
    METRICS,
    MODELS,
    OPTIMISERS,
    OWN_AUGMENTATIONS,
    OWN_METRICS,
    OWN_MODELS,
    OWN_SCHEDULES,
    QUANTITIES,
    SCHEDULES,
    AugmentationFacts,
    DatasetFacts,
    MetricFacts,
    ModelFacts,
    OptimiserFacts,
    ScheduleFacts,
    folder_and_size,
    metric_facts,
)
