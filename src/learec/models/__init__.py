"""Encoders: (B, L) items -> (B, L, H) hidden. One file and one line here each; they import nothing of ours."""

from learec.models.gru4rec import GRU4Rec
from learec.models.sasrec import SASRec

ENCODERS = {"gru4rec": GRU4Rec, "sasrec": SASRec}
