"""How good a network is, and what to show of it: metrics, statistics, the evaluator, the report."""

from typing import TYPE_CHECKING

from kdjax.lazy import lazily

if TYPE_CHECKING:
    from kdjax.evaluate.evaluation import Evaluation as Evaluation
    from kdjax.evaluate.evaluator import evaluate as evaluate
    from kdjax.evaluate.evaluator import summarize as summarize
    from kdjax.evaluate.metrics import area_under_curve as area_under_curve
    from kdjax.evaluate.metrics import binary_metrics as binary_metrics
    from kdjax.evaluate.metrics import equal_error_rate as equal_error_rate
    from kdjax.evaluate.metrics import recall_at_1 as recall_at_1
    from kdjax.evaluate.metrics import roc_points as roc_points
    from kdjax.evaluate.metrics import video_auc as video_auc
    from kdjax.evaluate.report import write_report as write_report
    from kdjax.evaluate.statistics import Comparison as Comparison
    from kdjax.evaluate.statistics import Interval as Interval
    from kdjax.evaluate.statistics import holm as holm
    from kdjax.evaluate.statistics import mean_interval as mean_interval
    from kdjax.evaluate.statistics import paired_bootstrap as paired_bootstrap

PLACES = {
    "Comparison": "statistics",
    "Evaluation": "evaluation",
    "Interval": "statistics",
    "area_under_curve": "metrics",
    "binary_metrics": "metrics",
    "equal_error_rate": "metrics",
    "evaluate": "evaluator",
    "holm": "statistics",
    "mean_interval": "statistics",
    "paired_bootstrap": "statistics",
    "recall_at_1": "metrics",
    "roc_points": "metrics",
    "summarize": "evaluator",
    "video_auc": "metrics",
    "write_report": "report",
}
"""The module of each public name."""

__all__ = list(PLACES)

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, PLACES)
