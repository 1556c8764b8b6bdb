"""How good a network is, and what to show of it: metrics, statistics, the evaluator, the report."""

from typing import TYPE_CHECKING

from kdjax.lazy import lazily

if TYPE_CHECKING:
    from kdjax.evaluate.calibration import Calibration as Calibration
    from kdjax.evaluate.calibration import Threshold as Threshold
    from kdjax.evaluate.calibration import calibrated as calibrated
    from kdjax.evaluate.calibration import choose_threshold as choose_threshold
    from kdjax.evaluate.calibration import fit_temperature as fit_temperature
    from kdjax.evaluate.calibration import read_calibration as read_calibration
    from kdjax.evaluate.calibration import write_calibration as write_calibration
    from kdjax.evaluate.curves import EqualError as EqualError
    from kdjax.evaluate.curves import area_under_curve as area_under_curve
    from kdjax.evaluate.curves import average_precision as average_precision
    from kdjax.evaluate.curves import detection_rate as detection_rate
    from kdjax.evaluate.curves import equal_error as equal_error
    from kdjax.evaluate.curves import equal_error_rate as equal_error_rate
    from kdjax.evaluate.delong import DeLong as DeLong
    from kdjax.evaluate.delong import auc_covariance as auc_covariance
    from kdjax.evaluate.delong import delong_interval as delong_interval
    from kdjax.evaluate.delong import delong_test as delong_test
    from kdjax.evaluate.evaluation import Evaluation as Evaluation
    from kdjax.evaluate.evaluator import evaluate as evaluate
    from kdjax.evaluate.evaluator import summarize as summarize
    from kdjax.evaluate.explain.cam import grad_cam as grad_cam
    from kdjax.evaluate.explain.cam import grad_cam_plus_plus as grad_cam_plus_plus
    from kdjax.evaluate.explain.cam import heat_maps as heat_maps
    from kdjax.evaluate.explain.embedding import Embedding as Embedding
    from kdjax.evaluate.explain.embedding import embed as embed
    from kdjax.evaluate.explain.gap import frequency_gap as frequency_gap
    from kdjax.evaluate.explain.masks import Inside as Inside
    from kdjax.evaluate.explain.masks import clustered_mean as clustered_mean
    from kdjax.evaluate.explain.masks import heat_inside as heat_inside
    from kdjax.evaluate.explain.probing import map_and_gradient as map_and_gradient
    from kdjax.evaluate.explain.similarity import cka as cka
    from kdjax.evaluate.explain.similarity import gram as gram
    from kdjax.evaluate.intervals import evaluation_intervals as evaluation_intervals
    from kdjax.evaluate.intervals import group_intervals as group_intervals
    from kdjax.evaluate.intervals import mean_intervals as mean_intervals
    from kdjax.evaluate.intervals import metric_intervals as metric_intervals
    from kdjax.evaluate.metrics import binary_metrics as binary_metrics
    from kdjax.evaluate.metrics import roc_points as roc_points
    from kdjax.evaluate.neighbours import recall_at as recall_at
    from kdjax.evaluate.neighbours import recall_at_1 as recall_at_1
    from kdjax.evaluate.paired import Paired as Paired
    from kdjax.evaluate.paired import compare_scores as compare_scores
    from kdjax.evaluate.probabilities import Reliability as Reliability
    from kdjax.evaluate.probabilities import calibration_error as calibration_error
    from kdjax.evaluate.probabilities import reliability as reliability
    from kdjax.evaluate.protocols import Measured as Measured
    from kdjax.evaluate.protocols import Row as Row
    from kdjax.evaluate.protocols import protocol_rows as protocol_rows
    from kdjax.evaluate.protocoltext import protocol_records as protocol_records
    from kdjax.evaluate.protocoltext import protocol_tables as protocol_tables
    from kdjax.evaluate.report import write_report as write_report
    from kdjax.evaluate.scorefile import read_scores as read_scores
    from kdjax.evaluate.scorerows import Scores as Scores
    from kdjax.evaluate.scoretables import ScoreTables as ScoreTables
    from kdjax.evaluate.scoretables import score_tables as score_tables
    from kdjax.evaluate.statistics import Comparison as Comparison
    from kdjax.evaluate.statistics import Interval as Interval
    from kdjax.evaluate.statistics import holm as holm
    from kdjax.evaluate.statistics import mean_interval as mean_interval
    from kdjax.evaluate.statistics import paired_bootstrap as paired_bootstrap
    from kdjax.evaluate.trained import Trained as Trained
    from kdjax.evaluate.trained import trained_on as trained_on
    from kdjax.evaluate.videos import pool_videos as pool_videos
    from kdjax.evaluate.videos import video_auc as video_auc
    from kdjax.evaluate.videos import video_metrics as video_metrics

PLACES = {
    "Calibration": "calibration",
    "Comparison": "statistics",
    "DeLong": "delong",
    "Embedding": "explain.embedding",
    "EqualError": "curves",
    "Evaluation": "evaluation",
    "Inside": "explain.masks",
    "Interval": "statistics",
    "Measured": "protocols",
    "Paired": "paired",
    "Reliability": "probabilities",
    "Row": "protocols",
    "ScoreTables": "scoretables",
    "Scores": "scorerows",
    "Threshold": "calibration",
    "Trained": "trained",
    "area_under_curve": "curves",
    "auc_covariance": "delong",
    "average_precision": "curves",
    "binary_metrics": "metrics",
    "calibrated": "calibration",
    "calibration_error": "probabilities",
    "choose_threshold": "calibration",
    "cka": "explain.similarity",
    "clustered_mean": "explain.masks",
    "compare_scores": "paired",
    "delong_interval": "delong",
    "delong_test": "delong",
    "detection_rate": "curves",
    "embed": "explain.embedding",
    "equal_error": "curves",
    "equal_error_rate": "curves",
    "evaluate": "evaluator",
    "evaluation_intervals": "intervals",
    "fit_temperature": "calibration",
    "frequency_gap": "explain.gap",
    "grad_cam": "explain.cam",
    "grad_cam_plus_plus": "explain.cam",
    "gram": "explain.similarity",
    "group_intervals": "intervals",
    "heat_inside": "explain.masks",
    "heat_maps": "explain.cam",
    "holm": "statistics",
    "map_and_gradient": "explain.probing",
    "mean_interval": "statistics",
    "mean_intervals": "intervals",
    "metric_intervals": "intervals",
    "paired_bootstrap": "statistics",
    "pool_videos": "videos",
    "protocol_records": "protocoltext",
    "protocol_rows": "protocols",
    "protocol_tables": "protocoltext",
    "read_calibration": "calibration",
    "read_scores": "scorefile",
    "recall_at": "neighbours",
    "recall_at_1": "neighbours",
    "reliability": "probabilities",
    "roc_points": "metrics",
    "score_tables": "scoretables",
    "summarize": "evaluator",
    "trained_on": "trained",
    "video_auc": "videos",
    "video_metrics": "videos",
    "write_calibration": "calibration",
    "write_report": "report",
}
"""The module of each public name."""

__all__ = list(PLACES)

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, PLACES)
