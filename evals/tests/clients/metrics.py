"""Figures of `pytrec_eval` and `ranx` for judgements and a run, given on standard input as JSON:
{"qrels": {query: {passage: grade}}, "run": {query: {passage: score}}}. Prints a JSON object of both, by query."""

import json
import sys

import pytrec_eval
import ranx

given = json.load(sys.stdin)
qrels, run = given["qrels"], given["run"]

measures = {"ndcg_cut_10", "recall_1", "recall_5", "recall_10", "recall_20", "recip_rank", "success_1", "success_5", "success_10"}
trec = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.1,5,10,20", "recip_rank", "success.1,5,10"})
trec = {query: {name: values[name] for name in measures} for query, values in trec.evaluate(run).items()}

names = ["ndcg@10", "recall@1", "recall@5", "recall@10", "recall@20", "mrr@10", "hit_rate@1", "hit_rate@5", "hit_rate@10"]
runs = ranx.Run(run)
ranx.evaluate(ranx.Qrels(qrels), runs, names)
scores = runs.scores
ranx_values = {query: {name: float(scores[name][query]) for name in names} for query in run}

json.dump({"trec": trec, "ranx": ranx_values}, sys.stdout)
