"""Figures of `pytrec_eval` and `ranx` for judgements and runs, given on standard input as a JSON list of
{"qrels": {query: {passage: grade}}, "run": {query: {passage: score}}}. Prints a JSON list of both, by query."""

import json
import sys

import pytrec_eval
import ranx

TREC = ["ndcg_cut_10", "recall_1", "recall_5", "recall_10", "recall_20", "recip_rank", "success_1", "success_5", "success_10"]
ASKED = {"ndcg_cut.10", "recall.1,5,10,20", "recip_rank", "success.1,5,10"}
RANX = ["ndcg@10", "recall@1", "recall@5", "recall@10", "recall@20", "mrr@10", "hit_rate@1", "hit_rate@5", "hit_rate@10"]


def figures(qrels, run):
    evaluated = pytrec_eval.RelevanceEvaluator(qrels, ASKED).evaluate(run)
    trec = {query: {name: values[name] for name in TREC} for query, values in evaluated.items()}
    runs = ranx.Run(run)
    ranx.evaluate(ranx.Qrels(qrels), runs, RANX)
    other = {query: {name: float(runs.scores[name][query]) for name in RANX} for query in run}
    return {"trec": trec, "ranx": other}


json.dump([figures(given["qrels"], given["run"]) for given in json.load(sys.stdin)], sys.stdout)
