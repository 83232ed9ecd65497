"""learec: a language model as an environment for recommenders.

The straight line, a folder of code and a folder on disk per stage:

    prepare   data/         raw log and item table -> log/
    adapt     environment/  log/ -> environment/         item tokens, LoRA, state model, reward model
    annotate  annotations/  -> annotations/              one row per training step: state, reward, augmented actions
    train     agents/       -> agents/NAME/seed-S/       encoder (models/), actor head, critic head
    evaluate  evaluation/   -> results/                  per-step ranks, tables with intervals
    report    evaluation/   -> report/report.html
    recommend serving/      agent and catalog alone, without the language model

Beside the line: audit (leakage.py) looks for held-out steps in what was learnt, tune (tuning.py) searches an agent's settings.

`learec.line` says which stage is made from which, `learec.config` what a recipe may say. Importing learec does no work.
"""
